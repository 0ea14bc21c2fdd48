"""What the backend examples share: explain and score five features with the model that one string names."""

import asyncio

from autointerp import (
    ActivationCache,
    Corpus,
    DefaultExplainer,
    DetectionScorer,
    FeatureLoader,
    Pipeline,
    RunStore,
    connect,
)


async def _study(model: str, out: str, budget_usd: float) -> None:
    loader = FeatureLoader(ActivationCache.open("demo/cache"), Corpus.open("demo/corpus"))
    with RunStore.open(out) as store:
        async with connect(model, store=store, budget_usd=budget_usd) as client:
            pipeline = Pipeline(loader, DefaultExplainer(), [DetectionScorer()], client=client, store=store)
            print(pipeline.estimate(n_features=5))
            report = await pipeline.run(n_features=5)
        print(f"{report.explained} explained, {report.scores} scores, ${report.spend.confirmed_usd:.4f}")


def study(model: str, out: str = "study", budget_usd: float = 1.0) -> None:
    """Run it; the same call again sends nothing."""
    asyncio.run(_study(model, out, budget_usd))
