"""Intervals for judged trials that hold when answers within a prompt are correlated."""

from __future__ import annotations

import math

import numpy as np

Z95 = 1.959963984540054
"""97.5 % point of the standard normal distribution."""


def wilson(p: float, n: float, z: float = Z95) -> tuple[float, float]:
    """Wilson score interval of a proportion ``p`` seen in ``n`` (effective) trials (Wilson 1927).

    Returns (low, high); (0, 1) when there are no trials.
    """
    if n <= 0:
        return 0.0, 1.0
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def design_effect(hits: np.ndarray, clusters: np.ndarray) -> float:
    """By how much the variance of a proportion grows because trials come in clusters (Kish 1965), at least 1.

    Parameters
    ----------
    hits : (n,) booleans. clusters : (n,) int, the prompt in which each was judged.

    Notes
    -----
    Ratio of the linearised cluster variance, m/(m−1) Σ_c (h_c − p n_c)² / n², to the binomial p(1−p)/n.
    """
    n = len(hits)
    p = float(np.mean(hits)) if n else 0.0
    names, index = np.unique(clusters, return_inverse=True)
    if p in (0.0, 1.0) or len(names) < 2:
        return 1.0
    residual = np.bincount(index, hits.astype(np.float64) - p)
    variance = len(names) / (len(names) - 1) * float(residual @ residual) / n**2
    return max(1.0, variance / (p * (1 - p) / n))


def balanced_accuracy(truth: np.ndarray, predicted: np.ndarray, clusters: np.ndarray) -> tuple[float, float, float]:
    """Mean of the true-positive and the true-negative rate, with its 95 % interval.

    Parameters
    ----------
    truth, predicted : (n,) booleans. clusters : (n,) int, the prompt in which each was judged.

    Returns
    -------
    value, low, high. NaN, 0, 1 when one of the two classes has no trial.

    Notes
    -----
    Two Wilson intervals with n divided by the design effect, combined by MOVER (Zou & Donner 2008): the
    distances to the limits add in quadrature.
    """
    rates, lows, highs = [], [], []
    for hits, group in ((predicted[truth], clusters[truth]), (~predicted[~truth], clusters[~truth])):
        if not len(hits):
            return math.nan, 0.0, 1.0
        rate = float(hits.mean())
        low, high = wilson(rate, len(hits) / design_effect(hits, group))
        rates.append(rate)
        lows.append(low)
        highs.append(high)
    value = sum(rates) / 2
    below = math.hypot(*(r - low for r, low in zip(rates, lows, strict=True))) / 2
    above = math.hypot(*(high - r for r, high in zip(rates, highs, strict=True))) / 2
    return value, max(0.0, value - below), min(1.0, value + above)


def bootstrap_median(values: np.ndarray, seed: int = 0, n_resamples: int = 2000) -> tuple[float, float]:
    """95 % percentile-bootstrap interval of a median over features; NaN for no values."""
    if not len(values):
        return math.nan, math.nan
    rng = np.random.default_rng([seed, len(values)])
    medians = np.median(values[rng.integers(0, len(values), (n_resamples, len(values)))], axis=1)
    low, high = np.percentile(medians, [2.5, 97.5])
    return float(low), float(high)
