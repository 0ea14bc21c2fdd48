"""What is a score worth that is of something else? Every feature judged with another feature's explanation.

``python -m experiments.random_explanations.run --quick`` from a checkout; README.md has the published numbers.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from autointerp import DefaultExplainer, FeatureLoader
from autointerp.explainers import explainer
from autointerp.scorers import scorer
from experiments.common import (
    Options,
    conditions,
    differences,
    eligible,
    material,
    n_explained,
    parse,
    results_folder,
    study,
    summary,
    unscored,
    write,
)
from experiments.random_explanations import figures

SCORERS = ("detection", "fuzzing", "simulation", "prediction")


@dataclass(frozen=True)
class Config(Options):
    """Score each feature with its own explanation, with a random other one, and with its paired null."""

    seeds: int = 2
    """Random other explanations that each feature is judged with."""


async def run(config: Config) -> None:
    """Explain, score, score again with explanations drawn from the first run, write the tables, draw."""
    used = material(config, "planted")
    loader = FeatureLoader(used.cache, used.corpus, seed=config.seed)
    features = eligible([loader], config.n_features or (16 if config.quick else 200), config.seed)
    judges = [scorer.make(name) for name in SCORERS]
    out = config.runs("random_explanations", used.name)

    # the library's own null is in the same run: a partner in a cycle, so that nobody is judged with their own
    found = await study(out / "own", loader, DefaultExplainer(), judges, features, config, nulls=True)
    rows = [{"condition": "paired null" if row["null"] else "own", **row} for row in found]
    for seed in range(config.seeds):
        found = unscored(judges, features)
        if n_explained(out / "own") > 1:
            other = explainer.make(f"random?source={out / 'own'}&seed={seed}")
            found = await study(out / f"random-{seed}", loader, other, judges, features, config)
        rows += [{"condition": f"random {seed}", **row} for row in found]

    folder = results_folder(config, __file__)
    texts = {row["feature"]: row["explanation"] for row in rows if row["condition"] == "own"}
    for row in rows:
        del row["explanation"]
    write(folder, "scores", rows)
    write(folder, "summary", summary(rows))
    write(folder, "differences", differences(rows, "own", SCORERS))
    write(folder, "explanations", [{"feature": f, "explanation": texts.get(f, "")} for f in features])
    facts = {"n_features": len(features), "contexts": loader.settings, "explainer": DefaultExplainer().id}
    conditions(folder, config, used, **facts, scorers=[judge.id for judge in judges])
    figures.draw(folder)


if __name__ == "__main__":
    asyncio.run(run(parse(Config, __doc__)))
