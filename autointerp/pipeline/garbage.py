"""Python's collector of cycles, asked to look less often while thousands of requests come and go."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

EVERY = 10_000
"""New objects between two looks, instead of Python's 700: a feature's record alone has thousands, none in a cycle."""


@contextmanager
def rarely_collected() -> Iterator[None]:
    """Inside, cycles are looked for every :data:`EVERY` new objects, and not among what was there before.

    What was there before is imported libraries, models and records; walking through them stops the event loop. A
    tenth of a run's CPU time is saved. Whoever has set the collector otherwise keeps it as it is.
    """
    before, *others = gc.get_threshold()
    if not 0 < before < EVERY:
        yield
        return
    fresh = not gc.get_freeze_count()
    if fresh:
        gc.freeze()
    gc.set_threshold(EVERY, *others)
    try:
        yield
    finally:
        gc.set_threshold(before, *others)
        if fresh:
            gc.unfreeze()
