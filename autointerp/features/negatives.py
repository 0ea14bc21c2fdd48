"""Non-activating contexts: drawn without replacement from the side's own sequences."""

from __future__ import annotations

import numpy as np

from autointerp.features.contexts import Bins, Sites


def random_silent(
    bins: Bins, candidates: np.ndarray, n_active: int, tokens: np.ndarray, n: int, rng: np.random.Generator
) -> Sites:
    """The middles of ``n`` random bins around which the feature is silent for a whole context, or of all if fewer.

    Parameters
    ----------
    candidates : (m,) ids of the bins on the side. n_active : bins with an activation, on all sides.
    tokens : (nnz,) ascending positions at which the feature fires.
    """
    # a few draws serve nearly every feature; only one that fires almost everywhere needs the whole list
    few = 10 + 3 * n * len(bins) // (2 * max(len(bins) - n_active, 1))
    if few < len(candidates) // 2:
        found = _silent_only(bins, rng.choice(candidates, few, replace=False), tokens)
        if len(found) >= n:
            return found.take(slice(n))
    return _silent_only(bins, rng.permutation(candidates), tokens).take(slice(n))


def _silent_only(bins: Bins, drawn: np.ndarray, tokens: np.ndarray) -> Sites:
    sites = bins.middles(drawn)
    start, stop = bins.extent(sites.sequence, sites.position)
    return sites.take(np.searchsorted(tokens, start) == np.searchsorted(tokens, stop))
