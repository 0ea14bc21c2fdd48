"""The area against scikit-learn and pair counting, its variance against the papers' sums, its interval by coverage."""

from __future__ import annotations

import math
from itertools import pairwise, product

import numpy as np
import pytest

from autointerp.statistics.auroc import auroc, auroc_interval, auroc_variance
from autointerp.statistics.clusters import Z95, Clusters
from tests.statistics.judge import Judge, coverage

FAST = [
    (Judge((0.5, 0.5), 0.3, 10, "quality"), 0.9, 10),
    (Judge((0.5, 0.5), 0.3, 10, "bias"), 0.75, 0),
    (Judge((0.5, 0.5), 0.15, 5, "independent"), 0.97, 10),
    (Judge((0.5, 0.5), 0.0, 1), 0.6, 0),
]
FULL = [
    (Judge((0.5, 0.5), icc, per_prompt, link), area, grades)
    for area, grades, per_prompt in product((0.6, 0.75, 0.9, 0.97, 0.99), (0, 10), (1, 5, 10))
    for icc, link in ((0.0, "independent"), *product((0.15, 0.3), ("independent", "quality", "bias")))
    if per_prompt > 1 or not icc
]


@pytest.mark.parametrize("levels", [2, 4, 11, None])
@pytest.mark.parametrize("seed", range(8))
def test_ties_and_all_equal_scikit_learn(levels: int | None, seed: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng([seed, levels or 0])
    n = int(rng.integers(5, 120))
    truth = rng.random(n) < 0.4
    truth[:2] = True, False
    values = rng.random(n) + 0.3 * truth if levels is None else rng.integers(0, levels, n) / max(levels - 1, 1)
    assert auroc(truth, values) == pytest.approx(metrics.roc_auc_score(truth, values), abs=1e-12)


def test_it_is_the_share_of_pairs_in_the_right_order() -> None:
    truth, values = [1, 0, 1, 0, 0, 1, 0], [3, 3, 1, 0, 2, 2, 5]
    active = [v for v, t in zip(values, truth, strict=True) if t]
    silent = [v for v, t in zip(values, truth, strict=True) if not t]
    right = sum((p > s) + 0.5 * (p == s) for p, s in product(active, silent))
    assert auroc(np.array(truth), np.array(values)) == pytest.approx(right / (3 * 4))


def test_extremes_and_one_class_alone() -> None:
    truth = np.array([True, True, False])
    assert auroc(truth, np.array([0.9, 0.8, 0.1])) == 1.0
    assert auroc(truth, np.array([0.1, 0.2, 0.9])) == 0.0
    assert auroc(truth, np.full(3, 0.7)) == 0.5
    for alone in (np.ones(3), np.zeros(3), np.zeros(0)):
        assert math.isnan(auroc(alone.astype(bool), np.arange(len(alone), dtype=float)))


def obuchowski(truth: np.ndarray, values: np.ndarray, prompts: np.ndarray) -> float:
    """The variance from all pairs, sum by sum as Obuchowski (1997) writes it."""
    active, silent = np.flatnonzero(truth), np.flatnonzero(~truth)
    m, n = len(active), len(silent)

    def order(i: int, j: int) -> float:
        return float(values[i] > values[j]) + 0.5 * float(values[i] == values[j])

    area = sum(order(i, j) for i in active for j in silent) / (m * n)
    v10 = {i: sum(order(i, j) for j in silent) / n for i in active}
    v01 = {j: sum(order(i, j) for i in active) / m for j in silent}
    names = sorted(set(prompts.tolist()))
    sums = [
        tuple(
            (sum(v[i] for i in side if prompts[i] == c), sum(prompts[i] == c for i in side))
            for v, side in ((v10, active), (v01, silent))
        )
        for c in names
    ]
    k10, k01 = (sum(bool(s[side][1]) for s in sums) for side in (0, 1))
    s10 = k10 / ((k10 - 1) * m) * sum((x - size * area) ** 2 for (x, size), _ in sums)
    s01 = k01 / ((k01 - 1) * n) * sum((y - size * area) ** 2 for _, (y, size) in sums)
    s11 = len(names) / (len(names) - 1) * sum((x - a * area) * (y - b * area) for (x, a), (y, b) in sums)
    return s10 / m + s01 / n + 2 * s11 / (m * n)


@pytest.mark.parametrize("levels", [3, 1000])
def test_variances_of_many_features_are_obuchowskis_and_delongs(levels: int) -> None:
    """With a prompt for each trial the clustered variance is DeLong's: S10/m + S01/n."""
    rng = np.random.default_rng(levels)
    sizes = rng.integers(24, 60, 12)
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    truth, values = rng.random(offsets[-1]) < 0.5, rng.integers(0, levels, offsets[-1]).astype(float)
    prompts = np.concatenate([np.arange(n) // 4 for n in sizes])
    _, variance, _, _ = auroc_variance(truth, values, Clusters.of(prompts, offsets))
    _, delong, _, _ = auroc_variance(truth, values, Clusters.of(np.arange(offsets[-1]), offsets))
    for f, (a, b) in enumerate(pairwise(offsets)):
        t, v = truth[a:b], values[a:b]
        assert variance[f] == pytest.approx(obuchowski(t, v, prompts[a:b]))
        order = (v[t][:, None] > v[~t]) + 0.5 * (v[t][:, None] == v[~t])
        expected = order.mean(1).var(ddof=1) / t.sum() + order.mean(0).var(ddof=1) / (~t).sum()
        assert delong[f] == pytest.approx(expected)


def assert_within(judge: Judge, area: float, grades: int, repeats: int) -> None:
    """91–98 %, give or take two standard errors; the truth is what the estimates are on average."""
    found = auroc_interval(*judge.probabilities(area, repeats, 1, grades))
    share = coverage(found.low, found.high, float(found.value.mean()))
    assert 0.91 - 2 * math.sqrt(0.91 * 0.09 / repeats) <= share <= 0.98 + 2 * math.sqrt(0.98 * 0.02 / repeats)


@pytest.mark.parametrize(("judge", "area", "grades"), FAST, ids=str)
def test_intervals_hold_the_truth_in_91_to_98_percent(judge: Judge, area: float, grades: int) -> None:
    assert_within(judge, area, grades, 1000)


@pytest.mark.full
@pytest.mark.parametrize(("judge", "area", "grades"), FULL, ids=str)
def test_intervals_hold_the_truth_in_91_to_98_percent_of_many(judge: Judge, area: float, grades: int) -> None:
    assert_within(judge, area, grades, 4000)


def hanley(theta: float, m: int, n: int) -> float:
    """Variance of an area by Hanley & McNeil (1982), with (m + n)/2 for both sizes as in Newcombe's method 5."""
    half = (m + n) / 2
    return theta * (1 - theta) * (1 + (half - 1) * ((1 - theta) / (2 - theta) + theta / (1 + theta))) / (m * n)


def test_no_pair_in_the_wrong_order_and_all_tied() -> None:
    """The variance is zero; the limits are the areas that lie Z95 of their own standard errors away."""
    truth = np.repeat([True, False], [30, 20])
    clusters = Clusters.of(np.arange(50))
    for values, area in ((truth * 1.0, 1.0), (np.zeros(50), 0.5), (1.0 - truth, 0.0)):
        value, low, high = auroc_interval(truth, values, clusters).at(0)
        assert value == area
        for limit in {low, high} - {0.0, 1.0}:
            assert abs(limit - area) == pytest.approx(Z95 * math.sqrt(hanley(limit, 30, 20)), rel=1e-6)
        assert (low == 0.0) == (area == 0.0)
        assert (high == 1.0) == (area == 1.0)


def test_all_of_one_prompt_falls_back_on_delong_and_one_class_knows_nothing() -> None:
    rng = np.random.default_rng(0)
    truth, values = np.arange(60) < 30, rng.normal(size=60) + (np.arange(60) < 30)
    one, each = (auroc_interval(truth, values, Clusters.of(c)) for c in (np.zeros(60, int), np.arange(60)))
    assert one.at(0) == pytest.approx(each.at(0))
    none = auroc_interval(np.ones(4, bool), np.arange(4.0), Clusters.of(np.arange(4), np.array([0, 4, 4])))
    assert np.isnan(none.value).all()
    assert (none.low.tolist(), none.high.tolist()) == ([0, 0], [1, 1])
