"""The protein seed's GO figures, and ours: which terms features are enriched in, and whether these lie close together.

``python -m experiments.go.run --quick`` from a checkout; README.md has the published figures and their conditions.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from autointerp import Corpus
from autointerp.biology.go import terms_of_column
from autointerp.biology.go_study import SEED, GoSettings, GoStudy, study_go
from autointerp.biology.obo import Ontology, read_obo
from autointerp.biology.structure import KINDS, Structure, term_structure
from autointerp.errors import UsageError
from autointerp.files import write_json
from autointerp.report.go import LABELS, boxes_by_depth, columns_of
from experiments.common.options import parse
from experiments.common.tables import write
from experiments.concepts.material import Case, about, cases, name_of
from experiments.concepts.material import Config as Material
from experiments.go import figures

THRESHOLDS = (0.0, 0.5)
"""A protein is in a feature's study set above this share of the feature's maximum; the seed has 0."""
KEPT = 120
"""Features of a namespace that the table of units keeps."""


@dataclass(frozen=True)
class Config(Material):
    """Test every feature against every term, measure the structure of what was found, write, draw."""

    obo: Path | None = None
    """The ontology; by default the one in --data."""


def main(config: Config) -> None:
    """Study every case, write the tables, draw."""
    path = config.obo or config.data / "go" / "go_isa_2024-02.obo.gz"
    if not path.exists():
        raise UsageError(f"no ontology at {path}: give --data or --obo")
    corpus, compared = cases(config, "yeast")
    folder = config.results or Path(__file__).parent / "results" / name_of(config, "yeast")
    ontology = read_obo(path)
    table = terms_of_column(corpus, ontology)
    tables: dict[str, list[dict[str, Any]]] = {n: [] for n in ("summary", "seed", "tests", "units", "boxes")}
    least = min(config.size.ks)
    for case in (case for case in compared if case.k in (0, least)):
        for threshold in THRESHOLDS:
            study = study_go(case.cache, corpus, ontology, table, GoSettings(threshold=threshold, seed=config.seed))
            head = {"case": case.name, "coder": case.coder, "k": case.k, "weights": case.weights}
            tables["summary"] += [{**head, "threshold": threshold, **row} for row in found(study)]
            print(tables["summary"][-3:], flush=True)
        structure = term_structure(study, seed=config.seed)
        tables["tests"] += [{**head, **row} for row in structure.tests()]
        if (case.coder, case.weights) == figures.DRAWN:
            for name, rows in lies(structure).items():
                tables[name] += rows
        tables["seed"].append({**head, **as_seed(case, corpus, ontology, table)})
    for name, rows in tables.items():
        write(folder, name, rows)
    facts = about(config, corpus, case.cache)
    facts |= {"ontology": ontology.version or path.name, "annotations": dict(table.counts)}
    facts["structure_threshold"] = THRESHOLDS[-1]
    write_json(folder / "conditions.json", facts)
    figures.draw(folder)


def found(study: GoStudy) -> list[dict[str, Any]]:
    """One row a namespace: how many findings, and with annotations shuffled, among all and among like lengths."""
    kept = ("features_tested", "median_study", "terms_tested", "tests", "findings", "features_with_findings",
            "terms_found", "findings_with_annotations_shuffled",
            "findings_with_annotations_shuffled_among_like_lengths")  # fmt: skip
    facts = study.summary()["namespaces"]
    return [{"namespace": name, **{n: facts[name][n] for n in kept}} for name in facts]


def as_seed(case: Case, corpus: Corpus, ontology: Ontology, table: Any) -> dict[str, Any]:
    """The seed's rules: findings, how many are depletions, and what is left of them among ours."""
    study = study_go(case.cache, corpus, ontology, table, GoSettings(**SEED, null=False))  # type: ignore[arg-type]
    (facts,) = study.summary()["namespaces"].values()
    return {n: facts[n] for n in ("features_tested", "findings", "findings_under", "features_with_findings")}


def lies(structure: Structure) -> dict[str, list[dict[str, Any]]]:
    """What the figures draw: the means of some features, and the boxes of all pairs."""
    units, pairs = columns_of(structure.units), columns_of(structure.pairs)
    rows, boxes = [], []
    for namespace in dict.fromkeys(units["namespace"].tolist()):
        here = np.flatnonzero(units["namespace"] == namespace)
        features = np.unique(units["feature"][here])[:KEPT]
        for i in here[np.isin(units["feature"][here], features)].tolist():
            rows.append({name: units[name][i] for name in ("feature", "namespace", "kind", "n_terms", *LABELS)})
        mine = {name: column[pairs["namespace"] == namespace] for name, column in pairs.items()}
        for baseline in KINDS[1:]:
            boxes += [{"namespace": namespace, "baseline": baseline, **box} for box in boxes_by_depth(mine, baseline)]
    return {"units": rows, "boxes": boxes}


if __name__ == "__main__":
    main(parse(Config, __doc__))
