"""InterPLM's descriptions: explain a feature from proteins over its whole range, predict other proteins' maxima.

``python -m experiments.interplm_descriptions.run --quick`` from a checkout; README.md has the published median.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import numpy as np

from autointerp import FeatureLoader
from autointerp.explainers import explainer
from autointerp.features.contexts import Bins
from autointerp.features.negatives import Scene
from autointerp.scorers import scorer
from experiments.common import Options, conditions, eligible, material, parse, results_folder, study, write
from experiments.interplm_descriptions import figures


@dataclass(frozen=True)
class Config(Options):
    """Explain by 28 proteins over the tenths of a feature's maximum and 10 silent ones; predict as many others."""

    context: int = 64
    """Residues shown around a protein's strongest one."""


def protein_peaks(tokens: np.ndarray, values: np.ndarray, bins: Bins) -> np.ndarray:
    """The strongest residue of every protein in which the feature fires: one context a protein."""
    sequence = bins.sequences_of(tokens)
    order = np.lexsort((-tokens, values, sequence))
    last = np.append(sequence[order][1:] != sequence[order][:-1], True)
    return tokens[order[last]]


def silent_proteins(scene: Scene, n: int, rng: np.random.Generator) -> np.ndarray:
    """The middle of proteins in which the feature never fires, at random."""
    fires = np.zeros(len(scene.on_side), bool)
    fires[scene.bins.sequences_of(scene.tokens)] = True
    silent = np.flatnonzero(scene.on_side & ~fires)
    chosen = rng.choice(silent, min(n, len(silent)), replace=False)
    return (scene.bins.offsets[chosen] + scene.bins.offsets[chosen + 1]) // 2


async def run(config: Config) -> None:
    """Explain, predict with and without metadata, write the tables, draw."""
    used = material(config, "yeast")
    loader = FeatureLoader(
        used.cache,
        used.corpus,
        context=config.context,
        constructor=protein_peaks,
        sampler="bins",
        test_sampler="bins",
        n_explain=28,
        n_test=28,
        negatives=silent_proteins,
        n_non_activating=10,
        min_examples=8,
        seed=config.seed,
    )
    features = eligible([loader], config.n_features or (20 if config.quick else 1240), config.seed)
    explains = explainer.make("residue")
    scorers = [scorer.make("prediction?metadata_at_test=true"), scorer.make("prediction")]
    found = await study(
        config.runs("interplm_descriptions", used.name), loader, explains, scorers, features, config, nulls=True
    )
    rows = [
        {"condition": "null" if r["null"] else "own", "shown": "metadata" if r["settings"] else "sequence", **r}
        for r in found
    ]

    results = results_folder(config, __file__)
    texts = {row["feature"]: row.pop("explanation") for row in rows}
    write(results, "scores", rows)
    write(results, "summary", figures.summarised(rows))
    write(results, "explanations", [{"feature": f, "explanation": t} for f, t in texts.items()])
    facts = {"n_features": len(features), "explainer": explains.id, "scorers": [s.id for s in scorers]}
    conditions(results, config, used, **facts, contexts=loader.settings)
    figures.draw(results)


if __name__ == "__main__":
    asyncio.run(run(parse(Config, __doc__)))
