"""What becomes of a score when the explainer has seen what the judge is asked about?

``python -m experiments.leak.run --quick`` from a checkout; README.md has the published numbers.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from autointerp import DefaultExplainer, DetectionScorer, FuzzingScorer
from experiments.common import (
    Options,
    conditions,
    differences,
    eligible,
    material,
    parse,
    results_folder,
    study,
    summary,
    write,
)
from experiments.leak import figures
from experiments.leak.memory import RememberExplainer
from experiments.leak.splits import SPLITS, PooledLoader

REFERENCE = "groups"


@dataclass(frozen=True)
class Config(Options):
    """Score with sides that share examples as in the field's tool, and that share less and less."""


async def run(config: Config) -> None:
    """Run every split with the client and with a judge that only remembers, write the tables, draw."""
    used = material(config, "planted")
    loaders = {name: PooledLoader(used.cache, used.corpus, name, seed=config.seed) for name in SPLITS}
    features = eligible(list(loaders.values()), config.n_features or (16 if config.quick else 200), config.seed)
    scorers = [DetectionScorer(), FuzzingScorer()]
    rows, shares = [], []
    for condition, loader in loaders.items():
        out = config.runs("leak", used.name)
        found = await study(out / condition, loader, DefaultExplainer(), scorers, features, config)
        rows += [{"condition": condition, "judge": config.judge, **row} for row in found]
        found = await study(
            out / f"{condition}-memory", loader, RememberExplainer(), scorers[:1], features, config, client="memory"
        )
        rows += [{"condition": condition, "judge": "memory", **row} for row in found]
        shares += [{"condition": condition, **loader.shared(feature)} for feature in features]

    folder = results_folder(config, __file__)
    texts = {(r["condition"], r["feature"]): r["explanation"] for r in rows if r["judge"] != "memory"}
    for row in rows:
        del row["explanation"]
    write(folder, "scores", rows)
    write(folder, "shared", shares)
    write(folder, "summary", summary(rows, ("condition", "judge", "scorer")))
    by_judge = {judge: [row for row in rows if row["judge"] == judge] for judge in (config.judge, "memory")}
    table = [
        {"judge": judge, **row}
        for judge, part in by_judge.items()
        for row in differences(part, REFERENCE, ("detection", "fuzzing"))
    ]
    write(folder, "differences", table)
    write(folder, "explanations", [{"condition": c, "feature": f, "explanation": t} for (c, f), t in texts.items()])
    facts = {"n_features": len(features), "contexts": loaders[REFERENCE].settings, "explainer": DefaultExplainer().id}
    conditions(folder, config, used, **facts, scorers=[scorer.id for scorer in scorers])
    figures.draw(folder)


if __name__ == "__main__":
    asyncio.run(run(parse(Config, __doc__)))
