"""Names and columns of what lies in RUN/analysis: one place that the writer and the readers share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autointerp.files import atomic

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = "autointerp-analysis"
VERSION = 1
FOLDER = "analysis"
MANIFEST = "analysis.json"
ROWS = 1 << 13
"""Rows of a row group: what is read to show one feature."""

COLUMNS: dict[str, dict[str, str]] = {
    "features": {
        "feature": "int32",
        "n_activations": "int64",
        "n_sequences": "int64",
        "frequency": "float32",
        "max": "float32",
        "mean": "float32",
        "dead": "bool",
        "dense": "bool",
        "pattern": "string",
        "median_run": "float32",
        "coverage": "float32",
        "period": "int32",
        "periodicity": "float32",
        "position_mean": "float32",
        "position_sd": "float32",
        "position_start": "float32",
        "position_end": "float32",
        "position_class": "string",
        "x": "float32",
        "y": "float32",
        "cluster": "int32",
        "duplicate_of": "int32",
    },
    "logits": {"feature": "int32", "side": "string", "rank": "int16", "token": "string", "value": "float32"},
    "logit_moments": {
        "feature": "int32",
        "mean": "float32",
        "sd": "float32",
        "skew": "float32",
        "kurtosis": "float32",
        "low": "float32",
        "high": "float32",
        "histogram": "list<int32>",
    },
    "token_sets": {
        "feature": "int32",
        "set": "string",
        "n_tokens": "int32",
        "shift": "float32",
        "z": "float32",
        "q": "float64",
    },
    "neighbours": {
        "feature": "int32",
        "by": "string",
        "rank": "int16",
        "neighbour": "int32",
        "similarity": "float32",
    },
    "logo": {
        "feature": "int32",
        "offset": "int16",
        "symbol": "string",
        "count": "int32",
        "n": "int32",
        "bits": "float32",
    },
}
"""Tables (NAME.parquet) and their columns, sorted by feature. ``features`` has a row for every feature; its columns
from ``pattern`` on, and the other tables, are null or absent where what they are made from was not given."""


def schema(name: str) -> pa.Schema:
    """Arrow schema of a table."""
    import pyarrow as pa

    made: dict[str, Any] = {
        "string": pa.string(),
        "list<int32>": pa.list_(pa.int32()),
        "bool": pa.bool_(),
        "float32": pa.float32(),
        "float64": pa.float64(),
    }
    made |= {f"int{n}": getattr(pa, f"int{n}")() for n in (16, 32, 64)}
    return pa.schema([(column, made[kind]) for column, kind in COLUMNS[name].items()])


def table_of(name: str, columns: Mapping[str, Any]) -> pa.Table:
    """A table from its columns; NaN is null, and so is a column that is not given."""
    import pyarrow as pa

    fields, n = schema(name), len(columns["feature"])
    arrays = []
    for field in fields:
        values = columns.get(field.name)
        if values is None:
            arrays.append(pa.nulls(n, field.type))
        elif isinstance(values, pa.Array | pa.ChunkedArray):
            arrays.append(values.cast(field.type))
        else:
            arrays.append(pa.array(values, from_pandas=True).cast(field.type))
    return pa.table(arrays, schema=fields)


def write(folder: Path, name: str, parts: Iterable[pa.Table]) -> int:
    """Write ``NAME.parquet`` from tables that follow each other, one in memory at a time; return the number of rows."""
    import pyarrow.parquet as pq

    rows = 0
    with atomic(folder / f"{name}.parquet") as path, pq.ParquetWriter(path, schema(name), compression="zstd") as writer:
        for part in filter(len, parts):  # a row group of no rows has no first and last feature
            writer.write_table(part, row_group_size=ROWS)
            rows += part.num_rows
    return rows
