"""``autointerp export``: a run as other tools read it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from tyro.conf import Positional

from autointerp.errors import UsageError
from autointerp.export.settings import Settings


@dataclass(frozen=True)
class Places:
    """What to export, as what, and where to write it."""

    run: Annotated[Path, Positional]
    """Folder of the run."""
    format: Literal["neuronpedia", "delphi", "saedashboard", "csv", "parquet", "residues", "gff3"]
    """neuronpedia (bulk-import layout), delphi (results folders), saedashboard (JSON batches), csv, parquet, residues
    (InterProScan's columns) or gff3."""
    out: Path
    """Folder to write into."""
    features: str | None = None
    """Features: a range 0:1000, or a list 1,5,9; by default those with an explanation, in tables all."""


@dataclass(frozen=True)
class Config(Settings, Places):
    """Write a run for Neuronpedia, delphi or SAEDashboard, as tables, or as residue features of its proteins."""

    POSITIONAL: ClassVar[bool] = True


def run(config: Config) -> None:
    """Export, and say what was written."""
    from autointerp.commands.run import parse_features
    from autointerp.export import export_run

    for name in ("context", "n_top", "n_bins", "batch"):
        if getattr(config, name) < 1:
            raise UsageError(f"--{name.replace('_', '-')} {getattr(config, name)}: must be at least 1")
    written = export_run(config.run, config.format, config.out, config, parse_features(config.features))
    print(f"wrote {', '.join(f'{n:,} {kind}s' for kind, n in written.items())} into {config.out}")
