"""``autointerp retry-failed``: failed results are made again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from tyro.conf import Positional


@dataclass(frozen=True)
class Config:
    """Mark failed explanations, and scores with failed trials, to be made again by the next run.

    Replies that could not be read are asked for anew; they stay in the store, and what they cost stays in the spend.
    """

    run: Annotated[Path, Positional]
    """Folder of the run."""
    go: bool = False
    """Run at once, as run.toml says."""

    POSITIONAL: ClassVar[bool] = True


def run(config: Config) -> int:
    """Mark them, and run if asked to."""
    from autointerp.commands import run as run_command
    from autointerp.commands.reparse import reader, settings_of
    from autointerp.store import RunStore

    settings = settings_of(config.run) if config.go or (config.run / "run.toml").exists() else None
    with RunStore.open(config.run) as store:
        unread = store.forget_responses(sorted(set(reader(settings, store).unread()))) if settings else 0
        explanations, scores = store.mark_failed()
    print(
        f"{explanations:,} explanations and {scores:,} scores are to be made again; {unread:,} replies are asked anew"
    )
    if not explanations + scores:
        return 0
    if config.go and settings:
        return run_command.run(settings)
    print(
        "the same `autointerp run` command makes them"
        + (f", or: autointerp run --config {config.run}/run.toml" if settings else "")
    )
    return 0
