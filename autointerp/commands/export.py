"""``autointerp export``: a run as other tools read it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from tyro.conf import Positional

from autointerp.errors import UsageError


@dataclass(frozen=True)
class Config:
    """Write a run for Neuronpedia, delphi or SAEDashboard, as tables, or as residue features of its proteins."""

    run: Annotated[Path, Positional]
    """Folder of the run."""
    format: Literal["neuronpedia", "delphi", "saedashboard", "csv", "parquet", "residues", "gff3"]
    """neuronpedia (bulk-import layout), delphi (results folders), saedashboard (JSON batches), csv, parquet, residues
    (InterProScan's columns) or gff3."""
    out: Path
    """Folder to write into."""
    features: str | None = None
    """Features: a range 0:1000, or a list 1,5,9; by default those with an explanation, in tables all."""
    context: int = 64
    """Tokens of a context (neuronpedia, saedashboard)."""
    n_top: int = 20
    """Strongest contexts of a feature (neuronpedia, saedashboard)."""
    n_bins: int = 5
    """Intervals of activation that contexts are taken from besides (neuronpedia, saedashboard)."""
    per_bin: int = 5
    """Contexts of each interval (neuronpedia, saedashboard)."""
    batch: int = 256
    """Features of a file (neuronpedia, saedashboard)."""
    min_share: float = 0.5
    """Share of the feature's maximum from which on a residue is part of a region (residues, gff3)."""
    explainer: str | None = None
    """Whose explanations, where the run has several (delphi); by default the first."""
    model_id: str | None = None
    """Neuronpedia's name of the model; by default the subject's, in small letters."""
    layer: int | None = None
    """Layer of the coder; by default the number in the hook."""
    source_set: str = "autointerp"
    """Name of the set of coders at Neuronpedia: the source is LAYER-SOURCE_SET."""
    release: str | None = None
    """Name of the release at Neuronpedia; by default that of the set."""
    creator_id: str = "autointerp"
    """Id of the creator in Neuronpedia's database."""
    creator_name: str = "autointerp"
    """Name that is shown for it."""
    created: str | None = None
    """Time that rows bear, such as 2026-01-31T12:00:00+00:00; by default now."""
    seed: int = 0
    """Decides which contexts of an interval are taken."""

    POSITIONAL: ClassVar[bool] = True


def run(config: Config) -> None:
    """Export, and say what was written."""
    from autointerp.commands.run import parse_features
    from autointerp.export import export_run
    from autointerp.export.source import Settings

    for name in ("context", "n_top", "n_bins", "batch"):
        if getattr(config, name) < 1:
            raise UsageError(f"--{name.replace('_', '-')} {getattr(config, name)}: must be at least 1")
    chosen = {name: getattr(config, name) for name in Settings.__dataclass_fields__ if name != "features"}
    features = parse_features(config.features)
    settings = Settings(**chosen, features=None if features is None else list(features))
    written = export_run(config.run, config.format, config.out, settings)
    print(f"wrote {', '.join(f'{n:,} {kind}s' for kind, n in written.items())} into {config.out}")
