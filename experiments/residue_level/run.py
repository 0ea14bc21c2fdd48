"""Do explanations from residues predict where in proteins a feature fires, better for a coder than for neurons?

``python -m experiments.residue_level.run --quick`` from a checkout; README.md has what is published.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from autointerp import FeatureLoader
from autointerp.explainers import explainer
from autointerp.scorers import scorer
from experiments.common import Options, coders, conditions, corpus_of, eligible, parse, results_folder, study, write
from experiments.residue_level import figures


@dataclass(frozen=True)
class Config(Options):
    """Explain residue-level features by residues, and predict held-out windows from their sequence alone."""

    hook: str = "layer:3"
    """Layer whose states are encoded, residue by residue."""
    coder_features: int = 1024
    """Features of the coders; published: 20,000 on 480 dimensions."""
    k: int = 16
    """Features active at a residue; published: 16."""
    tokens: int = 2_000_000
    """Residues to train on."""


async def run(config: Config) -> None:
    """Train, cache, explain, predict, write the tables, draw."""
    name = config.material or "yeast"
    folder = config.work / f"{name}{'-quick' if config.quick else ''}"
    corpus, subject = corpus_of(name, folder, config)
    size = {"n_features": config.coder_features, "k": config.k, "seed": config.seed}
    size["tokens"] = min(config.tokens, 400_000) if config.quick else config.tokens
    wanted = {
        "SAE": size,
        "random coder": f"random?n_features={config.coder_features}&k={config.k}",
        "neurons": f"neurons?k={config.k}",
    }
    used = coders(folder / "residue_level", config.subject or subject, corpus, config.hook, wanted)

    loaders = {name: FeatureLoader(m.cache, corpus, n_explain=20, seed=config.seed) for name, m in used.items()}
    explains, judge = explainer.make("residue"), scorer.make("prediction")
    rows = []
    for condition, loader in loaders.items():
        features = eligible([loader], config.n_features or (20 if config.quick else 200), config.seed)
        out = config.runs("residue_level", folder.name) / condition.replace(" ", "-")
        found = await study(out, loader, explains, [judge], features, config)
        rows += [{"condition": condition, "shown": "sequence", **row} for row in found]

    results = results_folder(config, __file__)
    texts = {(row["condition"], row["feature"]): row.pop("explanation") for row in rows}
    write(results, "scores", rows)
    write(results, "summary", figures.summarised(rows))
    write(results, "explanations", [{"condition": c, "feature": f, "explanation": t} for (c, f), t in texts.items()])
    facts = {"coders": wanted, "explainer": explains.id, "scorers": [judge.id], "contexts": loaders["SAE"].settings}
    conditions(results, config, used["SAE"], **facts, material=folder.name)
    figures.draw(results)


if __name__ == "__main__":
    asyncio.run(run(parse(Config, __doc__)))
