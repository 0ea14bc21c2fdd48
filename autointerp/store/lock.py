"""One process at a time writes a run: an advisory lock on a file that says who holds it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO

from autointerp.errors import UsageError


def acquire(path: Path) -> IO[str]:
    """Lock ``path`` until the returned file is closed (or the process ends, however it ends).

    Raises
    ------
    UsageError : another process holds it; its number is in the message.
    """
    handle = open(path, "a+", encoding="utf-8")  # noqa: SIM115 - stays open for the caller, who holds the lock with it
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.seek(0)
        owner = handle.read().strip() or "unknown"
        handle.close()
        raise UsageError(
            f"{path.parent}: another process (number {owner}) is running this study; wait for it or stop it"
        ) from None
    handle.truncate(0)
    handle.write(str(os.getpid()))
    handle.flush()
    return handle
