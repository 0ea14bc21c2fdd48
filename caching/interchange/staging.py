"""Folders that are whole or absent."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from autointerp.errors import UsageError


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """Yield an empty folder beside ``folder`` that takes its name when the block succeeds, and goes when it does not.

    Raises
    ------
    UsageError : there is something at ``folder`` already.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UsageError(f"{folder} exists and is not empty: choose another place")
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # of a process that was killed
    partial.mkdir(parents=True)
    try:
        yield partial
        if folder.exists():
            folder.rmdir()
        os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
