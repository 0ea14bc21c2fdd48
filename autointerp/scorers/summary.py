"""What is made of judged trials: a balanced accuracy with its interval, and the numbers that surround it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from autointerp.records import Score, Trial
from autointerp.scorers.answers import FORMS, Form
from autointerp.scorers.counting import count, hits_by
from autointerp.statistics.auroc import auroc_interval
from autointerp.statistics.clusters import Clusters
from autointerp.statistics.intervals import balanced, class_rates


def summarise(
    feature: int,
    explainer: str,
    scorer: str,
    trials: Sequence[Trial],
    n_reasked: int = 0,
    model: str = "",
    form: Form = FORMS["binary"],
) -> Score:
    """Balanced accuracy of the judged trials with its interval, and what surrounds it.

    ``metrics`` holds ``tpr``, ``tnr`` (and their 95 % intervals, ``tpr_interval``, ``tnr_interval``), ``precision``,
    ``f1``, ``hits_by_quantile`` ({quantile: [hits, n]}), ``by_kind``, ``failures`` (by kind), ``n_reasked``, and
    ``worst`` / ``best``: the value if every failed trial were wrong / right. Where the answers rank examples, ``auroc``
    (and ``auroc_interval``) is the area under their ROC curve, ``auroc_from`` says what they are and ``rule`` when one
    counts as 1.
    """
    judged = [t for t in trials if t.predicted is not None]
    truth, predicted = np.array([t.truth for t in judged], bool), np.array([t.predicted for t in judged], bool)
    clusters = Clusters.of(np.array([t.prompt for t in judged], int))
    rates = class_rates(truth, predicted, clusters)
    value, low, high = balanced(rates, clusters).at(0)
    metrics: dict[str, Any] = {"n_reasked": n_reasked, "failures": count(t.failure for t in trials if t.failure)}
    if not math.isnan(value):
        hits = int((truth & predicted).sum())
        (tnr, *tnr_interval), (tpr, *tpr_interval) = rates.part(0).at(0), rates.part(1).at(0)
        precision = hits / max(int(predicted.sum()), 1)
        metrics |= {
            "tpr": tpr,
            "tpr_interval": tpr_interval,
            "tnr": tnr,
            "tnr_interval": tnr_interval,
            "precision": precision,
            "f1": 2 * precision * tpr / max(precision + tpr, 1e-12),
        }
    if form.values:
        area, *limits = auroc_interval(truth, np.array([t.probability for t in judged], float), clusters).at(0)
        metrics |= {
            "auroc": None if math.isnan(area) else area,
            "auroc_interval": None if math.isnan(area) else limits,
            "auroc_from": form.values,
            "rule": form.rule,
        }
    worst, best = _bounds(trials)
    metrics |= {
        "hits_by_quantile": hits_by(judged, lambda t: t.quantile if t.truth else None),
        "by_kind": hits_by(judged, lambda t: t.kind),
        "worst": worst,
        "best": best,
    }
    missing = math.isnan(value)
    return Score(
        feature,
        explainer,
        scorer,
        None if missing else value,
        None if missing else low,
        None if missing else high,
        n=len(trials),
        n_failed=len(trials) - len(judged),
        metrics=metrics,
        trials=tuple(trials),
        model=model,
    )


def _bounds(trials: Sequence[Trial]) -> tuple[float, float] | tuple[None, None]:
    """The value if every failed trial were wrong, and if every one were right; None where a class has no trial."""
    n, right, failed = [0, 0], [0, 0], [0, 0]
    for trial in trials:
        side = int(trial.truth)
        n[side] += 1
        right[side] += trial.predicted == trial.truth
        failed[side] += trial.predicted is None
    if not all(n):
        return None, None
    worst = sum(right[side] / n[side] for side in (1, 0)) / 2
    best = sum((right[side] + failed[side]) / n[side] for side in (1, 0)) / 2
    return worst, best
