"""Which features are near which: by the cosine of their vectors, or by firing at the same tokens."""

from __future__ import annotations

import numpy as np

from autointerp.cache.reader import ActivationCache
from autointerp.errors import UsageError


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


def co_occurring(cache: ActivationCache, feature: int, k: int) -> np.ndarray:
    """The ``k`` features that share most of their tokens with ``feature``: by intersection over union, ties by index.

    Reads the whole cache once, so it is meant for a few features; fewer than ``k`` where fewer share a token.

    Returns
    -------
    (≤ k,) int64, the nearest first.
    """
    own, _ = cache[feature]
    fires = np.zeros(int(own[-1]) + 1 if len(own) else 0, bool)
    fires[own] = True
    overlap = np.zeros(len(cache))
    for other, tokens, _ in cache.features():
        if other != feature and len(own):
            both = int(np.count_nonzero(fires[tokens[: np.searchsorted(tokens, own[-1], "right")]]))
            overlap[other] = both / (len(own) + len(tokens) - both)
    nearest = np.argsort(-overlap, kind="stable")[:k]
    return nearest[overlap[nearest] > 0]
