"""Ways out to the places where the field shares features, and back in."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from autointerp.errors import UsageError, nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from autointerp.export.settings import Settings

__all__ = ["FORMATS", "export_run"]

FORMATS = {
    "neuronpedia": "neuronpedia:export",
    "delphi": "delphi:export",
    "saedashboard": "saedashboard:export",
    "csv": "tables:export_csv",
    "parquet": "tables:export_parquet",
    "residues": "residues:export_tsv",
    "gff3": "residues:export_gff3",
}
"""Formats, and the module and function of each."""


def export_run(
    run: str | Path,
    format: str,
    out: str | Path,
    settings: Settings | None = None,
    features: Sequence[int] | None = None,
) -> dict[str, int]:
    """Write the run in a folder into folder ``out`` as another tool reads it; return how many rows of each kind.

    ``features`` alone; by default those that have an explanation (all if none has), in tables all.

    Features are written one after the other: memory does not grow with their number.

    Raises
    ------
    UsageError : an unknown format, or the run lacks what the format needs. FormatError : it is no run.
    """
    from autointerp.export.settings import Settings
    from autointerp.export.source import Source

    if format not in FORMATS:
        raise UsageError(f"unknown format {format!r}; {nearest(format, FORMATS)}")
    module, _, name = FORMATS[format].partition(":")
    write = getattr(importlib.import_module(f"{__name__}.{module}"), name)
    Path(out).mkdir(parents=True, exist_ok=True)
    with Source(run, features) as source:
        return write(source, Path(out), settings or Settings())
