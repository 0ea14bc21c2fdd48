"""What is made of judged trials: a balanced accuracy with its interval, and the numbers that surround it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from autointerp.records import Score, Trial
from autointerp.scorers.answers import FORMS, Form
from autointerp.statistics.auroc import auroc
from autointerp.statistics.intervals import balanced_accuracy


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

    ``metrics`` holds ``tpr``, ``tnr``, ``precision``, ``f1``, ``hits_by_quantile`` ({quantile: [hits, n]}),
    ``by_kind``, ``failures`` (by kind), ``n_reasked``, and ``worst`` / ``best``: the value if every failed trial were
    wrong / right. Where the answers rank examples, ``auroc`` is the area under their ROC curve, ``auroc_from`` says
    what they are and ``rule`` when one counts as 1.
    """
    judged = [t for t in trials if t.predicted is not None]
    truth, predicted = np.array([t.truth for t in judged], bool), np.array([t.predicted for t in judged], bool)
    value, low, high = balanced_accuracy(truth, predicted, np.array([t.prompt for t in judged], int))
    metrics: dict[str, Any] = {"n_reasked": n_reasked, "failures": _count(t.failure for t in trials if t.failure)}
    if not math.isnan(value):
        hits = int((truth & predicted).sum())
        tpr, tnr = hits / int(truth.sum()), float((~predicted[~truth]).mean())
        precision = hits / max(int(predicted.sum()), 1)
        metrics |= {
            "tpr": tpr,
            "tnr": tnr,
            "precision": precision,
            "f1": 2 * precision * tpr / max(precision + tpr, 1e-12),
        }
    if form.values:
        area = auroc(truth, np.array([t.probability for t in judged], float))
        metrics |= {
            "auroc": None if math.isnan(area) else area,
            "auroc_from": form.values,
            "rule": form.rule,
        }
    metrics |= {
        "hits_by_quantile": _hits(judged, lambda t: t.quantile if t.truth else None),
        "by_kind": _hits(judged, lambda t: t.kind),
        "worst": _bound(trials, right=False),
        "best": _bound(trials, right=True),
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


def _count(names: Any) -> dict[str, int]:
    counts: dict[str, int] = {}
    for name in names:
        counts[name] = counts.get(name, 0) + 1
    return counts


def _hits(trials: Sequence[Trial], by: Callable[[Trial], Any]) -> dict[str, list[int]]:
    table: dict[str, list[int]] = {}
    for trial in trials:
        if (name := by(trial)) is not None:
            row = table.setdefault(str(name), [0, 0])
            row[0] += trial.predicted == trial.truth
            row[1] += 1
    return dict(sorted(table.items(), key=lambda item: (len(item[0]), item[0])))


def _bound(trials: Sequence[Trial], *, right: bool) -> float | None:
    rates = []
    for side in (True, False):
        group = [t for t in trials if t.truth is side]
        if not group:
            return None
        rates.append(sum(right if t.predicted is None else t.predicted == t.truth for t in group) / len(group))
    return sum(rates) / 2
