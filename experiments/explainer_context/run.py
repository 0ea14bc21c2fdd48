"""How much should the explainer see of each context, and how? Held-out contexts of 32 tokens judge every choice.

``python -m experiments.explainer_context.run --quick`` from a checkout; README.md has the published numbers.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from autointerp import DefaultExplainer, DetectionScorer, FeatureLoader, FuzzingScorer
from autointerp.explainers import explainer
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
from experiments.explainer_context import figures

REFERENCE = "32 tokens"
EXPLAINERS = {
    "16 tokens": (16, DefaultExplainer()),
    REFERENCE: (32, DefaultExplainer()),
    "64 tokens": (64, DefaultExplainer()),
    "32 tokens, activations": (32, DefaultExplainer(activations=True)),
    "32 tokens, chain of thought": (32, DefaultExplainer(cot=True)),
    "32 tokens, both": (32, DefaultExplainer(activations=True, cot=True)),
}


@dataclass(frozen=True)
class Config(Options):
    """Explain from contexts of 16, 32 and 64 tokens, with and without activations and a chain of thought."""


async def run(config: Config) -> None:
    """Explain in every way, score all explanations on the same contexts, write the tables, draw."""
    used = material(config, "planted")

    def loader(context: int) -> FeatureLoader:
        return FeatureLoader(used.cache, used.corpus, context=context, seed=config.seed)

    loaders = {context: loader(context) for context in (16, 32, 64)}
    features = eligible(list(loaders.values()), config.n_features or (16 if config.quick else 200), config.seed)
    scorers = [DetectionScorer(), FuzzingScorer()]
    rows, texts = [], []
    for condition, (context, explains) in EXPLAINERS.items():
        out = config.runs("explainer_context", used.name) / condition.replace(", ", "-").replace(" ", "_")
        await study(out / "explain", loaders[context], explains, [], features, config)
        found = unscored(scorers, features)
        if n_explained(out / "explain"):
            saved = explainer.make(f"saved?source={out / 'explain'}")
            found = await study(out / "score", loaders[32], saved, scorers, features, config)
        known = {row["feature"]: row["explanation"] for row in found}
        texts += [{"condition": condition, "feature": f, "explanation": known[f]} for f in features]
        rows += [{"condition": condition, **row} for row in found]

    folder = results_folder(config, __file__)
    for row in rows:
        del row["explanation"]
    write(folder, "scores", rows)
    write(folder, "summary", summary(rows))
    write(folder, "differences", differences(rows, REFERENCE, ("detection", "fuzzing")))
    write(folder, "explanations", texts)
    facts = {"n_features": len(features), "contexts": loaders[32].settings, "scorers": [s.id for s in scorers]}
    conditions(folder, config, used, **facts, explainers={name: e.id for name, (_, e) in EXPLAINERS.items()})
    figures.draw(folder)


if __name__ == "__main__":
    asyncio.run(run(parse(Config, __doc__)))
