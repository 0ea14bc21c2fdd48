"""Which contexts should the explainer see, and how many? The same held-out contexts judge every choice.

``python -m experiments.samplers.run --quick`` from a checkout; README.md has the published numbers.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from autointerp import DefaultExplainer, DetectionScorer, FeatureLoader, FuzzingScorer
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
from experiments.samplers import figures

SAMPLERS = ("quantiles", "top", "random")
NUMBERS = (10, 20, 40, 60)
REFERENCE = "quantiles, 40"


@dataclass(frozen=True)
class Config(Options):
    """Explain from contexts sampled in different ways and numbers; score by detection and fuzzing."""


async def run(config: Config) -> None:
    """Run every condition, write the tables, draw."""
    used = material(config, "planted")
    chosen = [(sampler, 40) for sampler in SAMPLERS] + [("quantiles", n) for n in NUMBERS if n != 40]
    loaders = {
        # the test side does not depend on these two settings: the trials are the same in every condition
        f"{sampler}, {n}": FeatureLoader(
            used.cache, used.corpus, sampler=sampler, n_explain=n, n_test=50, n_non_activating=50, seed=config.seed
        )
        for sampler, n in chosen
    }
    features = eligible(list(loaders.values()), config.n_features or (16 if config.quick else 200), config.seed)
    scorers = [DetectionScorer(), FuzzingScorer()]
    rows = []
    for condition, loader in loaders.items():
        out = config.runs("samplers", used.name) / condition.replace(", ", "-")
        found = await study(out, loader, DefaultExplainer(), scorers, features, config)
        rows += [{"condition": condition, **row} for row in found]

    folder = results_folder(config, __file__)
    texts = {(row["condition"], row["feature"]): row.pop("explanation") for row in rows}
    write(folder, "scores", rows)
    write(folder, "summary", summary(rows))
    write(folder, "differences", differences(rows, REFERENCE, ("detection", "fuzzing")))
    write(folder, "explanations", [{"condition": c, "feature": f, "explanation": t} for (c, f), t in texts.items()])
    facts = {"n_features": len(features), "contexts": loaders[REFERENCE].settings, "explainer": DefaultExplainer().id}
    conditions(folder, config, used, **facts, scorers=[scorer.id for scorer in scorers])
    figures.draw(folder)


if __name__ == "__main__":
    asyncio.run(run(parse(Config, __doc__)))
