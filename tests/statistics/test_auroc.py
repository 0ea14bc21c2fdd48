from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest

from autointerp.statistics.auroc import auroc


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
