"""Cohen's κ against scikit-learn, its variance against the published formula, its interval against simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import cohen_kappa_score

from autointerp.statistics.agreement import agreement


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60))
def test_kappa_is_that_of_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    first, second = np.array(pairs).T
    found = agreement(first, second)
    if len(np.unique(pairs)) == 1:
        assert math.isnan(found.kappa.value)
        return
    assert found.kappa.value == pytest.approx(cohen_kappa_score(first, second), abs=1e-12)
    assert found.observed.value == pytest.approx((first == second).mean())
    assert found.kappa.low <= found.kappa.value <= found.kappa.high


def everitt(table: np.ndarray) -> float:
    """Large-sample standard error of κ, written out as in Fleiss, Cohen & Everitt 1969, eq. 13."""
    n, p = table.sum(), table / table.sum()
    rows, columns = p.sum(1), p.sum(0)
    observed, chance = np.trace(p), rows @ columns
    k = (observed - chance) / (1 - chance)
    diagonal = sum(p[i, i] * (1 - (rows[i] + columns[i]) * (1 - k)) ** 2 for i in range(len(p)))
    off = sum(
        p[i, j] * (columns[i] + rows[j]) ** 2 for i in range(len(p)) for j in range(len(p)) if i != j
    ) * (1 - k) ** 2  # fmt: skip
    return math.sqrt((diagonal + off - (k - chance * (1 - k)) ** 2) / n) / (1 - chance)


def test_the_interval_is_fleiss_cohen_and_everitts_for_many_items() -> None:
    table = np.array([[880, 120, 40], [90, 1400, 60], [30, 100, 700]])  # so many that t is the normal's to 1 ‰
    pairs = [(i, j) for i in range(3) for j in range(3) for _ in range(table[i, j])]
    first, second = np.array(pairs).T
    found = agreement(first, second).kappa
    half = 1.959964 * everitt(table)
    assert found.value - found.low == pytest.approx(half, rel=2e-3)
    assert found.high - found.value == pytest.approx(half, rel=2e-3)


def test_answers_in_groups_are_worth_less() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 30)
    judge = np.where(rng.random(30) < 0.8, truth, 1 - truth)
    first, second, groups = (np.repeat(x, 10) for x in (truth, judge, np.arange(30)))
    alone, together = agreement(first, second), agreement(first, second, groups)
    once = agreement(truth, judge)
    assert together.kappa.value == pytest.approx(alone.kappa.value)
    assert together.kappa.low == pytest.approx(once.kappa.low, abs=1e-9)  # ten copies say what one says
    assert together.observed.low == pytest.approx(once.observed.low, abs=0.02)
    assert together.kappa.high - together.kappa.low > 2.5 * (alone.kappa.high - alone.kappa.low)


@pytest.mark.parametrize("clustered", [False, True])
def test_nineteen_of_twenty_intervals_hold_the_truth(clustered: bool) -> None:
    rng, held, turns, n = np.random.default_rng(1), 0, 400, 100
    skill = 0.8
    expected = 2 * (skill * skill + (1 - skill) ** 2) - 1  # two raters right with 0.8, answers even
    for _ in range(turns):
        truth = rng.integers(0, 2, n)
        groups = np.arange(n) // 5
        if clustered:  # both are right or wrong about a whole feature half of the time
            whole = rng.random(n // 5)[groups] < 0.5
            draws = [np.where(whole, rng.random(n // 5)[groups], rng.random(n)) for _ in range(2)]
        else:
            draws = [rng.random(n) for _ in range(2)]
        first, second = (np.where(draw < skill, truth, 1 - truth) for draw in draws)
        kappa = agreement(first, second, groups if clustered else None).kappa
        held += kappa.low <= expected <= kappa.high
    assert 0.92 <= held / turns <= 0.98


def test_all_agreeing_is_not_certain() -> None:
    answers = np.arange(20) % 2
    found = agreement(answers, answers)
    low, high = proportion_limits(20, 20)
    assert found.kappa.value == found.kappa.high == high == 1.0
    assert found.kappa.low == pytest.approx(2 * low - 1)  # p_e is a half


def proportion_limits(hits: int, n: int) -> tuple[float, float]:
    """Wilson's, as scipy has it."""
    limits = binomtest(hits, n).proportion_ci(method="wilson")
    return limits.low, limits.high


def test_nothing_to_agree_on() -> None:
    found = agreement(np.array([]), np.array([]))
    assert (found.n, math.isnan(found.kappa.value), found.kappa.low, found.kappa.high) == (0, True, -1.0, 1.0)
    assert found.as_json()["kappa"] is None
    assert found.as_json()["observed"] is None
    one = agreement(np.array([1, 0]), np.array([1, 0]), np.array([7, 7]))
    assert one.kappa == (1.0, -1.0, 1.0)
