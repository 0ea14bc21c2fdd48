"""What ``Bins.active`` does as compiled loops: a pass over the activations and one over the maxima.

NumPy needs dozens of passes for the same. ``Bins`` uses these where the extra ``fast`` is installed.
"""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(cache=True, nogil=True)
def maxima(
    tokens: np.ndarray, height: np.ndarray, offsets: np.ndarray, base: np.ndarray, length: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The bins with an activation, and the first maximum of each.

    Parameters
    ----------
    tokens : (nnz,) ascending flat positions, at least one, fewer than 2³¹. height : (nnz,) numbers that order as the
        activations do.
    offsets : (n_sequences + 1,) first token of each sequence. base : (n_sequences + 1,) its first bin.
    length : tokens of a bin.

    Returns
    -------
    bins : (n,) ascending ids. sequence : (n,) of each. first : (n + 1,) index of its first activation, then nnz.
    index : (n,) index of its first maximum.
    """
    n = min(len(tokens), base[-1])
    bins, sequence = np.empty(n, np.int64), np.empty(n, np.int32)
    first, index = np.empty(n + 1, np.int32), np.empty(n, np.intp)
    row, low, high = np.searchsorted(offsets, np.int64(tokens[0]), side="right") - 2, np.int64(0), np.int64(0)
    k, last, begin, top, at = -1, np.int64(-1), 0, height[0], 0
    for i in range(len(tokens)):
        token, here = np.int64(tokens[i]), height[i]
        if token >= high:
            row += 1
            while token >= offsets[row + 1]:
                row += 1
            low, high = offsets[row], offsets[row + 1]
        # no branch from here on: half of the guesses would be wrong. The product is exact, and quicker than a division
        here_bin = base[row] + int((token - low + 0.5) * (1.0 / length))
        new = here_bin != last
        more = new | (here > top)
        top, at, begin = (here if more else top), (i if more else at), (i if new else begin)
        k, last = k + new, here_bin
        bins[k], sequence[k], first[k], index[k] = here_bin, row, begin, at
    k += 1
    first[k] = len(tokens)
    return bins[:k], sequence[:k], first[: k + 1], index[:k]


@numba.njit(cache=True, nogil=True)
def undone(
    tokens: np.ndarray,
    height: np.ndarray,
    offsets: np.ndarray,
    length: int,
    sequence: np.ndarray,
    first: np.ndarray,
    index: np.ndarray,
) -> np.ndarray:
    """Which of the maxima are the first maximum of the whole context centred on them too: (m,) places in ``index``.

    The other parameters are those of :func:`maxima` and what it returned.
    """
    n = len(index)
    kept, m, half = np.empty(n, np.intp), 0, length // 2
    for k in range(n):
        at, row = index[k], sequence[k]
        peak, high = height[at], offsets[row + 1]
        start = max(min(np.int64(tokens[at]) - half, high - length), offsets[row])
        stop, keep = min(start + length, high), True
        if k > 0 and height[index[k - 1]] >= peak:
            i = first[k] - 1
            while keep and i >= 0 and np.int64(tokens[i]) >= start:
                keep = height[i] < peak
                i -= 1
        if keep and k + 1 < n and height[index[k + 1]] > peak:
            i = first[k + 1]
            while keep and i < len(tokens) and np.int64(tokens[i]) < stop:
                keep = height[i] <= peak
                i += 1
        kept[m] = k
        m += keep
    return kept[:m]
