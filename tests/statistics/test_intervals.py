"""Combined intervals against published values and defining equations, and by how often they hold the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import brentq

from autointerp.statistics.clusters import Clusters, Estimate, Proportions, proportions, wilson
from autointerp.statistics.intervals import balanced, class_rates, lift, mover, precision_at
from tests.statistics.judge import Judge, Link, coverage

RATES = ((0.6, 0.6), (0.8, 0.7), (0.9, 0.9), (0.95, 0.95), (0.6, 0.95))
FULL = [
    Judge(rates, icc, per_prompt, link)
    for rates in RATES
    for per_prompt in (5, 8, 10)
    for icc, links in ((0.0, ("independent",)), *((r, ("independent", "quality", "bias")) for r in (0.05, 0.15, 0.3)))
    for link in links
]
FAST = [
    Judge((0.8, 0.7), 0.0, 5),
    Judge((0.9, 0.9), 0.3, 10, "quality"),
    Judge((0.6, 0.6), 0.3, 10, "bias"),
    Judge((0.95, 0.95), 0.15, 8, "independent"),
    Judge((0.6, 0.95), 0.05, 5, "quality"),
]


def held(judge: Judge, repeats: int) -> dict[str, float]:
    """How often the intervals of a judge's scores hold the truth."""
    truth, predicted, clusters = judge.answers(repeats, seed=1)
    rates = class_rates(truth, predicted, clusters)
    value = balanced(rates, clusters)
    (tpr, tnr), share = judge.rates, 0.01
    precision = precision_at(rates, np.full(repeats, share), clusters)
    odds = share / (1 - share) * tpr / (1 - tnr)
    return {
        "tpr": coverage(rates.low[:, 1], rates.high[:, 1], tpr),
        "tnr": coverage(rates.low[:, 0], rates.high[:, 0], tnr),
        "balanced": coverage(value.low, value.high, (tpr + tnr) / 2),
        "precision": coverage(precision.low, precision.high, odds / (1 + odds)),
        "lift": lift_held(judge, repeats),
    }


def lift_held(judge: Judge, repeats: int) -> float:
    """The null is a blind judge that meets the same prompts and repeats a third of the answers."""
    rng = np.random.default_rng(2)
    blind = Judge((0.55, 0.5), judge.icc, judge.per_prompt, judge.link)
    truth, clusters, u = judge.layout(repeats, rng)
    own, other = ((rng.random(len(truth)) < j.right(truth, clusters, u)) == truth for j in (judge, blind))
    null = np.where(rng.random(len(truth)) < 1 / 3, own, other)
    found = lift(truth, own, null, clusters)
    return coverage(found.low, found.high, 2 / 3 * (sum(judge.rates) / 2 - 0.525))


def assert_within(shares: dict[str, float], repeats: int) -> None:
    """91–98 %, give or take two standard errors of the simulation."""
    for name, share in shares.items():
        assert 0.91 - 2 * math.sqrt(0.91 * 0.09 / repeats) <= share <= 0.98 + 2 * math.sqrt(0.98 * 0.02 / repeats), name


@pytest.mark.parametrize("judge", FAST, ids=str)
def test_intervals_hold_the_truth_in_91_to_98_percent(judge: Judge) -> None:
    assert_within(held(judge, 1000), 1000)


@pytest.mark.full
@pytest.mark.parametrize("judge", FULL, ids=str)
def test_intervals_hold_the_truth_in_91_to_98_percent_of_many(judge: Judge) -> None:
    assert_within(held(judge, 4000), 4000)


@pytest.mark.parametrize("link", ["quality", "bias"])
def test_independent_trials_assumed_would_hold_too_rarely(link: Link) -> None:
    """The same answers with every trial taken for a prompt of its own: what the clusters are there for."""
    judge = Judge((0.7, 0.7), 0.3, 10, link)
    truth, predicted, clusters = judge.answers(1000)
    each = Clusters(clusters.feature, np.arange(len(truth)), clusters.feature, clusters.n_features)
    rates = class_rates(truth, predicted, each)
    assert coverage(rates.low[:, 1], rates.high[:, 1], 0.7) < 0.88
    if link == "quality":
        assert coverage(*balanced(rates, each)[1:], 0.7) < 0.8


def single(p: float, n: int) -> Estimate:
    return Estimate(p, *wilson(p, n))


def test_a_difference_of_two_proportions_is_newcombes() -> None:
    """Newcombe (1998), Statistics in Medicine 17:873, table II, method 10."""
    for a, n, b, m, low, high in (
        (56, 70, 48, 80, 0.0524, 0.3339),
        (9, 10, 3, 10, 0.1705, 0.8090),
        (10, 10, 0, 20, 0.6791, 1),
    ):
        found = mover(single(a / n, n), single(b / m, m), (1.0, -1.0), bounds=(-1.0, 1.0))
        assert (float(found.low), float(found.high)) == pytest.approx((low, high), abs=1e-4)


def test_a_sum_is_symmetric_and_its_correlation_widens_it() -> None:
    a, b = single(0.8, 40), single(0.6, 30)
    for r in (-0.5, 0.0, 0.5):
        assert limits(mover(a, b, (0.5, 0.5), r)) == pytest.approx(limits(mover(b, a, (0.5, 0.5), r)))
    widths = [high - low for _, low, high in (limits(mover(a, b, (0.5, 0.5), r)) for r in (-1, 0, 1))]
    assert widths[0] < widths[1] < widths[2]
    assert widths[2] == pytest.approx(((a.high - a.low) + (b.high - b.low)) / 2)
    mirrored = mover(Estimate(-a.value, -a.high, -a.low), b, (-1.0, 0.5), -0.3, (-9, 9))
    assert limits(mirrored) == pytest.approx(limits(mover(a, b, (1.0, 0.5), 0.3, (-9, 9))))


def limits(estimate: Estimate) -> tuple[float, float, float]:
    return float(estimate.value), float(estimate.low), float(estimate.high)


def test_one_class_or_none() -> None:
    clusters = Clusters.of(np.array([0]), np.array([0, 1, 1]))
    found = balanced(class_rates(np.array([True]), np.array([True]), clusters), clusters)
    assert np.isnan(found.value).all()
    assert (found.low.tolist(), found.high.tolist()) == ([0, 0], [1, 1])


def test_a_perfect_and_a_blind_judge() -> None:
    truth, clusters = np.arange(100) < 50, Clusters.of(np.arange(100) // 5)
    value, low, high = balanced(class_rates(truth, truth, clusters), clusters).at(0)
    # 50 of 50 in both classes: one-sided distances 1 − 50/(50 + z²) add in quadrature
    assert (value, high) == (1.0, 1.0)
    assert low == pytest.approx(1 - math.hypot(*[1 - wilson(1.0, 50)[0]] * 2) / 2)
    value, low, high = balanced(class_rates(truth, np.ones(100, bool), clusters), clusters).at(0)
    assert value == 0.5
    assert low < 0.5 < high


def test_no_lift_over_the_same_answers() -> None:
    truth, predicted, clusters = Judge((0.8, 0.7), 0.2).answers(50)
    found = lift(truth, predicted, predicted, clusters)
    assert (found.value == 0).all()
    assert (found.high - found.low).max() < 0.2  # one reading of the trials is not compared with itself as with another
    other = lift(truth, predicted, ~predicted, clusters)
    assert (found.high - found.low < other.high - other.low).all()


def rates_of(tpr: float, fpr: float, n: int) -> tuple[Proportions, Clusters]:
    truth = np.repeat([True, False], n)
    predicted = np.concatenate([np.arange(n) < round(tpr * n), np.arange(n) < round(fpr * n)])
    clusters = Clusters.of(np.arange(2 * n))
    return proportions(truth == predicted, truth.astype(int), 2, clusters), clusters


def test_precision_at_the_natural_rate_is_bayes_theorem() -> None:
    """TPR = TNR = .9 at one context in a thousand: .9 %."""
    rates, clusters = rates_of(0.9, 0.1, 50)
    value, low, high = precision_at(rates, np.array([0.001]), clusters).at(0)
    assert value == pytest.approx(0.0009 / (0.0009 + 0.0999))
    assert low < value < high
    assert precision_at(rates, np.array([0.5]), clusters).at(0)[0] == pytest.approx(0.9)


@pytest.mark.parametrize(("tpr", "fpr"), [(0.9, 0.1), (0.7, 0.3), (0.6, 0.02), (0.5, 0.5)])
def test_the_limits_of_the_ratio_solve_its_defining_equation(tpr: float, fpr: float) -> None:
    """MOVER-R: R is a limit of TPR/FPR where a MOVER limit of TPR − R FPR is 0."""
    rates, clusters = rates_of(tpr, fpr, 50)
    _, low, high = precision_at(rates, np.array([0.5]), clusters).at(0)
    (l1, u1), (l2, u2) = wilson(tpr, 50), wilson(fpr, 50)
    lower = brentq(lambda r: tpr - r * fpr - math.hypot(tpr - l1, r * (u2 - fpr)), 0, tpr / fpr)
    upper = brentq(lambda r: tpr - r * fpr + math.hypot(u1 - tpr, r * (fpr - l2)), tpr / fpr, 1e6)
    assert (low, high) == pytest.approx((lower / (1 + lower), upper / (1 + upper)))


def test_precision_of_judges_that_never_err_or_never_say_yes() -> None:
    value, low, high = precision_at(*rates_of(0.8, 0.0, 50)[:1], np.array([0.01]), rates_of(0.8, 0.0, 50)[1]).at(0)
    assert (value, high) == (1.0, 1.0)
    assert 0.05 < low < 0.5
    rates, clusters = rates_of(0.0, 0.0, 50)
    value, low, high = precision_at(rates, np.array([0.01]), clusters).at(0)
    assert math.isnan(value)
    assert (low, high) == (0.0, 1.0)
    rates, clusters = rates_of(0.0, 0.4, 50)
    value, low, high = precision_at(rates, np.array([0.01]), clusters).at(0)
    assert (value, low) == (0.0, 0.0)
    assert high < 0.01
