"""How far two raters agree beyond chance: Cohen's κ with an interval that holds when ratings come in clusters."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from autointerp.statistics.clusters import Clusters, Estimate, freedom, proportions


class Agreement(NamedTuple):
    """What two raters of the same ``n`` items have in common, as floats.

    ``kappa`` with its 95 % interval is NaN, −1, 1 where both always gave one and the same answer (or none at all);
    ``observed`` is the share of items on which they agree, NaN, 0, 1 without items.
    """

    n: int
    observed: Estimate
    kappa: Estimate

    def as_json(self) -> dict[str, float | int | None]:
        """The numbers by name, None where there is none."""
        named = {"n": self.n}
        for name in ("observed", "kappa"):
            value, low, high = getattr(self, name)
            named |= {name: value, f"{name}_low": low, f"{name}_high": high}
        return {name: None if np.isnan(number) else number for name, number in named.items()}


def agreement(first: np.ndarray, second: np.ndarray, groups: np.ndarray | None = None) -> Agreement:
    """Agreement of two raters on the same items.

    Parameters
    ----------
    first, second : (n,) answers, of any values that can be compared.
    groups : (n,) int, items that stand and fall together (one feature's); each is its own without it.

    Notes
    -----
    κ = (p_o − p_e)/(1 − p_e) (Cohen 1960). Its variance is k/(k − 1) Σ_c e_c² over the k groups, e_c being the summed
    influences of a group's items on κ; with every item by itself that is the large-sample variance of Fleiss, Cohen &
    Everitt (1969) times n/(n − 1). The limits, at Student's t with the degrees of freedom of
    :func:`~autointerp.statistics.clusters.freedom`, stay within −1 … 1. Where no item varies (all agree), they are κ at
    the limits of p_o, Wilson's, with p_e as seen.
    """
    n = len(first)
    same = np.asarray(first) == np.asarray(second)
    order = np.unique(groups, return_inverse=True)[1] if groups is not None and n else np.arange(n)
    clusters = Clusters.of(order)
    observed = proportions(same, np.zeros(n, np.int64), 1, clusters).part(0).at(0)
    return Agreement(n, Estimate(*observed), _kappa(first, second, same, clusters, observed))


def _kappa(
    first: np.ndarray, second: np.ndarray, same: np.ndarray, clusters: Clusters, observed: tuple[float, float, float]
) -> Estimate:
    n = len(first)
    _, codes = np.unique(np.concatenate([first, second]), return_inverse=True)
    a, b = codes[:n], codes[n:]
    size = int(codes.max(initial=0)) + 1
    of_a, of_b = (np.bincount(x, minlength=size) / max(n, 1) for x in (a, b))
    by_chance = float(of_a @ of_b)
    if not n or by_chance >= 1:
        return Estimate(np.nan, -1.0, 1.0)
    value = (float(same.mean()) - by_chance) / (1 - by_chance)
    # the derivative of κ in the share of items answered (a, b); its mean over the items is 0
    influence = (same - (1 - value) * (of_b[a] + of_a[b]) - value + (1 - value) * by_chance) / (1 - by_chance) / n
    summed = np.bincount(clusters.cluster, influence, len(clusters.owner))
    k = int((np.bincount(clusters.cluster, minlength=len(clusters.owner)) > 0).sum())
    if k < 2:
        return Estimate(value, -1.0, 1.0)
    deviation = np.sqrt(k / (k - 1) * (summed**2).sum())
    if deviation < 1e-12:
        low, high = ((limit - by_chance) / (1 - by_chance) for limit in observed[1:])
        return Estimate(value, max(-1.0, low), min(1.0, high))
    t = float(stdtrit(freedom(summed, np.array([k]), clusters), 0.975)[0])
    return Estimate(value, float(max(-1.0, value - t * deviation)), float(min(1.0, value + t * deviation)))
