"""Intervals against SciPy, against the definition, and by how often they hold the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from autointerp.statistics.intervals import balanced_accuracy, bootstrap_median, design_effect, wilson


@given(st.integers(1, 400), st.data())
def test_wilson_is_scipys(n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, n))
    expected = binomtest(k, n).proportion_ci(method="wilson")
    assert wilson(k / n, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_of_no_trials_and_of_a_fraction_of_one() -> None:
    assert wilson(0.3, 0) == (0.0, 1.0)
    low, high = wilson(0.5, 7.5)
    assert wilson(0.5, 7)[0] < low < wilson(0.5, 8)[0]
    assert low + high == pytest.approx(1)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=1, max_size=60))
def test_design_effect_is_its_definition(trials: list[tuple[bool, int]]) -> None:
    hits, clusters = [h for h, _ in trials], [c for _, c in trials]
    n, p, names = len(hits), sum(hits) / len(hits), set(clusters)
    expected = 1.0
    if 0 < p < 1 and len(names) > 1:
        square = sum(sum(h - p for h, c in trials if c == name) ** 2 for name in names)
        expected = max(1.0, len(names) / (len(names) - 1) * square / n**2 / (p * (1 - p) / n))
    assert design_effect(np.array(hits), np.array(clusters)) == pytest.approx(expected)


def test_design_effect_of_whole_clusters_is_their_size() -> None:
    """Five copies of every trial are worth one, up to the small-sample factor m/(m − 1)."""
    hits = np.repeat(np.arange(40) % 2 == 0, 5)
    assert design_effect(hits, np.repeat(np.arange(40), 5)) == pytest.approx(5 * 40 / 39)


def test_one_class_or_none() -> None:
    nothing = np.array([], bool)
    assert np.isnan(balanced_accuracy(nothing, nothing, np.array([], int))[0])
    value, low, high = balanced_accuracy(np.array([True]), np.array([True]), np.array([0]))
    assert math.isnan(value)
    assert (low, high) == (0.0, 1.0)


def test_balanced_accuracy_of_a_perfect_and_a_blind_judge() -> None:
    truth, clusters = np.arange(100) < 50, np.arange(100) // 5
    value, low, high = balanced_accuracy(truth, truth, clusters)
    # 50 of 50 in both classes: one-sided distances 1 − 50/(50 + z²) add in quadrature
    assert (value, high) == (1.0, 1.0)
    assert low == pytest.approx(1 - math.hypot(*[1 - wilson(1.0, 50)[0]] * 2) / 2)
    value, low, high = balanced_accuracy(truth, np.ones(100, bool), clusters)
    assert value == 0.5
    assert low < 0.5 < high


def simulate(rates: tuple[float, float], rho: float, n: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """50 + 50 trials, prompts of five shuffled examples; answers of a prompt share a beta-distributed rate (ρ)."""
    truth = rng.permutation(np.repeat([True, False], n))
    clusters = np.arange(2 * n) // 5
    scale = (1 - rho) / rho if rho else math.inf
    correct = np.empty(2 * n)
    for rate, side in zip(rates, (truth, ~truth), strict=True):
        per_prompt = rng.beta(rate * scale, (1 - rate) * scale, clusters[-1] + 1) if rho else np.full(2 * n, rate)
        correct[side] = per_prompt[clusters[side]]
    return truth, (rng.random(2 * n) < correct) == truth, clusters


@pytest.mark.parametrize("rates", [(0.5, 0.5), (0.8, 0.7), (0.9, 0.95), (0.6, 0.95)])
@pytest.mark.parametrize("rho", [0.0, 0.3])
def test_coverage_of_the_95_percent_interval(rates: tuple[float, float], rho: float) -> None:
    """The truth lies inside in 91–98 % of 2,000 simulated scores, whether prompts are correlated or not."""
    rng, inside = np.random.default_rng(1), 0
    for _ in range(2000):
        _, low, high = balanced_accuracy(*simulate(rates, rho, 50, rng))
        inside += low <= sum(rates) / 2 <= high
    assert 0.91 <= inside / 2000 <= 0.98


def test_a_correlated_judge_is_caught_where_binomial_intervals_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """ρ = 0.6 in prompts of ten of one class: without the design effect the interval misses far more often."""
    coverage = []
    for effect in (design_effect, lambda hits, clusters: 1.0):
        monkeypatch.setattr("autointerp.statistics.intervals.design_effect", effect)
        rng, inside = np.random.default_rng(0), 0
        for _ in range(500):
            truth, clusters = np.repeat([True, False], 100), np.arange(200) // 10
            per_prompt = rng.beta(0.7 * 2 / 3, 0.3 * 2 / 3, 20)
            predicted = (rng.random(200) < per_prompt[clusters]) == truth
            _, low, high = balanced_accuracy(truth, predicted, clusters)
            inside += low <= 0.7 <= high
        coverage.append(inside / 500)
    assert coverage[0] > 0.85
    assert coverage[1] < 0.65


def test_bootstrap_median() -> None:
    assert all(map(math.isnan, bootstrap_median(np.array([]))))
    assert bootstrap_median(np.array([3.0])) == (3.0, 3.0)
    values = np.random.default_rng(0).normal(size=101)
    assert bootstrap_median(values) == bootstrap_median(values)
    inside = 0
    for seed in range(300):
        low, high = bootstrap_median(np.random.default_rng(seed).normal(size=60), seed, 500)
        assert low < high
        inside += low <= 0 <= high
    assert 0.90 <= inside / 300 <= 0.99
