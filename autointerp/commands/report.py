"""``autointerp report``: tables and figures of a run, or of several runs compared."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from tyro.conf import Positional

from autointerp.errors import UsageError


@dataclass(frozen=True)
class Config:
    """Write report.html, tables (features: all that is known of each; explanations: a row each) and figures into the
    folder of a run; of several runs compare them too."""

    runs: Annotated[tuple[Path, ...], Positional]
    """Folders of runs; the first is what the others are compared with."""
    out: Path | None = None
    """Folder of the comparison; by default comparison/ in the last run's folder."""
    names: str | None = None
    """What to call the runs, separated by commas; by default the names of their folders."""

    POSITIONAL: ClassVar[bool] = True


def run(config: Config) -> None:
    """Write the reports and print the scores."""
    from autointerp.report import compare_runs, write_report
    from autointerp.report.tables import score_summary
    from autointerp.store import RunStore

    if not config.runs:
        raise UsageError("give the folder of a run, or of several to compare")
    if len(config.runs) < 2 and (config.out or config.names):
        raise UsageError(f"--{'out' if config.out else 'names'} is for a comparison: give two runs or more")
    names = named(config.runs, config.names)
    with ExitStack() as stack:
        stores = {name: stack.enter_context(RunStore.open(p, readonly=True)) for name, p in names.items()}
        for name, store in stores.items():
            page = write_report(store)
            print("\n".join([*([f"{name}:"] if len(stores) > 1 else []), *score_summary(store)]))
            print(f"\nwrote {page}; features.csv, features.parquet and figures/ lie beside it")
        if len(stores) > 1:
            page = compare_runs(stores, config.out or config.runs[-1] / "comparison")
            print(f"\nwrote {page}; comparison.csv and comparison.parquet lie beside it")


def named(paths: tuple[Path, ...], names: str | None) -> dict[str, Path]:
    """The runs by name: the names given, or the last parts of the folders, as many as set them apart."""
    resolved = [path.resolve() for path in paths]
    if len(set(resolved)) < len(resolved):
        raise UsageError("a run is given twice")
    if names is not None:
        given = [name.strip() for name in names.split(",")]
        if len(set(given)) < len(paths) or len(given) != len(paths) or not all(given):
            raise UsageError(f"--names {names!r}: {len(paths)} different names are needed, separated by commas")
        return dict(zip(given, paths, strict=True))
    depth = 1
    while len({p.parts[-depth:] for p in resolved}) < len(resolved):
        depth += 1
    return {"/".join(p.parts[-depth:]): path for p, path in zip(resolved, paths, strict=True)}
