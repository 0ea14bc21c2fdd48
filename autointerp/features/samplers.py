"""Which activating contexts are shown: by quantile of their peak, the strongest, at random, or a mixture."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from autointerp.errors import UsageError, nearest

Sampler = Callable[[np.ndarray, int, int, np.random.Generator], np.ndarray]
"""(ascending peaks, n, n_quantiles, rng) -> indices of at most n contexts, without repetition."""


def ascending(peaks: np.ndarray) -> np.ndarray:
    """Order of positive peaks from the weakest, ties by position.

    Positive float16 sort as their bits do, and NumPy's stable sort of 16-bit integers is a radix sort: 10 times faster.
    """
    return np.argsort(peaks.view(np.uint16) if peaks.dtype == np.float16 else peaks, kind="stable")


def quantiles(peaks: np.ndarray, n: int, n_quantiles: int, rng: np.random.Generator) -> np.ndarray:
    """One at random from each of ``n`` equal runs of ranks: the same number from every quantile, if ``n`` allows."""
    if len(peaks) <= n:
        return np.arange(len(peaks))
    bounds = -(-np.arange(n + 1) * len(peaks) // n)
    return bounds[:-1] + (rng.random(n) * np.diff(bounds)).astype(np.int64)


def top(peaks: np.ndarray, n: int, n_quantiles: int, rng: np.random.Generator) -> np.ndarray:
    """The ``n`` strongest."""
    return np.arange(max(len(peaks) - n, 0), len(peaks))


def uniform(peaks: np.ndarray, n: int, n_quantiles: int, rng: np.random.Generator) -> np.ndarray:
    """``n`` at random, whatever their strength."""
    return rng.choice(len(peaks), min(n, len(peaks)), replace=False)


def mix(peaks: np.ndarray, n: int, n_quantiles: int, rng: np.random.Generator) -> np.ndarray:
    """A fifth from the top, the rest by quantile from what remains."""
    strongest = top(peaks, n // 5, n_quantiles, rng)
    rest = peaks[: len(peaks) - len(strongest)]
    return np.concatenate([quantiles(rest, n - len(strongest), n_quantiles, rng), strongest])


SAMPLERS: dict[str, Sampler] = {"quantiles": quantiles, "top": top, "random": uniform, "mix": mix}


def find_sampler(sampler: str | Sampler) -> Sampler:
    """The sampler of that name, or the callable itself."""
    if callable(sampler):
        return sampler
    if sampler not in SAMPLERS:
        raise UsageError(f"unknown sampler {sampler!r}; {nearest(sampler, SAMPLERS)}")
    return SAMPLERS[sampler]
