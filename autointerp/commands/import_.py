"""``autointerp import``: what other tools export, as a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from tyro.conf import Positional


@dataclass(frozen=True)
class Config:
    """Read a Neuronpedia export or a delphi run: explanations, scores, and the contexts they carry."""

    source: Annotated[Path, Positional]
    """Folder of the export, or of delphi's results."""
    out: Path
    """Folder of the run; its corpus and cache come to lie in it."""
    hook: str | None = None
    """Hookpoint of a delphi run with several."""
    kind: Literal["protein", "text"] | None = None
    """What tokens are; by default protein if all of the first are single capital letters."""

    POSITIONAL: ClassVar[bool] = True


def run(config: Config) -> None:
    """Import, and say what was read."""
    from autointerp.export.importing import import_run

    landed = import_run(config.source, config.out, hook=config.hook, kind=config.kind)
    print(
        f"read {landed.explanations:,} explanations, {landed.scores:,} scores and {landed.contexts:,} contexts of a "
        f"coder of {landed.features:,} features into {config.out}"
    )
    for reason, n in sorted(landed.left_out.items()):
        print(f"left out: {n:,} {reason}")
