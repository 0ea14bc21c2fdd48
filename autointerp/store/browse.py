"""What a page shows of a study: some columns of everything, or everything of one feature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import orjson

from autointerp.store.core import LEASE_S, Core

if TYPE_CHECKING:
    import pyarrow as pa

TRIAL = ("example", "kind", "quantile", "truth", "predicted", "failure", "prompt", "probability")
"""Columns of a trial."""
RECENT = 5000
"""The newest attempts among which those of the last minute are counted."""


class Told(NamedTuple):
    """An explanation as a page lists it; ``maker`` is its place among the makers."""

    text: str
    failure: str | None
    statistics: str
    maker: int


class Judge(NamedTuple):
    """Who made a score: of whose explanation, by which scorer through which client."""

    explainer: str
    explainer_client: str
    scorer: str
    client: str


class BrowseTables(Core):
    """Reads that take as long as what they give is large."""

    def begun(self) -> bool:
        """Whether anything was ever written into the study.

        Raises
        ------
        UsageError : the store holds several studies, and none of them was named.
        """
        if self._number is not None:
            return True
        if self._name is None and self._rows("SELECT 1 FROM studies LIMIT 1"):
            self._study  # noqa: B018 - several of them: says so
        return self._find(self._name) is not None

    def mark(self) -> str:
        """Another text after a study of the store got new results, or lost some; costs counting its results."""
        newest = [f"(SELECT MAX(id) FROM {table})" for table in ("scores", "attempts", "events")]
        counts = [f"(SELECT COUNT(*) FROM {table})" for table in ("explanations", "scores", "skipped")]
        return "-".join(str(number or 0) for number in self._rows(f"SELECT {', '.join(newest + counts)}")[0])

    def features(self) -> np.ndarray:
        """(n,) int64 the features that were explained, or skipped, ascending."""
        sql = "SELECT feature FROM explanations WHERE study = ? UNION SELECT feature FROM skipped WHERE study = ?"
        return np.sort(np.array([row[0] for row in self._rows(sql, (self._study,) * 2)], np.int64))

    def makers(self) -> list[tuple[str, str]]:
        """(explainer, client) of the explanations, who told most first."""
        sql = (
            "SELECT explainer, client FROM explanations WHERE study = ? GROUP BY explainer, client"
            " ORDER BY COUNT(*) - COUNT(failure) DESC, explainer, client"
        )
        return [(row[0], row[1]) for row in self._rows(sql, (self._study,))]

    def first_told(self, makers: Sequence[tuple[str, str]]) -> dict[int, Told]:
        """One explanation of each feature: of the first of ``makers`` that has one with a text, else a failed one."""
        found: dict[int, Told] = {}
        n = self._rows("SELECT COUNT(DISTINCT feature) FROM explanations WHERE study = ?", (self._study,))[0][0]
        sql = (
            "SELECT feature, text, failure, statistics FROM explanations"
            " WHERE study = ? AND explainer = ? AND client = ?"
        )
        good = 0
        for place, maker in enumerate(makers):
            for feature, words, failure, statistics in self._rows(sql, (self._study, *maker)):
                if feature not in found or (found[feature].failure is not None and failure is None):
                    good += failure is None
                    found[feature] = Told(words, failure, statistics, place)
            if good == n:
                break
        return found

    def judges(self) -> list[Judge]:
        """Who explained and who scored, of all scores."""
        names = ", ".join(Judge._fields)
        sql = f"SELECT DISTINCT {names} FROM scores WHERE study = ? AND is_null = 0 ORDER BY {names}"
        return [Judge(*row) for row in self._rows(sql, (self._study,))]

    def values(self, judges: Sequence[Judge]) -> np.ndarray:
        """(n, 3) float64 of all scores: place among ``judges``, feature, value; NaN where there is none."""
        one = " AND ".join(f"{name} = ?" for name in Judge._fields)
        # numbers instead of four words a row: half of the time
        place = "CASE " + " ".join(f"WHEN {one} THEN {i}" for i in range(len(judges))) + " ELSE -1 END"
        sql = f"SELECT {place}, feature, value FROM scores WHERE study = ? AND is_null = 0"
        rows = self._rows(sql, (*(word for judge in judges for word in judge), self._study)) if judges else []
        return np.array(rows, np.float64).reshape(-1, 3)

    def intervals(self, judge: Judge, *, null: bool = False) -> np.ndarray:
        """(n, 4) float64 of the scores, or nulls, of one: feature, value, ci_low, ci_high."""
        one = " AND ".join(f"{name} = ?" for name in Judge._fields)
        sql = f"SELECT feature, value, ci_low, ci_high FROM scores WHERE study = ? AND is_null = ? AND {one}"
        return np.array(self._rows(sql, (self._study, int(null), *judge)), np.float64).reshape(-1, 4)

    def told_of(self, feature: int) -> list[dict[str, Any]]:
        """The explanations of one feature."""
        names = ("explainer", "client", "text", "model", "failure", "details", "statistics")
        sql = f"SELECT {', '.join(names)} FROM explanations WHERE study = ? AND feature = ? ORDER BY explainer, client"
        return [dict(zip(names, row, strict=True)) for row in self._rows(sql, (self._study, feature))]

    def texts(self, features: Sequence[int]) -> list[tuple[int, str, str, str]]:
        """(feature, explainer, client, text) of some features, by feature."""
        marks = ", ".join("?" * len(features)) or "NULL"
        sql = (
            f"SELECT feature, explainer, client, text FROM explanations WHERE study = ? AND feature IN ({marks})"
            " AND failure IS NULL ORDER BY feature, explainer, client"
        )
        return [tuple(row) for row in self._rows(sql, (self._study, *features))]  # type: ignore[misc]

    def judged_of(self, feature: int) -> list[dict[str, Any]]:
        """The scores and nulls of one feature, with the ``id`` by which :meth:`trials_of` knows them."""
        names = (
            "id", "explainer", "explainer_client", "scorer", "client", "is_null", "partner", "value", "ci_low",
            "ci_high", "n", "n_failed", "metrics", "model",
        )  # fmt: skip
        sql = (
            f"SELECT {', '.join(names)} FROM scores WHERE study = ? AND feature = ?"
            " ORDER BY explainer, explainer_client, scorer, client, is_null"
        )
        return [dict(zip(names, row, strict=True)) for row in self._rows(sql, (self._study, feature))]

    def trials_of(self, scores: Sequence[int], names: Sequence[str] = TRIAL) -> dict[int, dict[str, list[Any]]]:
        """Of some scores: columns of their trials by name, in the trials' order; equal columns are one list.

        The database hands out a column as one JSON text, in a third of the time of a row for each trial; and the
        explanations of a feature are judged on the same trials, whose text is decoded once. Numbers have 15 digits.
        """
        marks = ", ".join("?" * len(scores)) or "NULL"
        arrays = ", ".join(f"CAST(json_group_array({name}) AS TEXT)" for name in ("place", *names))
        sql = f"SELECT score, {arrays} FROM trials WHERE score IN ({marks}) GROUP BY score"
        decoded: dict[str, list[Any]] = {}
        found = {}
        for number, *texts in self._rows(sql, tuple(scores)):
            for text in texts:
                if text not in decoded:
                    decoded[text] = orjson.loads(text)
            place, *columns = (decoded[text] for text in texts)
            if place != sorted(place):  # SQLite reads them in order, by their key; no database has to
                order = np.argsort(place).tolist()
                columns = [[column[i] for i in order] for column in columns]
            found[number] = dict(zip(names, columns, strict=True))
        return found

    def latest(self, n: int) -> pa.Table:
        """The newest scores: feature, explainer, scorer, client, value."""
        return self._table(
            "SELECT feature, explainer, scorer, client, value FROM scores WHERE study = ? AND is_null = 0"
            f" ORDER BY id DESC LIMIT {int(n)}",
            (self._study,),
        )

    def pulse(self) -> tuple[int, int]:
        """Requests answered in the last minute (of the newest ``RECENT``), and living workers, who may be others."""
        answered = (
            "SELECT COUNT(*) FROM (SELECT finished, outcome FROM attempts WHERE study = ? ORDER BY id DESC"
            f" LIMIT {RECENT}) AS newest WHERE finished > unixnow() - 60 AND outcome = 'answer'"
        )
        alive = "SELECT COUNT(*) FROM workers WHERE study = ? AND seen > unixnow() - ?"
        return self._rows(answered, (self._study,))[0][0], self._rows(alive, (self._study, LEASE_S))[0][0]
