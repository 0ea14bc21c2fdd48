"""Tables of the biology commands on disk: CSV to read, Parquet to load."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from autointerp.files import atomic

if TYPE_CHECKING:
    import pyarrow as pa


def write_table(path: Path, table: pa.Table, *, csv: bool = True, parquet: bool = True) -> None:
    """``table`` as ``path.csv`` and ``path.parquet``, atomically."""
    import pyarrow.csv
    import pyarrow.parquet

    if csv:
        with atomic(path.with_name(f"{path.name}.csv")) as file:
            pyarrow.csv.write_csv(table, file)
    if parquet:
        with atomic(path.with_name(f"{path.name}.parquet")) as file:
            pyarrow.parquet.write_table(table, file, compression="zstd")
