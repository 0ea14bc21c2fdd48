"""What detection and fuzzing share: shuffled batches of examples, a 0 or 1 for each, a balanced accuracy."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from autointerp.prompts import find_json, numbered
from autointerp.records import (
    Example,
    Explanation,
    Failure,
    FeatureRecord,
    Message,
    Outcome,
    Plan,
    Request,
    Score,
    Task,
    Trial,
)
from autointerp.statistics.intervals import balanced_accuracy

SCHEMA = {
    "type": "object",
    "properties": {"answers": {"type": "array", "items": {"type": "integer", "enum": [0, 1]}}},
    "required": ["answers"],
    "additionalProperties": False,
}
REASK = 'That was not a list of {n} answers. Answer again, with JSON only: {{"answers": [{n} numbers, each 0 or 1]}}'


@dataclass(frozen=True)
class Item:
    """One example to judge: as shown, and the truth."""

    example: Example
    text: str
    truth: bool
    marks: tuple[int, ...] = ()


def judge(
    record: FeatureRecord,
    explanation: Explanation,
    items: Sequence[Item],
    *,
    scorer: str,
    kind: str,
    system: str,
    examples_per_prompt: int,
) -> Plan[Score]:
    """Ask for a 0 or 1 for every item, in one round (and one counted re-ask of the prompts whose reply was no list).

    The order of examples follows from the feature alone, so that two explanations of it are judged on the same prompts.
    """
    order = np.random.default_rng([record.feature, len(items)]).permutation(len(items))
    prompts = [
        [items[i] for i in order[a : a + examples_per_prompt]] for a in range(0, len(items), examples_per_prompt)
    ]
    requests = [_request(kind, system, explanation.text, prompt) for prompt in prompts]
    outcomes = list((yield requests))
    answers = [_answers(outcome, len(prompt)) for outcome, prompt in zip(outcomes, prompts, strict=True)]
    again = [i for i, answer in enumerate(answers) if isinstance(answer, str) and not isinstance(outcomes[i], Failure)]
    if again:
        replies = yield [_reask(requests[i], outcomes[i], len(prompts[i])) for i in again]
        for i, reply in zip(again, replies, strict=True):
            answers[i] = _answers(reply, len(prompts[i]))
    trials = [
        Trial(
            example=item.example.id,
            kind=item.example.kind,
            quantile=item.example.quantile,
            truth=item.truth,
            predicted=None if isinstance(answer, str) else answer[place],
            failure=answer if isinstance(answer, str) else None,
            prompt=index,
        )
        for index, (prompt, answer) in enumerate(zip(prompts, answers, strict=True))
        for place, item in enumerate(prompt)
    ]
    models = {o.model for o in outcomes if not isinstance(o, Failure)}
    return summarise(record.feature, explanation.explainer, scorer, trials, len(again), min(models, default=""))


def summarise(
    feature: int, explainer: str, scorer: str, trials: Sequence[Trial], n_reasked: int = 0, model: str = ""
) -> Score:
    """Balanced accuracy of the judged trials with its interval, and what surrounds it.

    ``metrics`` holds ``tpr``, ``tnr``, ``precision``, ``f1``, ``hits_by_quantile`` ({quantile: [hits, n]}),
    ``by_kind``, ``failures`` (by kind), ``n_reasked``, and ``worst`` / ``best``: the value if every failed trial were
    wrong / right.
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


def _request(kind: str, system: str, explanation: str, prompt: Sequence[Item]) -> Request:
    text = (
        f"Explanation: {explanation}\n\nThere are {len(prompt)} examples.\n\n{numbered([item.text for item in prompt])}"
    )
    return Request(
        messages=(Message("system", system), Message("user", text)),
        max_tokens=64 + 8 * len(prompt),
        schema=SCHEMA,
        task=Task(
            kind,
            tuple(i.example.blind() for i in prompt),
            marks=tuple(i.marks for i in prompt),
            explanation=explanation,
        ),
        tag=kind,
    )


def _reask(request: Request, outcome: Outcome, n: int) -> Request:
    assert not isinstance(outcome, Failure)
    follow_up = (Message("assistant", outcome.text or "(no answer)"), Message("user", REASK.format(n=n)))
    return Request(
        (*request.messages, *follow_up), request.max_tokens, schema=request.schema, task=request.task, tag=request.tag
    )


def _answers(outcome: Outcome, n: int) -> list[bool] | str:
    """The ``n`` answers of a reply, or why there are none."""
    if isinstance(outcome, Failure):
        return outcome.kind
    value = find_json(outcome.text)
    if isinstance(value, dict):
        value = value.get("answers")
    if outcome.finish == "refusal":
        return "refusal"
    if not isinstance(value, list):
        return "truncated" if outcome.finish == "length" else "unparsed"
    if len(value) != n:
        return "wrong count"
    if any(v not in (0, 1) or isinstance(v, float) for v in value):
        return "not 0 or 1"
    return [bool(v) for v in value]


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
