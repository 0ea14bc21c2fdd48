"""Proportions against SciPy, published values and definitions; the effective number against copies."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, kurtosis, t

from autointerp.statistics.clusters import (
    Z95,
    Clusters,
    correlation_of,
    freedom,
    intraclass_correlation,
    proportions,
    wilson,
)
from tests.statistics.judge import Judge


@given(st.integers(1, 400), st.data())
def test_wilson_is_scipys(n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, n))
    expected = binomtest(k, n).proportion_ci(method="wilson")
    assert wilson(k / n, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_is_newcombes_table(k: int, n: int, low: float, high: float) -> None:
    """Newcombe (1998), Statistics in Medicine 17:857, table I, method 3."""
    assert wilson(k / n, n) == pytest.approx((low, high), abs=5e-5)


def test_wilson_never_passes_the_proportion() -> None:
    """Analytically the limit at 0 is 0; rounding must not put it above, where an error bar would be negative."""
    k, n = np.meshgrid(np.arange(200), np.arange(1, 200))
    p = np.where(k <= n, k / n, 1.0)
    low, high = wilson(p, n)
    assert (low <= p).all()
    assert (p <= high).all()


def test_wilson_of_no_trials_of_a_fraction_and_of_an_array() -> None:
    assert wilson(0.3, 0) == (0.0, 1.0)
    low, high = wilson(0.5, 7.5)
    assert wilson(0.5, 7)[0] < low < wilson(0.5, 8)[0]
    assert low + high == pytest.approx(1)
    lows, highs = wilson(np.array([0.5, np.nan]), np.array([7.5, 0]))
    assert (lows.tolist(), highs.tolist()) == ([low, 0.0], [high, 1.0])


@pytest.mark.parametrize("names", [range(7), [10**9, -5, 3, 8, 9, 10, 11]])
def test_clusters_are_prompts_within_features(names: list[int]) -> None:
    """However prompts are numbered: the same groups, none of them in two features, features without trials allowed."""
    rng = np.random.default_rng(0)
    offsets = np.array([0, 0, 40, 41, 41, 90, 90])
    prompts = np.array(names)[rng.integers(0, 7, 90)]
    clusters = Clusters.of(prompts, offsets)
    features = np.repeat(np.arange(6), np.diff(offsets))
    together = {tuple(np.flatnonzero(clusters.cluster == c)) for c in np.unique(clusters.cluster)}
    assert together == {
        tuple(np.flatnonzero((features == f) & (prompts == p)))
        for f, p in set(zip(features.tolist(), prompts.tolist(), strict=True))
    }
    assert (clusters.owner[clusters.cluster] == features).all()
    assert (np.diff(clusters.owner) >= 0).all()
    values = rng.random(len(clusters.owner))
    expected = [values[clusters.owner == f].sum() for f in range(6)]
    assert clusters.sums(values) == pytest.approx(expected)


def brute(hits: list[bool], prompts: list[int]) -> tuple[float, float]:
    """Proportion and effective number from their definitions, one loop after the other."""
    n, names = len(hits), sorted(set(prompts))
    k, p = len(names), sum(hits) / len(hits)
    if p in (0, 1) or k in (1, n):
        return p, n
    errors = [sum(h - p for h, c in zip(hits, prompts, strict=True) if c == name) / n for name in names]
    variance = k / (k - 1) * sum(e * e for e in errors)
    if variance < 1e-20:
        return p, n
    fourth = sum(e**4 for e in errors) / k / (sum(e * e for e in errors) / k) ** 2
    matched = min(max(2 * k / max(fourth - 1, 1e-9), 1), k - 1)
    quantile = t.ppf(0.975, (matched * (k - 1)) ** 0.5)
    return p, min(n, p * (1 - p) / variance * (Z95 / quantile) ** 2)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=1, max_size=60))
def test_the_effective_number_is_its_definition(trials: list[tuple[bool, int]]) -> None:
    hits, prompts = [h for h, _ in trials], [c for _, c in trials]
    found = proportions(np.array(hits), np.zeros(len(hits), int), 1, Clusters.of(np.array(prompts)))
    value, effective = brute(hits, prompts)
    assert found.value[0, 0] == pytest.approx(value)
    assert found.n_effective[0, 0] == pytest.approx(effective, rel=1e-6)
    assert (found.low[0, 0], found.high[0, 0]) == pytest.approx(wilson(value, found.n_effective[0, 0]))


def test_many_features_at_once_are_each_alone() -> None:
    truth, predicted, clusters = Judge((0.8, 0.7), 0.2).answers(30)
    part = truth.astype(int)
    together = proportions(predicted == truth, part, 2, clusters)
    for f in range(30):
        own = clusters.feature == f
        alone = proportions(predicted[own] == truth[own], part[own], 2, Clusters.of(clusters.cluster[own]))
        for name in ("value", "low", "high", "n", "n_effective"):
            assert getattr(together, name)[f] == pytest.approx(getattr(alone, name)[0]), name


def test_sums_of_a_feature_are_the_same_to_the_bit_alone_and_beside_another() -> None:
    rng = np.random.default_rng(0)
    prompts, values = rng.permutation(np.arange(100) // 5), rng.normal(size=(20, 3)) ** 5
    alone, beside = Clusters.of(prompts), Clusters.of(prompts, np.array([0, 100, 100]))
    both = np.concatenate([values, np.zeros_like(values)])
    assert (alone.sums(values)[0] == beside.sums(both)[0]).all()
    assert (alone.sums(values[:, 0])[0] == beside.sums(both[:, 0])[0]).all()
    assert alone.sums(values > 0).dtype == beside.sums(both > 0).dtype == float


def test_copies_are_worth_one_and_a_cluster_for_each_trial_worth_all() -> None:
    """Five copies of each of 40 trials: the variance is that of 40, with the k/(k − 1) and Student's t of 39."""
    hits = np.arange(40) % 2 == 0
    copies = proportions(np.repeat(hits, 5), np.zeros(200, int), 1, Clusters.of(np.repeat(np.arange(40), 5)))
    assert copies.n_effective[0, 0] == pytest.approx(39 * (Z95 / t.ppf(0.975, 39)) ** 2)
    single = proportions(hits, np.zeros(40, int), 1, Clusters.of(np.arange(40)))
    assert single.n_effective[0, 0] == 40


def test_parts_without_trials() -> None:
    found = proportions(np.array([True]), np.array([1]), 3, Clusters.of(np.array([0]), np.array([0, 1, 1])))
    assert np.isnan(found.value[:, 0]).all()
    assert (found.low[1].tolist(), found.high[1].tolist(), found.n.sum()) == ([0, 0, 0], [1, 1, 1], 1)


def test_degrees_of_freedom() -> None:
    """Many normal influences: nearly k − 1. One prompt that fails among many: nearly the root of k − 1."""
    rng = np.random.default_rng(0)
    clusters = Clusters.of(np.arange(4000))
    normal = rng.normal(size=4000)
    assert freedom(normal, np.array([4000]), clusters)[0] == pytest.approx(3999, rel=0.05)
    matched = 2 * 4000 / (kurtosis(normal, fisher=False) - 1)
    assert freedom(normal - normal.mean(), np.array([4000]), clusters)[0] == pytest.approx(
        (min(matched, 3999) * 3999) ** 0.5
    )
    rare = np.zeros(4000)
    rare[7] = 1
    assert freedom(rare, np.array([4000]), clusters)[0] == pytest.approx(3999**0.5 * (2 * 4000 / 3999) ** 0.5)


def test_correlation_of_influences() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 60))
    clusters = Clusters.of(np.tile(np.arange(30), 2), np.array([0, 30, 60]))
    found = correlation_of(a, b, clusters)
    expected = [a[p] @ b[p] / np.sqrt(a[p] @ a[p] * (b[p] @ b[p])) for p in (slice(30), slice(30, 60))]
    assert found == pytest.approx(expected)
    assert correlation_of(a, 0 * b, clusters).tolist() == [0, 0]


@pytest.mark.parametrize("icc", [0.0, 0.1, 0.3])
def test_the_intraclass_correlation_is_measured_back(icc: float) -> None:
    truth, predicted, clusters = Judge((0.7, 0.8), icc, per_prompt=10, n=400).answers(200, seed=3)
    found = intraclass_correlation(truth == predicted, truth.astype(int), 2, clusters)
    assert np.nanmean(found, axis=0) == pytest.approx(icc, abs=0.02)


def test_the_intraclass_correlation_is_that_of_an_analysis_of_variance() -> None:
    """Equal clusters: (F − 1)/(F + m − 1), F of SciPy's one-way analysis of variance."""
    from scipy.stats import f_oneway

    hits = np.random.default_rng(0).random((12, 5)) < np.linspace(0.2, 0.9, 12)[:, None]
    f = f_oneway(*hits).statistic
    found = intraclass_correlation(hits.ravel(), np.zeros(60, int), 1, Clusters.of(np.repeat(np.arange(12), 5)))
    assert found[0, 0] == pytest.approx((f - 1) / (f + 4))
