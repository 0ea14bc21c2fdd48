"""What may be chosen of an export."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """What an export takes beside the run; a format uses what it needs."""

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
