"""Explain and score twenty features: every stage a plain object. `make demo` makes the folders that this reads."""

import asyncio
import sys

from autointerp import (
    ActivationCache,
    Corpus,
    DefaultExplainer,
    DetectionScorer,
    FeatureLoader,
    FuzzingScorer,
    Pipeline,
    RunStore,
    write_report,
)


async def main(client: str = "baseline") -> None:
    corpus = Corpus.open("demo/corpus")
    cache = ActivationCache.open("demo/cache")
    loader = FeatureLoader(cache, corpus, n_explain=40, n_test=50, n_non_activating=50, seed=0)
    scorers = [DetectionScorer(), FuzzingScorer()]
    with RunStore.open("quickstart") as store:
        pipeline = Pipeline(loader, DefaultExplainer(), scorers, client=client, store=store)
        print(pipeline.estimate(n_features=20))
        async for explanation, scores in pipeline.stream(n_features=20, budget_usd=1):
            values = ", ".join(f"{s.scorer} {s.value:.2f}" for s in scores if s.value is not None)
            print(f"{explanation.feature:>5}  {values}  {explanation.text[:80]}")
        print(write_report(store))


asyncio.run(main(*sys.argv[1:]))
