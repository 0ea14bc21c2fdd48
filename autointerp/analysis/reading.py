"""Reading RUN/analysis: lazily, a feature at a time; a table that was not made is None."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autointerp.analysis.tables import COLUMNS, FOLDER, FORMAT, MANIFEST, VERSION
from autointerp.errors import FormatError, UsageError, nearest
from autointerp.files import read_json

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq


class Analysis:
    """What ``autointerp analyze`` found; open one with :meth:`open`.

    Attributes
    ----------
    path : the folder. manifest : the content of ``analysis.json``: what it was made from, and how each table was made.
    """

    def __init__(self, path: Path, manifest: dict[str, Any]) -> None:
        self.path, self.manifest = path, manifest
        self._tables: dict[str, _Table | None] = {}

    @classmethod
    def open(cls, run: str | Path) -> Analysis | None:
        """The analysis in a run's folder, or in the folder itself; None where there is none.

        Raises
        ------
        FormatError : there is one of another version.
        """
        for folder in (Path(run), Path(run) / FOLDER):
            if (folder / MANIFEST).exists():
                return cls(folder, read_json(folder / MANIFEST, FORMAT, VERSION))
        return None

    @cached_property
    def features(self) -> pa.Table:
        """One row a feature, in order (see :data:`autointerp.analysis.tables.COLUMNS`)."""
        table = self._table("features")
        if table is None:
            raise FormatError(self.path, "features.parquet", "no such file")
        return table.file.read()

    def has(self, name: str) -> bool:
        """Whether the table ``name`` was made."""
        return self._table(name) is not None

    def table(self, name: str) -> pa.Table | None:
        """A whole table; None where it was not made."""
        table = self._table(name)
        return None if table is None else table.file.read()

    def rows(self, name: str, feature: int) -> pa.Table | None:
        """The rows of one feature, without reading more than their row groups; None where the table was not made."""
        table = self._table(name)
        return None if table is None else table.rows(feature)

    def logits(self, feature: int) -> dict[str, list[tuple[str, float]]] | None:
        """``promoted`` and ``suppressed``: (token, change of its logit), the largest changes first."""
        rows = self.rows("logits", feature)
        if rows is None:
            return None
        found: dict[str, list[tuple[str, float]]] = {"promoted": [], "suppressed": []}
        for row in rows.to_pylist():
            found[row["side"]].append((row["token"], row["value"]))
        return found

    def neighbours(self, feature: int) -> dict[str, list[tuple[int, float]]] | None:
        """By ``decoder``, ``encoder`` and ``co-activation``: (feature, similarity), the nearest first."""
        rows = self.rows("neighbours", feature)
        if rows is None:
            return None
        found: dict[str, list[tuple[int, float]]] = {}
        for row in rows.to_pylist():
            found.setdefault(row["by"], []).append((row["neighbour"], row["similarity"]))
        return found

    def logo(self, feature: int) -> dict[int, list[tuple[str, float]]] | None:
        """By offset from the peak: (symbol, bits), the highest first."""
        rows = self.rows("logo", feature)
        if rows is None:
            return None
        found: dict[int, list[tuple[str, float]]] = {}
        for row in rows.to_pylist():
            found.setdefault(row["offset"], []).append((row["symbol"], row["bits"]))
        return found

    def moments(self, feature: int) -> dict[str, Any] | None:
        """Mean, sd, skew, kurtosis, low, high and histogram of the feature's effect on all logits."""
        rows = self.rows("logit_moments", feature)
        return None if rows is None or not rows.num_rows else rows.to_pylist()[0]

    def _table(self, name: str) -> _Table | None:
        if name not in COLUMNS:
            raise UsageError(f"an analysis has no table {name!r}; {nearest(name, COLUMNS)}")
        if name not in self._tables:
            path = self.path / f"{name}.parquet"
            self._tables[name] = _Table(path) if name in self.manifest["tables"] and path.exists() else None
        return self._tables[name]


class _Table:
    """A Parquet file whose rows are sorted by feature."""

    def __init__(self, path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            self.file: pq.ParquetFile = pq.ParquetFile(path, memory_map=True)
        except (pa.ArrowInvalid, OSError) as error:
            raise FormatError(path, "a Parquet file", str(error).splitlines()[0]) from None
        groups = [self.file.metadata.row_group(i).column(0).statistics for i in range(self.file.num_row_groups)]
        self._first, self._last = (np.array([getattr(g, k) for g in groups], np.int64) for k in ("min", "max"))

    def rows(self, feature: int) -> pa.Table:
        import pyarrow.compute as pc

        begin, end = np.searchsorted(self._last, feature), np.searchsorted(self._first, feature, "right")
        table = self.file.read_row_groups(list(range(int(begin), int(end))))
        return table.filter(pc.equal(table["feature"], feature))
