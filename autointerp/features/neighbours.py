"""Which features are near which: by the cosine of their vectors, or by firing at the same tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np

from autointerp.cache.reader import ActivationCache
from autointerp.errors import UsageError

if TYPE_CHECKING:
    from scipy import sparse


def nearest_features(vectors: np.ndarray, k: int, *, at_once: int = 1 << 24) -> np.ndarray:
    """The ``k`` features with the largest cosine to each feature, the nearest first, equal ones by index.

    Parameters
    ----------
    vectors : (n_features, d) decoder or encoder vectors; a vector of zeros has cosine 0 with every other.
    at_once : cosines held at one time (64 MiB of float32 by default), of n_features².

    Returns
    -------
    (n_features, k) int64; a feature is not its own neighbour.

    Raises
    ------
    UsageError : not a matrix, not finite, or fewer than ``k`` other features.
    """
    vectors = np.asarray(vectors, np.float32)
    if vectors.ndim != 2 or not 1 <= k < len(vectors):
        raise UsageError(f"{k} neighbours of vectors of shape {vectors.shape}: (n_features, d) and 1 … n_features − 1")
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not np.isfinite(norms).all():
        raise UsageError("vectors with infinities or NaN have no neighbours")
    units = vectors / np.maximum(norms, np.finfo(np.float32).tiny)
    result = np.empty((len(units), k), np.int64)
    rows = max(at_once // len(units), 1)
    for first in range(0, len(units), rows):
        cosine = units[first : first + rows] @ units.T
        own = np.arange(len(cosine))
        cosine[own, first + own] = -np.inf
        best = np.sort(np.argpartition(-cosine, k - 1, axis=1)[:, :k], axis=1)
        order = np.argsort(-np.take_along_axis(cosine, best, 1), axis=1, kind="stable")
        result[first : first + rows] = np.take_along_axis(best, order, 1)
    return result


def co_occurring(cache: ActivationCache, k: int, *, at_once: int = 1 << 24) -> np.ndarray:
    """The ``k`` features that share most of their tokens with each: by intersection over union, ties by index.

    Returns
    -------
    (n_features, k) int64, the nearest first; -1 where fewer share a token.

    Raises
    ------
    UsageError : activations of some features were left out of the cache.
    """
    cache.check_whole("co-occurrence")
    n_tokens = cache.n_sequences if cache.level == "sequence" else cache.n_tokens
    return overlapping(lambda: (tokens for _, tokens, _ in cache.features()), n_tokens, k, at_once=at_once)[0]


def overlapping(
    firing: Callable[[], Iterable[np.ndarray]], n_tokens: int, k: int, *, at_once: int = 1 << 24
) -> tuple[np.ndarray, np.ndarray]:
    """:func:`co_occurring` and the intersections over union, of any ascending lists of tokens.

    One product of the sparse matrix of features and tokens with itself, over ranges of tokens with at most ``at_once``
    activations and features whose counts with all others are at most as many (64 MiB). The lists are asked for once for
    each such part; once in all if there are no more than ``at_once`` activations.

    Parameters
    ----------
    firing : gives the tokens of each feature, ascending, the features in order.

    Returns
    -------
    (n_features, k) int64, the nearest first; -1 where fewer share a token. (n_features, k) float32, 0 there.
    """
    count = np.array([len(tokens) for tokens in firing()])
    n = len(count)
    step = max(n_tokens * at_once // max(int(count.sum()), 1), 1)
    result, shares = np.full((n, k), -1), np.zeros((n, k), np.float32)
    rows = max(at_once // n, 1)
    whole = _and_turned(firing(), 0, n_tokens) if step >= n_tokens else None
    for first in range(0, n, rows):
        own = np.arange(first, min(first + rows, n))
        both = np.zeros((len(own), n), np.int32)
        for begin in range(0, n_tokens, step):
            fires, turned = whole or _and_turned(firing(), begin, min(begin + step, n_tokens))
            both += (fires[own] @ turned).toarray()
        both[np.arange(len(own)), own] = 0
        overlap = both / np.maximum(count[own, None] + count - both, 1)
        least = -np.partition(-overlap, min(k, n) - 1, axis=1)[:, min(k, n) - 1]
        row, near = np.nonzero((overlap >= least[:, None]) & (overlap > 0))
        order = np.lexsort((near, -overlap[row, near], row))
        sizes = np.bincount(row, minlength=len(own))
        rank = np.arange(len(row)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        kept, rank = order[rank < k], rank[rank < k]  # row is ascending, and so it stays when it is sorted
        result[first + row[kept], rank] = near[kept]
        shares[first + row[kept], rank] = overlap[row[kept], near[kept]]
    return result, shares


def _and_turned(firing: Iterable[np.ndarray], begin: int, end: int) -> tuple[sparse.csr_array, sparse.csr_array]:
    """(n_features, end - begin) 1 where a feature fires at a token of ``begin`` … ``end`` − 1; and its transpose."""
    from scipy import sparse

    parts = []
    for tokens in firing:
        first, last = np.searchsorted(tokens, np.array([begin, end - 1], tokens.dtype))
        last += bool(last < len(tokens) and tokens[last] == end - 1)
        parts.append(tokens[first:last])
    bounds = np.cumsum([0, *map(len, parts)])
    places = np.concatenate(parts).astype(np.int64) - begin
    fires = sparse.csr_array((np.ones(len(places), np.int32), places, bounds), (len(parts), end - begin))
    return fires, fires.T.tocsr()
