"""How sequences are cut into windows that fit a subject, and windows are put into batches."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from autointerp.errors import UsageError


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of a sequence that the subject sees at once: ``[start, stop)``, of which ``[keep_start, keep_stop)`` is
    taken over."""

    start: int
    stop: int
    keep_start: int
    keep_stop: int


def plan_windows(length: int, limit: int, overlap: int, causal: bool) -> list[Window]:
    """Cut ``length`` positions into windows of at most ``limit``, each position kept exactly once.

    Neighbouring windows share ``overlap`` positions; the last window is moved left to be full, so it may share more. A
    masked language model splits the shared part in the middle (context on both sides), a causal one keeps the earlier
    window's (the longer past).

    Raises
    ------
    UsageError : ``limit`` < 1, or the sequence needs several windows and ``overlap`` is not in ``[0, limit)``.
    """
    if limit < 1:
        raise UsageError(f"context length {limit}: valid are 1 and more")
    if length <= limit:
        return [Window(0, length, 0, length)] if length else []
    if not 0 <= overlap < limit:
        raise UsageError(f"window overlap {overlap}: valid are 0 … {limit - 1}, less than the context length {limit}")
    starts = [*range(0, length - limit, limit - overlap), length - limit]
    cuts = [start + limit if causal else (start + limit + after + 1) // 2 for start, after in pairwise(starts)]
    return [
        Window(start, start + limit, low, high)
        for start, low, high in zip(starts, [0, *cuts], [*cuts, length], strict=True)
    ]


def make_batches(lengths: np.ndarray, batch_tokens: int) -> list[np.ndarray]:
    """Group items of like length, longest first, so that a batch's padded size stays within ``batch_tokens``.

    The order follows from ``lengths`` alone (equal lengths keep their order). Longest first, so that a batch that does
    not fit in memory fails at once.

    Returns
    -------
    Index arrays (int64) that together hold every item once; a single item longer than ``batch_tokens`` is a batch.

    Raises
    ------
    UsageError : ``batch_tokens`` < 1.
    """
    if batch_tokens < 1:
        raise UsageError(f"batch tokens {batch_tokens}: valid are 1 and more")
    lengths = np.asarray(lengths, np.int64)
    order = np.argsort(-lengths, kind="stable")
    batches, first = [], 0
    while first < len(order):
        size = max(1, batch_tokens // max(1, int(lengths[order[first]])))
        batches.append(order[first : first + size])
        first += size
    return batches
