"""What blind ratings say: how often raters are right, and how far they agree with each other and with the judges."""

from __future__ import annotations

import csv
import io
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from autointerp.report.reading import column_names
from autointerp.statistics.agreement import agreement

if TYPE_CHECKING:
    from autointerp.dashboard.run import Run

Key = tuple[str, int, str, str, str]
"""kind, feature, explainer, client, shown: one question."""
JUDGES = {"context": ("detection",), "explanation": ("detection", "fuzzing")}
"""Scorers whose answers to the same question are stored, and for which chance is 0.5."""
COLUMNS = ("rater", "kind", "feature", "explainer", "client", "shown", "truth", "answer", "seconds", "time")


def results(run: Run) -> dict[str, Any]:
    """All ratings of a study, with the judges' answers to the same questions.

    Of a context the judge's answer is that of its trial. Of an explanation it is yes where the interval of its score
    on the feature's trials lies above chance: with the feature's own explanation, or, in the null, with its partner's.

    Returns
    -------
    ``ratings``, ``judges``; ``accuracy`` of every rater and judge on what raters rated; ``agreement`` (Cohen's κ) of
    every two of them, by kind, intervals taking a feature's items together; the ratings as ``csv``.
    """
    rows = run.store.ratings().to_pylist() if run.has_study else []
    judged = _judged(run, rows)
    names = sorted({name for answers in judged.values() for name in answers})
    for row in rows:
        answers = judged.get(_key(row), {})
        row |= {"truth": bool(row["truth"]), "answer": bool(row["answer"])}
        row["judges"] = {name: answers.get(name) for name in names}
    accuracy, pairs = [], []
    for kind in sorted({row["kind"] for row in rows}):
        truth, who = _answers([row for row in rows if row["kind"] == kind])
        groups = {key: key[1] for key in truth}
        for name, said in who.items():
            accuracy.append({"kind": kind, "who": name, "judge": name in names, **_compared(said, truth, groups)})
        for one, other in combinations(who, 2):
            found = _compared(who[one], who[other], groups)
            if found["n"] and not (one in names and other in names):
                pairs.append({"kind": kind, "first": one, "second": other, **found})
    facts = {"format": "autointerp-ratings", "version": 1, "study": run.name, "judges": names}
    return facts | {"ratings": rows, "accuracy": accuracy, "agreement": pairs, "csv": _csv(rows, names)}


def _key(row: dict[str, Any]) -> Key:
    return row["kind"], row["feature"], row["explainer"], row["client"], row["shown"]


def _answers(rows: list[dict[str, Any]]) -> tuple[dict[Key, bool], dict[str, dict[Key, bool]]]:
    """What is true, and what everyone said: raters first, then judges."""
    truth = {_key(row): row["truth"] for row in rows}
    raters: dict[str, dict[Key, bool]] = {}
    judges: dict[str, dict[Key, bool]] = {}
    for row in rows:
        raters.setdefault(row["rater"], {})[_key(row)] = row["answer"]
        for name, said in row["judges"].items():
            if said is not None:
                judges.setdefault(name, {})[_key(row)] = said
    return truth, raters | judges


def _compared(one: dict[Key, bool], other: dict[Key, bool], groups: dict[Key, int]) -> dict[str, Any]:
    both = [key for key in one if key in other]
    first, second = (np.array([answers[key] for key in both], bool) for answers in (one, other))
    return agreement(first, second, np.array([groups[key] for key in both], np.int64)).as_json()


def _judged(run: Run, rows: list[dict[str, Any]]) -> dict[Key, dict[str, bool]]:
    """The judges' answers to the questions that were rated."""
    questions: dict[int, set[Key]] = {}
    for row in rows:
        questions.setdefault(row["feature"], set()).add(_key(row))
    found: dict[tuple[Key, tuple[str, str]], bool] = {}
    for feature, keys in questions.items():
        for score in run.store.judged_of(feature):
            own = [k for k in keys if k[2:4] == (score["explainer"], score["explainer_client"])]
            own = [k for k in own if score["scorer"].partition("@")[0] in JUDGES[k[0]]]
            pair = (score["scorer"], score["client"])
            found |= {(key, pair): said for key, said in _said(run, score, own)}
    names = column_names(sorted({pair for _, pair in found}))
    told: dict[Key, dict[str, bool]] = {}
    for (key, pair), said in found.items():
        told.setdefault(key, {})[f"judge {names[pair]}"] = said
    return told


def _said(run: Run, score: dict[str, Any], keys: list[Key]) -> list[tuple[Key, bool]]:
    """What one score, or null, says to some questions about its feature and explanation."""
    said: list[tuple[Key, bool]] = []
    wanted = {k[4]: k for k in keys if k[0] == "context"}
    if wanted and not score["is_null"]:
        judged = run.store.trials_of([score["id"]], ("example", "predicted")).get(score["id"], {})
        for example, predicted in zip(*judged.values(), strict=True):
            if example in wanted and predicted is not None:
                said.append((wanted[example], bool(predicted)))
    if score["ci_low"] is not None:
        for key in keys:
            whose = score["partner"] if score["is_null"] else key[1]
            if key[0] == "explanation" and key[4] == str(whose):
                said.append((key, score["ci_low"] > 0.5))
    return said


def _csv(rows: list[dict[str, Any]], judges: list[str]) -> str:
    """One line a rating; cells that a spreadsheet would take for a formula begin with an apostrophe."""
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow([*COLUMNS, *judges])
    for row in rows:
        cells = [row[name] for name in COLUMNS] + [row["judges"][name] for name in judges]
        writer.writerow(["" if c is None else int(c) if isinstance(c, bool) else _safe(c) for c in cells])
    return file.getvalue()


def _safe(cell: Any) -> Any:
    return "'" + cell if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell
