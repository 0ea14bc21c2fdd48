"""Trials counted: by reason, by class, and what score they make."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from autointerp.records import Score, Trial
from autointerp.statistics.clusters import wilson


def count(names: Iterable[str]) -> dict[str, int]:
    """How often each name comes."""
    counts: dict[str, int] = {}
    for name in names:
        counts[name] = counts.get(name, 0) + 1
    return counts


def hits_by(trials: Sequence[Trial], by: Callable[[Trial], Any]) -> dict[str, list[int]]:
    """[right answers, trials] of each class that ``by`` puts trials into; None leaves one out."""
    table: dict[Any, list[int]] = {}
    for trial in trials:
        if (name := by(trial)) is not None:
            if (row := table.get(name)) is None:
                row = table[name] = [0, 0]
            row[0] += trial.predicted == trial.truth
            row[1] += 1
    return dict(sorted(((str(name), row) for name, row in table.items()), key=lambda item: (len(item[0]), item[0])))


def score_of(
    who: tuple[int, str, str],
    trials: Sequence[Trial],
    interval: tuple[float, float, float] | None,
    metrics: Mapping[str, Any],
    model: str = "",
) -> Score:
    """The score of some trials.

    Parameters
    ----------
    who : feature, explainer, scorer. interval : value, low and high; None where nothing was judged.
    metrics : what there is beside ``failures``, which are counted here.
    """
    value, low, high = interval or (None, None, None)
    lost = sum(t.failure is not None for t in trials)
    counted = {"failures": count(t.failure for t in trials if t.failure), **metrics}
    return Score(*who, value, low, high, len(trials), lost, counted, tuple(trials), model)


def share_of(who: tuple[int, str, str], trials: Sequence[Trial], metrics: Mapping[str, Any], model: str = "") -> Score:
    """The share of the judged trials that are ``predicted``, which do not depend on each other, with Wilson's interval.

    ``metrics`` gets ``worst`` and ``best``: the share if every trial without an answer were wrong, or right.
    """
    judged = [t for t in trials if t.failure is None]
    if not judged:
        return score_of(who, trials, None, metrics, model)
    found, missing = sum(bool(t.predicted) for t in judged), len(trials) - len(judged)
    low, high = wilson(found / len(judged), len(judged))
    bounds = {"worst": found / len(trials), "best": (found + missing) / len(trials)}
    return score_of(who, trials, (found / len(judged), float(low), float(high)), {**metrics, **bounds}, model)
