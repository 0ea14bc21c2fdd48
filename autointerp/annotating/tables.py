"""What a run's saved tables say of a feature: its maximum, explanations, concept, GO terms, family."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autointerp.report.joined import borne_out, explanations_of, read_joined

if TYPE_CHECKING:
    import pyarrow as pa

TOLD = ("concept", "concept_f1", "go_terms", "go_names", "go_q", "family", "family_f1", "pattern", "cluster",
        "frequency", "max")  # fmt: skip
"""Columns of the joined table that :meth:`FeatureTables.about` hands on."""


class FeatureTables:
    """The joined table of a run (:func:`autointerp.report.joined.joined_table`), feature by feature.

    Attributes
    ----------
    maxima : (n,) float32 largest activation of feature 0 … n − 1 in the corpus; NaN where it is unknown or never fired.
    """

    def __init__(self, table: pa.Table) -> None:
        names = table.column_names
        self._table = table.select([n for n in names if n in TOLD or n.startswith(("explanation[", "score["))])
        feature = table["feature"].to_numpy()
        self._row = np.full(int(feature.max(initial=-1)) + 1, -1)
        self._row[feature] = np.arange(len(feature))
        self.maxima = np.full(len(self._row), np.nan, np.float32)
        if "max" in names:
            known = table["max"].to_numpy(zero_copy_only=False)
            self.maxima[feature] = np.where(known > 0, known, np.nan)
        self._told: dict[int, Mapping[str, Any]] = {}

    @classmethod
    def open(cls, run: str | Path) -> FeatureTables:
        """The tables of the run in a folder.

        Raises
        ------
        FormatError : it is no run, or one of its tables is not what it should be.
        """
        return cls(read_joined(run))

    def maxima_of(self, features: np.ndarray) -> np.ndarray:
        """(n,) float32 maxima of some features, NaN where unknown."""
        if not len(self.maxima):
            return np.full(len(features), np.nan, np.float32)
        inside = features < len(self.maxima)
        return np.where(inside, self.maxima[np.where(inside, features, 0)], np.nan)

    def about(self, feature: int) -> Mapping[str, Any]:
        """What is known of a feature, JSON-able; a key that has nothing behind it is absent.

        ``explanations`` (a list of ``explainer``, ``text``, ``scores`` by scorer) and the columns in :data:`TOLD`.
        """
        self.look_up([feature])
        return self._told[feature]

    def look_up(self, features: Iterable[int]) -> None:
        """Read the rows of several features at once, which is quicker than one by one."""
        import pyarrow as pa

        wanted = [f for f in dict.fromkeys(features) if f not in self._told]
        known = [f for f in wanted if 0 <= f < len(self._row) and self._row[f] >= 0]
        self._told |= {feature: {} for feature in wanted}
        rows = self._table.take(pa.array(self._row[known])).to_pylist() if known else []
        for feature, row in zip(known, rows, strict=True):
            told = {name: value for name, value in borne_out(row).items() if name in TOLD and value not in (None, [])}
            texts = explanations_of(row)
            self._told[feature] = ({"explanations": texts} if texts else {}) | told
