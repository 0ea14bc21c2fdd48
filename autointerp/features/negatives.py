"""Non-activating contexts: drawn without replacement from the side's own sequences."""

from __future__ import annotations

import numpy as np

from autointerp.features.contexts import Bins, Windows


def random_silent(
    bins: Bins, candidates: np.ndarray, active: np.ndarray, tokens: np.ndarray, n: int, rng: np.random.Generator
) -> Windows:
    """``n`` random contexts in which the feature is silent, or all there are if fewer.

    Parameters
    ----------
    candidates : (m,) ascending ids of the bins on the side. active : ascending ids of the bins with an activation.
    tokens : (nnz,) ascending positions at which the feature fires.
    """
    found = bins.silent(np.empty(0, np.int64))
    if not len(candidates) or not n:
        return found
    # a few draws serve nearly every feature; only one that fires almost everywhere needs the whole list
    if len(candidates) > 8 * n:
        drawn = candidates[rng.choice(len(candidates), 4 * n, replace=False)]
        found = _silent_only(bins, drawn, active, tokens)
    if len(found) < n:
        found = _silent_only(bins, rng.permutation(candidates), active, tokens)
    return found.take(np.arange(min(n, len(found))))


def _silent_only(bins: Bins, drawn: np.ndarray, active: np.ndarray, tokens: np.ndarray) -> Windows:
    slot = np.minimum(np.searchsorted(active, drawn), len(active) - 1)
    windows = bins.silent(drawn[active[slot] != drawn] if len(active) else drawn)
    if bins.centred:  # a centred context reaches beyond its bin
        fires = np.searchsorted(tokens, windows.stop) > np.searchsorted(tokens, windows.start)
        windows = windows.take(np.flatnonzero(~fires))
    return windows
