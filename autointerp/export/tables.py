"""The joined table, and all explanations with their scores, as CSV or Parquet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from autointerp.files import atomic
from autointerp.report.joined import plain

if TYPE_CHECKING:
    import pyarrow as pa

    from autointerp.export.settings import Settings
    from autointerp.export.source import Source

COLUMNS = ("feature", "explainer", "client", "explanation", "scorer", "judge", "value", "ci_low", "ci_high", "n",
           "n_failed", "null_value")  # fmt: skip


def export_csv(source: Source, out: Path, settings: Settings) -> dict[str, int]:
    """Write ``features.csv`` and ``scores.csv``; lists are joined by semicolons. Return how many rows of each."""
    return _export(source, out, settings, "csv")


def export_parquet(source: Source, out: Path, settings: Settings) -> dict[str, int]:
    """Write ``features.parquet`` and ``scores.parquet``; return how many rows of each."""
    return _export(source, out, settings, "parquet")


def _export(source: Source, out: Path, settings: Settings, kind: str) -> dict[str, int]:
    import numpy as np
    import pyarrow as pa

    features = source.features if source.chosen is not None else source.table["feature"].to_pylist()
    at = np.searchsorted(source.table["feature"].to_numpy(), features)
    write(source.table.take(pa.array(at)), out / f"features.{kind}")
    wanted = None if source.chosen is None else features
    scores = source.store.query(study=source.study, feature=wanted).select(list(COLUMNS))
    write(scores, out / f"scores.{kind}")
    return {"feature": len(features), "score": scores.num_rows}


def write(table: pa.Table, path: Path) -> None:
    """``table`` as its ending says, whole or not at all."""
    import pyarrow.csv
    import pyarrow.parquet

    with atomic(path) as place:
        if path.suffix == ".csv":
            pyarrow.csv.write_csv(plain(table), place)
        else:
            pyarrow.parquet.write_table(table, place, compression="zstd")
