"""Non-activating contexts: drawn without replacement from the side's own sequences."""

from __future__ import annotations

import numpy as np

from autointerp.features.contexts import Bins, Sites


def random_silent(
    bins: Bins, candidates: np.ndarray, active: np.ndarray, tokens: np.ndarray, n: int, rng: np.random.Generator
) -> Sites:
    """The middles of ``n`` random contexts in which the feature is silent, or of all there are if fewer.

    Parameters
    ----------
    candidates : (m,) ids of the bins on the side. active : ascending ids of the bins with an activation.
    tokens : (nnz,) int64, ascending positions at which the feature fires.
    """
    # a few draws serve nearly every feature; only one that fires almost everywhere needs the whole list
    few = 10 + 3 * n * len(bins) // (2 * max(len(bins) - len(active), 1))
    if few < len(candidates) // 2:
        found = _silent_only(bins, rng.choice(candidates, few, replace=False), active, tokens)
        if len(found) >= n:
            return found.take(slice(n))
    return _silent_only(bins, rng.permutation(candidates), active, tokens).take(slice(n))


def _silent_only(bins: Bins, drawn: np.ndarray, active: np.ndarray, tokens: np.ndarray) -> Sites:
    slot = np.minimum(np.searchsorted(active, drawn), len(active) - 1)
    sites = bins.middles(drawn[active[slot] != drawn])
    if bins.centred:  # a centred context reaches beyond its bin
        start, stop = bins.extent(sites.sequence, sites.position)
        sites = sites.take(np.flatnonzero(np.searchsorted(tokens, start) == np.searchsorted(tokens, stop)))
    return sites
