"""One process at a time writes a folder: an advisory lock on a file that says who holds it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from autointerp.errors import UsageError


def acquire(path: Path, doing: str) -> IO[str]:
    """Lock ``path`` until the returned file is closed (or the process ends, however it ends).

    Raises
    ------
    UsageError : another process holds it; its number is in the message, and what it is ``doing``.
    """
    handle = open(path, "a+", encoding="utf-8")  # noqa: SIM115 - stays open for the caller, who holds the lock with it
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.seek(0)
        owner = handle.read().strip() or "unknown"
        handle.close()
        raise UsageError(
            f"{path.parent}: another process (number {owner}) is {doing}; wait for it or stop it"
        ) from None
    handle.truncate(0)
    handle.write(str(os.getpid()))
    handle.flush()
    return handle


@contextmanager
def locked(path: Path, doing: str) -> Iterator[None]:
    """:func:`acquire` for a block; the file is gone afterwards."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = acquire(path, doing)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        handle.close()
