"""Non-activating contexts: drawn without replacement from the side's own sequences."""

from __future__ import annotations

import numpy as np

from autointerp.features.contexts import Bins, Sites


def random_silent(
    bins: Bins, candidates: np.ndarray, active: np.ndarray, tokens: np.ndarray, n: int, rng: np.random.Generator
) -> Sites:
    """The middles of ``n`` random bins around which the feature is silent for a whole context, or of all if fewer.

    Parameters
    ----------
    candidates : (m,) ids of the bins on the side. active : (n_active,) ids of all bins with an activation.
    tokens : (nnz,) int64, ascending positions at which the feature fires.
    """
    # a few draws serve nearly every feature; only one that fires almost everywhere needs the whole list
    few = 10 + 3 * n * len(bins) // (2 * max(len(bins) - len(active), 1))
    fires = np.zeros(len(bins), bool)
    fires[active] = True
    if few < len(candidates) // 2:
        drawn = rng.choice(candidates, few, replace=False)
        found = _silent_only(bins, drawn[~fires[drawn]], tokens)
        if len(found) >= n:
            return found.take(slice(n))
    return _silent_only(bins, rng.permutation(candidates[~fires[candidates]]), tokens).take(slice(n))


def _silent_only(bins: Bins, drawn: np.ndarray, tokens: np.ndarray) -> Sites:
    """Sites at the middles of silent bins whose context is silent too: it differs from the bin where that is short."""
    sites = bins.middles(drawn)
    start, stop = bins.extent(sites.sequence, sites.position)
    own = bins.offsets[sites.sequence] + (drawn - bins.base[sites.sequence]) * bins.length
    beyond = np.flatnonzero(start != own)
    silent = np.ones(len(sites), bool)
    silent[beyond] = np.searchsorted(tokens, start[beyond]) == np.searchsorted(tokens, stop[beyond])
    return sites.take(silent)
