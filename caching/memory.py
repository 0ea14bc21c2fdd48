"""Resident memory that stays where it is."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from functools import cache


def give_back_memory() -> None:
    """Return freed memory to the system after a block or a shard, where the C library can.

    Batches of many sizes fragment glibc's heap: without this the resident memory grows by tens of megabytes each.
    """
    if (trim := _trim()) is not None:
        trim(0)


@cache
def _trim() -> Callable[[int], int] | None:
    return getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
