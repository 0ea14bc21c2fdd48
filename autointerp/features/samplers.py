"""Which activating contexts are shown: by quantile of their peak, the strongest, at random, or a mixture."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from autointerp.errors import UsageError, nearest

Sampler = Callable[[np.ndarray, int, int, np.random.Generator], np.ndarray]
"""(peaks, n, n_quantiles, rng) -> indices of at most n contexts, without repetition."""


def quantile_of(peaks: np.ndarray, n_quantiles: int) -> np.ndarray:
    """Quantile of each peak among all of them: 0 weakest … ``n_quantiles`` − 1; equal counts, ties by position."""
    rank = np.empty(len(peaks), np.int64)
    rank[np.argsort(peaks, kind="stable")] = np.arange(len(peaks))
    return rank * n_quantiles // max(len(peaks), 1)


def quantiles(peaks: np.ndarray, n: int, n_quantiles: int, rng: np.random.Generator) -> np.ndarray:
    """The same number from every quantile; the remainder of ``n / n_quantiles`` goes to the strongest quantiles."""
    if len(peaks) <= n:
        return np.arange(len(peaks))
    quantile = quantile_of(peaks, n_quantiles)
    order = np.lexsort((rng.random(len(peaks)), quantile))
    sizes = np.bincount(quantile, minlength=n_quantiles)
    within = np.arange(len(peaks)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    quota = np.full(n_quantiles, n // n_quantiles)
    quota[n_quantiles - n % n_quantiles :] += 1
    # ranked by how far each stands beyond its quantile's quota: short quantiles are filled up from the others
    surplus = np.maximum(within - quota[quantile[order]] + 1, 0)
    return order[np.argsort(surplus, kind="stable")[:n]]


def top(peaks: np.ndarray, n: int, n_quantiles: int, rng: np.random.Generator) -> np.ndarray:
    """The ``n`` strongest; ties by position."""
    return np.argsort(-peaks, kind="stable")[:n]


def uniform(peaks: np.ndarray, n: int, n_quantiles: int, rng: np.random.Generator) -> np.ndarray:
    """``n`` at random, whatever their strength."""
    return rng.choice(len(peaks), min(n, len(peaks)), replace=False)


def mix(peaks: np.ndarray, n: int, n_quantiles: int, rng: np.random.Generator) -> np.ndarray:
    """A fifth from the top, the rest by quantile from what remains."""
    strongest = top(peaks, n // 5, n_quantiles, rng)
    rest = np.setdiff1d(np.arange(len(peaks)), strongest)
    return np.concatenate([strongest, rest[quantiles(peaks[rest], n - len(strongest), n_quantiles, rng)]])


SAMPLERS: dict[str, Sampler] = {"quantiles": quantiles, "top": top, "random": uniform, "mix": mix}


def find_sampler(sampler: str | Sampler) -> Sampler:
    """The sampler of that name, or the callable itself."""
    if callable(sampler):
        return sampler
    if sampler not in SAMPLERS:
        raise UsageError(f"unknown sampler {sampler!r}; {nearest(sampler, SAMPLERS)}")
    return SAMPLERS[sampler]
