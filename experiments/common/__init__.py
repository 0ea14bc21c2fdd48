"""What the experiments share: options, materials, runs, tables and drawing."""

from __future__ import annotations

from experiments.common.materials import Material, coders, corpus_of, material
from experiments.common.options import Options, parse
from experiments.common.study import eligible, n_explained, study, unscored
from experiments.common.tables import conditions, differences, read, results_folder, summary, write

__all__ = [
    "Material",
    "Options",
    "coders",
    "conditions",
    "corpus_of",
    "differences",
    "eligible",
    "material",
    "n_explained",
    "parse",
    "read",
    "results_folder",
    "study",
    "summary",
    "unscored",
    "write",
]
