"""Which features are near which: by the cosine of their vectors, or by firing at the same tokens."""

from __future__ import annotations

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

    One product of the sparse matrix of features and tokens with itself, over ranges of tokens with at most ``at_once``
    activations and features whose counts with all others are at most as many (64 MiB). The cache is read once for each
    such part of the features.

    Returns
    -------
    (n_features, k) int64, the nearest first; -1 where fewer share a token.

    Raises
    ------
    UsageError : activations of some features were left out of the cache.
    """
    cache.check_whole("co-occurrence")
    n, count = len(cache), np.array([len(tokens) for _, tokens, _ in cache.features()])
    n_tokens = cache.n_sequences if cache.level == "sequence" else cache.n_tokens
    step = max(n_tokens * at_once // max(int(count.sum()), 1), 1)
    result = np.full((n, k), -1)
    rows = max(at_once // n, 1)
    for first in range(0, n, rows):
        own = np.arange(first, min(first + rows, n))
        both = np.zeros((len(own), n), np.int32)
        for begin in range(0, n_tokens, step):
            fires = _firing(cache, begin, min(begin + step, n_tokens))
            both += (fires[own] @ fires.T).toarray()
        both[np.arange(len(own)), own] = 0
        overlap = both / np.maximum(count[own, None] + count - both, 1)
        nearest = np.argsort(-overlap, axis=1, kind="stable")[:, :k]
        some = np.take_along_axis(overlap, nearest, 1) > 0
        result[own, : nearest.shape[1]] = np.where(some, nearest, -1)
    return result


def _firing(cache: ActivationCache, begin: int, end: int) -> sparse.csr_array:
    """(n_features, end - begin) 1 where a feature fires at a token, of the tokens ``begin`` … ``end`` − 1."""
    from scipy import sparse

    parts = []
    for _, tokens, _ in cache.features():
        first, last = np.searchsorted(tokens, np.array([begin, end - 1], tokens.dtype))
        last += bool(last < len(tokens) and tokens[last] == end - 1)
        parts.append(tokens[first:last])
    bounds = np.cumsum([0, *map(len, parts)])
    places = np.concatenate(parts).astype(np.int64) - begin
    return sparse.csr_array((np.ones(len(places), np.int32), places, bounds), (len(parts), end - begin))
