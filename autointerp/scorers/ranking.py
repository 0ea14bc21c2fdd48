"""Scores of local models that rank examples: an area under the ROC curve."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from autointerp.records import Computed, Example, Failure, Score, Trial
from autointerp.scorers.counting import score_of
from autointerp.statistics.auroc import auroc, auroc_interval
from autointerp.statistics.clusters import Clusters


def ranked(
    feature: int,
    explainer: str,
    scorer: str,
    examples: Sequence[Example],
    outcomes: Sequence[Any],
    values: Callable[..., np.ndarray],
) -> Score:
    """The AUROC of a value that a local model gives each example, with its interval.

    Parameters
    ----------
    outcomes : of the local requests. values : from what they hold to (n_examples,) in 0 … 1, larger where the feature
        is expected to fire.

    Notes
    -----
    ``metrics`` holds ``mean_active`` and ``mean_silent`` (of the values), ``by_quantile`` (AUROC of each quantile
    against all silent examples), ``by_kind`` (of all activating examples against each kind of negative), ``failures``.
    """
    failed = next((o for o in outcomes if isinstance(o, Failure)), None)
    if failed is not None:
        trials = [
            Trial(e.id, e.kind, e.quantile, e.peak > 0, None, failed.kind, prompt=i) for i, e in enumerate(examples)
        ]
        return score_of((feature, explainer, scorer), trials, None, {"error": failed.message})
    found = values(*(o.value for o in outcomes if isinstance(o, Computed)))
    truth = np.array([e.peak > 0 for e in examples], bool)
    limit = float(found.mean()) if len(found) else 0.0
    trials = [
        Trial(e.id, e.kind, e.quantile, e.peak > 0, bool(v > limit), prompt=i, probability=float(v))
        for i, (e, v) in enumerate(zip(examples, found, strict=True))
    ]
    metrics: dict[str, Any] = {}
    interval = None
    if truth.any() and not truth.all():
        interval = auroc_interval(truth, found, Clusters.of(np.arange(len(truth)))).at(0)
        quantiles, kinds = np.array([e.quantile for e in examples]), np.array([e.kind for e in examples])
        metrics = {
            "mean_active": float(found[truth].mean()),
            "mean_silent": float(found[~truth].mean()),
            "by_quantile": {
                str(q): _area(truth, found, ~truth | (quantiles == q)) for q in np.unique(quantiles[truth]).tolist()
            },
            "by_kind": {k: _area(truth, found, truth | (kinds == k)) for k in np.unique(kinds[~truth]).tolist()},
        }
    return score_of((feature, explainer, scorer), trials, interval, metrics)


def _area(truth: np.ndarray, values: np.ndarray, chosen: np.ndarray) -> float:
    return auroc(truth[chosen], values[chosen])
