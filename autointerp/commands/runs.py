"""``autointerp runs``: the runs below a folder."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from tyro.conf import Positional

from autointerp.errors import AutointerpError, UsageError

if TYPE_CHECKING:
    from autointerp.store import RunStore

FILES = {"run.db", "run.toml"}


@dataclass(frozen=True)
class Config:
    """List the runs below a folder: features done, scores, spend, when something last happened."""

    folder: Annotated[Path, Positional] = Path()
    """Where to look, at any depth."""

    POSITIONAL: ClassVar[bool] = True


def run(config: Config) -> None:
    """Print a line per run."""
    from autointerp.store import RunStore

    if not config.folder.is_dir():
        raise UsageError(f"{config.folder}: no such folder")
    rows: list[tuple[str, ...]] = [("run", "explained", "failed", "skipped", "scores", "nulls", "spend", "last")]
    for place in sorted(found(config.folder)):
        name = str(place.relative_to(config.folder)) if place != config.folder else str(place)
        try:
            with RunStore.open(place, readonly=True) as store:
                rows.append((name, *_cells(store)))
        except AutointerpError as error:
            rows.append((name, *[""] * 6, str(error)))
    if len(rows) == 1:
        raise UsageError(f"{config.folder}: no runs below it")
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    for name, *cells, last in rows:
        print(f"{name:<{widths[0]}}", *(f"{c:>{w}}" for c, w in zip(cells, widths[1:], strict=True)), last, sep="  ")


def found(folder: Path) -> Iterator[Path]:
    """Folders of runs in ``folder``; what lies inside a run is not looked at, nor what is hidden."""
    for path, folders, files in os.walk(folder):
        if FILES & set(files):
            folders.clear()
            yield Path(path)
        folders[:] = [name for name in folders if not name.startswith(".")]


def _cells(store: RunStore) -> tuple[str, ...]:
    far, spend = store.progress(), store.spend()
    usd = f"${spend.confirmed_usd:.2f}"
    if open_ := spend.maybe_usd + spend.reserved_usd:
        usd += f" (+{open_:.2f})"
    last = "never" if far.last is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(far.last))
    counts = (far.explained, far.failed, far.skipped, far.scores, far.nulls)
    return (*(f"{count:,}" for count in counts), usd, f"{last} {far.event or ''}".rstrip())
