"""``autointerp reparse``: stored replies read again."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from tyro.conf import Positional

from autointerp.errors import FormatError

if TYPE_CHECKING:
    from autointerp.commands.run import Config as Settings
    from autointerp.pipeline.reparse import Reader
    from autointerp.store import RunStore


@dataclass(frozen=True)
class Config:
    """Read a run's stored replies again, as after a parser was mended, and write what changes; sends nothing."""

    run: Annotated[Path, Positional]
    """Folder of the run; its run.toml says where cache and corpus are."""

    POSITIONAL: ClassVar[bool] = True


def run(config: Config) -> None:
    """Read again, say how much has changed."""
    from autointerp.store import RunStore

    settings = settings_of(config.run)
    with RunStore.open(config.run) as store:
        done = asyncio.run(reader(settings, store).reparse())
    print(
        f"{done.explanations:,} explanations read again, {done.changed_explanations:,} changed; "
        f"{done.scores:,} scores read again, {done.changed_scores:,} changed; nothing was sent"
    )
    if done.left:
        print(f"{done.left:,} results stay as they are: made otherwise than run.toml says, or a reply is not stored")
    if done.changed_explanations:
        print(
            f"{done.dropped:,} scores were of the old texts and are gone; "
            f"`autointerp run --config {config.run}/run.toml` scores the new ones"
        )


def settings_of(folder: Path) -> Settings:
    """The settings of the run in ``folder``, from its ``run.toml``.

    Raises
    ------
    FormatError : there is none. UsageError : it holds what `autointerp run` does not know.
    """
    from autointerp.commands.run import Config as Settings
    from autointerp.commands.settings import parse

    if not (folder / "run.toml").exists():
        raise FormatError(folder, "a run folder (written by `autointerp run`)", "no run.toml")
    settings = parse(Settings, "run", ["--config", str(folder / "run.toml"), "--out", str(folder)])
    assert settings is not None
    return settings


def reader(settings: Settings, store: RunStore) -> Reader:
    """The plans of the run that ``settings`` describe, with the replies of ``store``."""
    from autointerp.commands.study import make_loader, make_plans
    from autointerp.pipeline.reparse import Reader

    explainer, scorers = make_plans(settings)
    loader = make_loader(settings)
    store.bind(loader.settings)
    return Reader(
        store, loader.__getitem__, explainer, scorers, settings.client, settings.score_client, nulls=settings.nulls
    )
