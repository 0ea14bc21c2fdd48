"""Resident memory that stays where it is."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable

SLACK = 1 << 27
"""Bytes that freed memory may take up before it is returned: returning less costs more in page faults than it saves."""


class Resident:
    """Returns freed memory to the system once it has grown, where the C library can.

    Batches of many sizes fragment glibc's heap: without this the resident memory of a long run creeps up by hundreds of
    megabytes.
    """

    def __init__(self) -> None:
        self._trim: Callable[[int], int] | None = None
        if sys.platform == "linux":
            self._trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        self._usual: int | None = _resident() if self._trim else 0

    def check(self) -> None:
        """Call where much has just been freed: returns it if memory is ``SLACK`` above what is usual here.

        What is usual is measured at the call after a return, when the work has its memory again: measured at once, it
        would be so low that every batch would give back what the next one needs.
        """
        if self._trim is None:
            return
        now = _resident()
        if self._usual is None:
            self._usual = now
        elif now > self._usual + SLACK:
            self._trim(0)
            self._usual = None


def _resident() -> int:
    with open("/proc/self/statm", "rb") as handle:
        return int(handle.read().split()[1]) * os.sysconf("SC_PAGESIZE")
