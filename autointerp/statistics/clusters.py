"""Trials judged together: proportions of many features at once, worth less than their number where prompts agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.special import stdtrit

Z95 = 1.959963984540054
"""97.5 % point of the standard normal distribution."""


class Estimate(NamedTuple):
    """A value with its 95 % interval; floats, or arrays of one shape."""

    value: Any
    low: Any
    high: Any

    def at(self, index: int) -> tuple[float, float, float]:
        """Value, low and high of one feature as floats."""
        return float(self.value[index]), float(self.low[index]), float(self.high[index])


@dataclass(frozen=True, eq=False)
class Clusters:
    """To which feature and to which cluster (a prompt) every trial belongs.

    Attributes
    ----------
    feature : (n,) int, 0 … n_features − 1. cluster : (n,) int, 0 … n_clusters − 1, no cluster in two features.
    owner : (n_clusters,) int, the feature of each cluster, ascending. Clusters without a trial are allowed.
    """

    feature: np.ndarray
    cluster: np.ndarray
    owner: np.ndarray
    n_features: int

    @classmethod
    def of(cls, prompts: np.ndarray, offsets: np.ndarray | None = None) -> Clusters:
        """Clusters from the prompt of each trial, numbered within its feature.

        Parameters
        ----------
        prompts : (n,) int. offsets : (n_features + 1,) int; trials of feature f are offsets[f] … offsets[f + 1]. All
            are of one feature without it.
        """
        prompts = np.asarray(prompts)
        offsets = np.array([0, len(prompts)]) if offsets is None else np.asarray(offsets)
        n_features = len(offsets) - 1
        feature = np.repeat(np.arange(n_features), np.diff(offsets))
        first = int(prompts.min()) if len(prompts) else 0
        width = int(prompts.max()) - first + 1 if len(prompts) else 1
        cluster = feature * width + (prompts - first)
        if n_features * width <= 4 * len(prompts) + 1024:
            return cls(feature, cluster, np.arange(n_features * width) // width, n_features)
        names, cluster = np.unique(cluster, return_inverse=True)
        return cls(feature, cluster, names // width, n_features)

    def sums(self, values: np.ndarray) -> np.ndarray:
        """(n_features, …) sums of (n_clusters, …) values over the clusters of each feature."""
        flat = np.asarray(values).reshape(len(self.owner), -1)
        sums = np.empty((self.n_features, flat.shape[1]))
        for place, column in enumerate(flat.T):
            sums[:, place] = np.bincount(self.owner, column, self.n_features)
        return sums.reshape(self.n_features, *values.shape[1:])


@dataclass(frozen=True, eq=False)
class Proportions:
    """Proportions of every feature, one for each part of its trials (a class, a quantile, a kind).

    Attributes
    ----------
    value, low, high : (n_features, n_parts), NaN, 0, 1 where there is no trial; low and high bound the 95 % interval.
    n, n_effective : (n_features, n_parts), trials, and how many independent ones they are worth.
    influence : (n_clusters, n_parts), what each cluster adds to the error of ``value``.
    """

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    n: np.ndarray
    n_effective: np.ndarray
    influence: np.ndarray

    def part(self, index: int) -> Estimate:
        """(n_features,) one part's values and limits."""
        return Estimate(self.value[:, index], self.low[:, index], self.high[:, index])


def wilson(p: np.ndarray | float, n: np.ndarray | float, z: float = Z95) -> tuple[np.ndarray, np.ndarray]:
    """Wilson score interval of a proportion ``p`` seen in ``n`` (effective) trials (Wilson 1927).

    Returns (low, high), of the arguments' shape; (0, 1) where there are no trials.
    """
    p, n = np.asarray(p, float), np.asarray(n, float)
    with np.errstate(invalid="ignore", divide="ignore"):
        centre = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = np.clip(centre - half, 0.0, p), np.clip(centre + half, p, 1.0)  # rounding must not pass p
    return np.where(n > 0, low, 0.0)[()], np.where(n > 0, high, 1.0)[()]


def proportions(hits: np.ndarray, part: np.ndarray, n_parts: int, clusters: Clusters) -> Proportions:
    """Share of hits in each part of each feature's trials, with an interval that holds when prompts agree.

    Parameters
    ----------
    hits : (n,) booleans. part : (n,) int, 0 … n_parts − 1. clusters : of the same trials.
    """
    pair = clusters.cluster * n_parts + part
    size = len(clusters.owner) * n_parts
    n = np.bincount(pair, minlength=size).reshape(-1, n_parts)
    h = np.bincount(pair, hits, size).reshape(-1, n_parts)
    return proportions_of_counts(h, n, clusters)


def proportions_of_counts(hits: np.ndarray, n: np.ndarray, clusters: Clusters) -> Proportions:
    """The same from counts: (n_clusters, n_parts) hits and trials of every cluster.

    Notes
    -----
    The variance is that of the linearised ratio, V = k/(k − 1) Σ_c e_c², e_c = (h_c − p n_c)/n, k clusters having
    trials (Kish 1965). As in Korn & Graubard (1998) the effective number is p(1 − p)/V (z/t)², at most n, and the
    interval is Wilson's with it; t is Student's quantile for :func:`freedom`. Where every trial is a cluster, or there
    is one only, n stands.
    """
    total, right, k = clusters.sums(n), clusters.sums(hits), clusters.sums(n > 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        p = right / total
        influence = np.nan_to_num((hits - p[clusters.owner] * n) / total[clusters.owner])
        squares = clusters.sums(influence**2)
        t = stdtrit(freedom(influence, k, clusters), 0.975)
        worth = p * (1 - p) / (k / (k - 1) * squares) * (Z95 / t) ** 2
    effective = np.where((k > 1) & (k < total), np.fmin(total, worth), total)
    low, high = wilson(p, effective)
    return Proportions(p, low, high, total.astype(np.int64), effective, influence)


def freedom(influence: np.ndarray, k: np.ndarray, clusters: Clusters) -> np.ndarray:
    """Degrees of freedom of a variance made of the squares of (n_clusters, …) influences, ``k`` of a feature.

    Notes
    -----
    The geometric mean of k − 1, right for influences that are normal, and of 2 k/(κ − 1), κ being their kurtosis
    (Satterthwaite's matching with the variance of a variance), right where a judge fails in a few prompts only: κ
    itself is uncertain. With the one or the other alone some intervals of docs/measurement.md hold too rarely or too
    often.
    """
    squares, fourths = clusters.sums(influence**2), clusters.sums(influence**4)
    most = np.maximum(k - 1, 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        excess = np.maximum(k * fourths / squares**2 - 1, 1e-9)  # never negative but for rounding
        matched = np.clip(2 * k / excess, 1, most)
    return np.where(np.isnan(matched), most, np.sqrt(most * matched))


def correlation_of(first: np.ndarray, second: np.ndarray, clusters: Clusters) -> np.ndarray:
    """(n_features,) correlation of two estimates, from their (n_clusters,) influences; 0 where one has none."""
    cross, a, b = (clusters.sums(x) for x in (first * second, first**2, second**2))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.clip(np.nan_to_num(cross / np.sqrt(a * b)), -1.0, 1.0)


def intraclass_correlation(hits: np.ndarray, part: np.ndarray, n_parts: int, clusters: Clusters) -> np.ndarray:
    """(n_features, n_parts) correlation of two hits of one part in one cluster: the ANOVA estimator; NaN if unknown.

    Notes
    -----
    (MSB − MSW)/(MSB + (m₀ − 1) MSW), m₀ = (n − Σ n_c²/n)/(k − 1) (Fleiss 1981; Ridout, Demétrio & Firth 1999).
    """
    pair, size = clusters.cluster * n_parts + part, len(clusters.owner) * n_parts
    n_c = np.bincount(pair, minlength=size).reshape(-1, n_parts)
    h_c = np.bincount(pair, hits, size).reshape(-1, n_parts)
    n, h, k = clusters.sums(n_c), clusters.sums(h_c), clusters.sums(n_c > 0)
    between = clusters.sums(h_c**2 / np.maximum(n_c, 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        msb, msw = (between - h * h / n) / (k - 1), (h - between) / (n - k)
        size_0 = (n - clusters.sums(n_c**2) / n) / (k - 1)
        return (msb - msw) / (msb + (size_0 - 1) * msw)
