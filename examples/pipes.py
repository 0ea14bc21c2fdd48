"""Free-form pipes: preprocess, explain, branch into two scorers side by side, and write a file a feature.

Any function or coroutine is a step; `drive` runs an explainer's or a scorer's plan through a client, and requests made
that way are journaled, cached and retried like any others. `make demo` makes the folders that this reads.
"""

import asyncio
import json
import sys
from pathlib import Path

from autointerp import (
    ActivationCache,
    Corpus,
    DefaultExplainer,
    DetectionScorer,
    FeatureLoader,
    FuzzingScorer,
    RunStore,
    connect,
    drive,
    flow,
    pipe,
)
from autointerp.records import FeatureRecord


async def main(model: str = "baseline", out: str = "pipes") -> None:
    loader = FeatureLoader(ActivationCache.open("demo/cache"), Corpus.open("demo/corpus"))
    records = (r for r in loader.draw(8) if isinstance(r, FeatureRecord))
    folder = Path(out)
    with RunStore.open(folder) as store:
        async with connect(model, store=store) as client:

            async def explain(record):
                return record, await drive(DefaultExplainer(activations=True).explain(record), client)

            def score_with(scorer):
                async def score(pair):
                    return await drive(scorer.score(*pair), client)

                def save(score):
                    path = folder / f"{score.feature}.{score.scorer.partition('@')[0]}.json"
                    path.write_text(json.dumps({"value": score.value, "interval": [score.ci_low, score.ci_high]}))
                    return score

                return pipe(score, after=save)

            branches = pipe([score_with(DetectionScorer()), score_with(FuzzingScorer())])
            async for scores in flow(records, explain, branches, in_flight=4):
                print(scores[0].feature, [round(s.value, 2) for s in scores])


asyncio.run(main(*sys.argv[1:]))
