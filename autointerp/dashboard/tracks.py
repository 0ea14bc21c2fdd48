"""Where a feature fires along a sequence, in as few numbers as a screen can show."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from autointerp.dashboard.page import short
from autointerp.errors import UsageError

MOST = 4096
"""Activations of a stretch that are sent one by one; of more, the largest in each of so many bins."""
RANGE = re.compile(r"(\d{1,9})(?:\s*[-–:]\s*(\d{1,9}))?")


def track(at: np.ndarray, values: np.ndarray, start: int, stop: int) -> dict[str, Any]:
    """A stretch of a sequence, exactly or by the maximum of each bin.

    Parameters
    ----------
    at : (n,) int, ascending, where it fires. values : (n,) how strongly. start, stop : of the stretch.

    Returns
    -------
    ``at`` (from the start of the sequence) and ``v``; or ``bin``, its width in tokens, and ``v`` of all the bins from
    ``start`` on.
    """
    first, last = np.searchsorted(at, [start, stop])
    at, values = at[first:last], np.asarray(values[first:last], np.float64)
    if len(at) <= MOST:
        return {"at": at.astype(np.int64), "v": short(values)}
    width = -(-(stop - start) // MOST)
    largest = np.zeros(-(-(stop - start) // width))
    np.maximum.at(largest, (at.astype(np.int64) - start) // width, values)
    return {"bin": width, "v": short(largest)}


def parse_ranges(text: str, n: int | None = None) -> list[tuple[int, int]]:
    """``"5-30, 50"``, as people count (from 1, both ends in), as half-open ranges from 0; empty for an empty text.

    Parameters
    ----------
    n : tokens that there are; what lies behind them is cut off.

    Raises
    ------
    UsageError : it is not written so, or begins behind the end.
    """
    found = []
    for part in filter(None, re.split(r"[,;\s]+(?![-–:])", re.sub(r"\s*([-–:])\s*", r"\1", text.strip()))):
        match = RANGE.fullmatch(part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 1 <= first <= last:
            raise UsageError(f"positions {part!r}: write them as 5-30, 50, counting from 1")
        if n is not None and first > n:
            raise UsageError(f"positions {part!r}: there are {n:,} tokens")
        found.append((first - 1, last if n is None else min(last, n)))
    return found


def positions_in(ranges: list[tuple[int, int]]) -> np.ndarray:
    """(n,) int64 the positions inside some ranges, ascending, each once."""
    parts = [np.arange(first, last) for first, last in ranges]
    return np.unique(np.concatenate(parts)) if parts else np.zeros(0, np.int64)
