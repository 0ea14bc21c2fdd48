"""Do explanations predict whole proteins better for a sparse coder's features than for the model's own neurons?

``python -m experiments.protein_level.run --quick`` from a checkout; README.md has what is published.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from autointerp import FeatureLoader
from autointerp.explainers import explainer
from autointerp.scorers import scorer
from experiments.common import Options, coders, conditions, corpus_of, eligible, parse, results_folder, study, write
from experiments.protein_level import figures


@dataclass(frozen=True)
class Config(Options):
    """Explain and predict mean-pooled features of an autoencoder and a transcoder, and neurons, by metadata."""

    hook: str = "layer:2"
    """Layer whose states, averaged over a protein, are encoded."""
    target: str = "layer:3"
    """The next one, whose difference from it the transcoder reconstructs."""
    coder_features: int = 512
    """Features of the coders; published: 20,000 on 480 dimensions."""
    k: int = 16
    """Features active in a protein; published: 64."""
    proteins: int = 200_000
    """Proteins to train on, several times over if the corpus has fewer; published: 23 million of UniRef50."""


async def run(config: Config) -> None:
    """Train, cache, explain, predict, write the tables, draw."""
    name = config.material or "yeast"
    folder = config.work / f"{name}{'-quick' if config.quick else ''}"
    corpus, subject = corpus_of(name, folder, config)
    shape = {"level": "sequence", "n_features": config.coder_features, "k": config.k, "seed": config.seed}
    shape |= {"tokens": 40_000 if config.quick else config.proteins, "learning_rate": 1e-3}
    wanted = {
        "SAE": {"recipe": "protein-sae-2025", **shape},
        "transcoder": {"recipe": "protein-transcoder-2025", "target_hook": config.target, **shape},
        "neurons": "neurons",
    }
    used = coders(folder / "protein_level", config.subject or subject, corpus, config.hook, wanted)

    # the published numbers: 17 active proteins by blocks of activation, 15 silent ones, about half of them to explain
    sizes = {"n_explain": 8, "n_test": 9, "n_non_activating": 8, "sampler": "blocks", "test_sampler": "blocks"}
    loaders = {n: FeatureLoader(m.cache, corpus, **sizes, min_examples=8, seed=config.seed) for n, m in used.items()}
    explains = explainer.make("protein-metadata")
    scorers = [scorer.make("prediction?metadata_at_test=true"), scorer.make("prediction")]
    rows = []
    for condition, loader in loaders.items():
        features = eligible([loader], config.n_features or (20 if config.quick else 200), config.seed)
        out = config.runs("protein_level", folder.name) / condition
        found = await study(out, loader, explains, scorers, features, config)
        rows += [{"condition": condition, "shown": "metadata" if r["settings"] else "sequence", **r} for r in found]

    results = results_folder(config, __file__)
    texts = {(row["condition"], row["feature"]): row.pop("explanation") for row in rows}
    write(results, "scores", rows)
    write(results, "summary", figures.summarised(rows))
    write(results, "explanations", [{"condition": c, "feature": f, "explanation": t} for (c, f), t in texts.items()])
    about = {n: {"n_features": m.cache.n_features, "coder": Path(str(m.coder)).name} for n, m in used.items()}
    facts = {"coders": about, "k": config.k, "explainer": explains.id, "scorers": [s.id for s in scorers]}
    contexts = loaders["SAE"].settings
    conditions(results, config, used["SAE"], **facts, material=folder.name, contexts=contexts)
    figures.draw(results)


if __name__ == "__main__":
    asyncio.run(run(parse(Config, __doc__)))
