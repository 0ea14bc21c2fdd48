"""How many features find an annotated concept: of a trained coder, neurons, a random coder, a random subject.

``python -m experiments.concepts.run --quick`` from a checkout; README.md has the published numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from autointerp import Corpus
from autointerp.biology import f1, interplm
from autointerp.biology.regions import annotated
from autointerp.errors import UsageError
from autointerp.features.splits import assign_sides
from autointerp.files import write_json
from experiments.common.options import parse
from experiments.common.tables import write
from experiments.concepts import figures
from experiments.concepts.material import Case, Config, about, cases, name_of

LEVELS = (0.2, 0.5)
CURVE = np.round(np.arange(0.05, 1.0, 0.05), 2)
RATES = (0.0, 0.01, 0.05, 0.2, 1.01)
"""Bounds of the shares of residues at which a feature fires."""


def main(config: Config) -> None:
    """Measure every case on the same parts, write the tables, draw."""
    corpus, compared = cases(config, "planted" if config.quick else "yeast")
    folder = config.results or Path(__file__).parent / "results" / name_of(
        config, "planted" if config.quick else "yeast"
    )
    tables: dict[str, list[dict[str, Any]]] = {n: [] for n in ("summary", "concepts", "curve", "rates", "finders")}
    least = config.size.min_instances
    for case in compared:
        parts = f1.parts_of(case.cache, corpus, seed=config.seed)
        study = f1.study(case.cache, annotated(case.cache, corpus), parts, min_instances=least, seed=config.seed)
        for name, rows in measured(case, study).items():
            tables[name] += [{"case": case.name, "coder": case.coder, "k": case.k, "weights": case.weights, **row}
                             for row in rows]  # fmt: skip
        tables["summary"][-1] |= by_interplm(case, corpus, config)
        print(f"{case.name}: {tables['summary'][-1]}", flush=True)
    for name, rows in tables.items():
        write(folder, name, rows)
    facts = about(config, corpus, case.cache)
    facts |= {
        "n_concepts": study.concepts.num_rows,
        "left_out": study.left_out,
        "part_sequences": study.n_sequences.tolist(),
    }
    write_json(folder / "conditions.json", facts)
    figures.draw(folder)


def measured(case: Case, study: f1.Study) -> dict[str, list[dict[str, Any]]]:
    """The rows of every table for one case."""
    best, null = np.zeros(study.n_features), study.null_features[0]
    best[study.features["feature"].to_numpy()] = study.features["f1"].to_numpy()
    rate = case.cache.statistics["count"] / case.cache.n_tokens
    found = study.concepts
    row: dict[str, Any] = {"features": study.n_features, "silent": int((rate == 0).sum())}
    row["median_rate"] = float(np.median(rate[rate > 0]))
    for level in LEVELS:
        row |= {f"features_{level}": int((best > level).sum()), f"null_features_{level}": int((null > level).sum())}
        for name, column in (("concepts", "f1"), ("null_concepts", "null_f1")):
            row[f"{name}_{level}"] = int((found[column].to_numpy() > level).sum())
    row["mean_best_f1"] = float(found["f1"].to_numpy().mean())
    kept = ("concept", "feature", "threshold", "valid_f1", "f1", "null_f1", "precision", "recall", "n_instances")
    which = np.digitize(rate, RATES) - 1
    return {
        "summary": [row],
        "concepts": found.select(list(kept)).to_pylist(),
        "curve": [
            {"above": x, "features": int((best > x).sum()), "null": int((null > x).sum())} for x in CURVE.tolist()
        ],
        "rates": [
            {"rate_from": low, "rate_to": min(high, 1.0), "features": int(here.sum())}
            | {"found": int((best[here] > LEVELS[0]).sum()), "null": int((null[here] > LEVELS[0]).sum())}
            for i, (low, high) in enumerate(pairwise(RATES))
            for here in [(which == i) & (rate > 0)]
        ],
        "finders": list(finders(study)),
    }


def finders(study: f1.Study) -> Iterator[dict[str, Any]]:
    """How many features have each concept as their best, by level of test F1."""
    names, values = np.array(study.features["concept"].to_pylist()), study.features["f1"].to_numpy()
    for name in np.unique(names[values > LEVELS[0]]).tolist():
        yield {"concept": name, **{f"features_{x}": int((values[names == name] > x).sum()) for x in LEVELS}}


def by_interplm(case: Case, corpus: Corpus, config: Config) -> dict[str, Any]:
    """The published rules: features and concepts with F1 > .5 on valid and, thresholds anew, on test."""
    parts = assign_sides(np.arange(case.cache.n_sequences), (0.0, 0.5, 0.5), config.seed)
    try:
        found = interplm.report(case.cache, corpus, parts, min_required=config.size.min_instances)
    except UsageError:  # a quick size: no concept is frequent enough by their rule
        return {"interplm_features": None, "interplm_concepts": None, "interplm_tested": 0}
    pairs = {name: len(found.pairs[name].unique()) for name in ("feature", "concept")}
    return {f"interplm_{name}s": n for name, n in pairs.items()} | {"interplm_tested": found.n_concepts}


if __name__ == "__main__":
    main(parse(Config, __doc__))
