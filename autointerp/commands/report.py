"""``autointerp report``: tables and figures of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from tyro.conf import Positional


@dataclass(frozen=True)
class Config:
    """Write report.html, features.csv, features.parquet and figures into the folder of a run."""

    run: Annotated[Path, Positional]
    """Folder of the run."""

    POSITIONAL: ClassVar[bool] = True


def run(config: Config) -> None:
    """Write the report and print the scores."""
    from autointerp.report import write_report
    from autointerp.report.tables import score_summary
    from autointerp.store import RunStore

    with RunStore.open(config.run, readonly=True) as store:
        page = write_report(store)
        print("\n".join(score_summary(store)))
    print(f"\nwrote {page}; features.csv, features.parquet and figures/ lie beside it")
