"""The optional tables of a run's folder, by feature."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autointerp.dashboard.page import missing

if TYPE_CHECKING:
    import pyarrow as pa

VERSIONS = {"analysis": ("analysis.json", 1)}
"""Folder to its manifest, and the newest version of it that we read."""


class Rows:
    """A table sorted by feature, whose rows of one feature are slices; numbers as NumPy, words as codes."""

    def __init__(self, table: pa.Table) -> None:
        import pyarrow as pa

        table = table.filter(table["feature"].is_valid())  # a probe of all features together is of none
        feature = table["feature"].to_numpy().astype(np.int64)
        if len(feature) and (feature[1:] < feature[:-1]).any():
            order = np.argsort(feature, kind="stable")
            table, feature = table.take(pa.array(order)), feature[order]
        self.feature = feature
        self._columns = {name: _column(table[name]) for name in table.column_names if name != "feature"}

    @property
    def names(self) -> list[str]:
        """Names of the columns but ``feature``."""
        return list(self._columns)

    def __len__(self) -> int:
        return len(self.feature)

    def __contains__(self, name: str) -> bool:
        return name in self._columns

    def column(self, name: str) -> np.ndarray:
        """A column of numbers (NaN or NumPy's None where null), or the codes of words, −1 where null."""
        return self.feature if name == "feature" else self._columns[name][0]

    def words(self, name: str) -> tuple[str, ...]:
        """What the codes of a column of words stand for; empty for numbers."""
        return self._columns[name][1]

    def text(self, name: str) -> list[str | None]:
        """A column of words, in full."""
        codes, words = self._columns[name]
        return [words[c] if c >= 0 else None for c in codes.tolist()]

    def span(self, feature: int) -> slice:
        """Where the rows of ``feature`` are."""
        first, last = np.searchsorted(self.feature, [feature, feature + 1])
        return slice(int(first), int(last))

    def of(self, feature: int) -> dict[str, list[Any]]:
        """Every column of the rows of ``feature``; empty lists where it has none."""
        where, found = self.span(feature), {}
        for name, (values, words) in self._columns.items():
            part = values[where]
            if words:
                found[name] = [words[c] if c >= 0 else None for c in part.tolist()]
            elif part.dtype.kind == "f" and np.isnan(part).any():
                found[name] = [None if v != v else v for v in part.tolist()]
            else:
                found[name] = part.tolist()
        return found

    def records(self, feature: int) -> list[dict[str, Any]]:
        """The rows of ``feature``."""
        columns = self.of(feature)
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _column(column: pa.ChunkedArray) -> tuple[np.ndarray, tuple[str, ...]]:
    import pyarrow as pa

    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        array = column.combine_chunks().dictionary_encode()
        array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
        words = tuple(array.dictionary.to_pylist()) or ("",)  # words still, where every one is null
        return array.indices.fill_null(-1).to_numpy(zero_copy_only=False), words
    if pa.types.is_boolean(kind):
        column = column.cast(pa.int8())
    if pa.types.is_nested(kind) or pa.types.is_null(kind):
        return np.array([str(v) for v in column.to_pylist()], object), ()
    if column.null_count:
        column = column.cast(pa.float64())
    return column.to_numpy(), ()


def read_rows(folder: Path, name: str) -> Rows | dict[str, str]:
    """The table ``folder/NAME.parquet``, or what to say instead: with an empty text where it was never made."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path, home = folder / f"{name}.parquet", name.partition("/")[0]
    if not path.exists():
        return missing("")
    if home in VERSIONS and (newer := _newer(folder / home, *VERSIONS[home])):
        return missing(newer, "pip install --upgrade autointerp")
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        return missing(f"{path} cannot be read: {str(error).splitlines()[0]}")
    if "feature" not in table.column_names:
        return missing(f"{path} has no column 'feature'.")
    return Rows(table)


def _newer(folder: Path, manifest: str, version: int) -> str:
    """A sentence if the folder's tables are of a version that we do not know."""
    import json

    try:
        found = json.loads((folder / manifest).read_bytes()).get("version")
    except (OSError, ValueError, AttributeError):
        return ""
    if isinstance(found, int) and found > version:
        return f"{folder} is of version {found}, this autointerp reads version {version}."
    return ""
