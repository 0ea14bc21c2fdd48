"""Questions across the studies of one store: by coder, series, layer, explainer, scorer, score, words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autointerp.errors import UsageError
from autointerp.store.core import Core

if TYPE_CHECKING:
    import pyarrow as pa

EXACT = {
    "study": "studies.name",
    "coder": "studies.coder",
    "series": "studies.series",
    "subject": "studies.subject",
    "hook": "studies.hook",
    "layer": "studies.layer",
    "feature": "e.feature",
    "explainer": "e.explainer",
    "client": "e.client",
    "scorer": "s.scorer",
    "judge": "s.client",
}
"""Columns that :meth:`QueryTables.query` compares, and where they stand."""
VERSIONED = ("explainer", "scorer")
FOUND = (
    "SELECT studies.name AS study, studies.coder, studies.series, studies.subject, studies.hook, studies.layer,"
    " e.feature, e.text AS explanation, e.explainer, e.client, s.scorer, s.client AS judge, s.value, s.ci_low,"
    " s.ci_high, s.n, s.n_failed, u.value AS null_value"
    " FROM explanations e JOIN studies ON studies.id = e.study"
    " LEFT JOIN scores s ON s.study = e.study AND s.feature = e.feature AND s.explainer = e.explainer"
    " AND s.explainer_client = e.client AND s.is_null = 0"
    " LEFT JOIN scores u ON u.study = s.study AND u.feature = s.feature AND u.explainer = s.explainer"
    " AND u.explainer_client = s.explainer_client AND u.scorer = s.scorer AND u.client = s.client AND u.is_null = 1"
)
ORDERS = {
    "feature": "studies.name, e.feature, e.explainer, e.client, s.scorer, s.client",
    "score": "s.value IS NULL, s.value DESC, studies.name, e.feature, e.explainer, e.client, s.scorer, s.client",
}


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a study is; ``last`` is when something last happened (Unix seconds), ``event`` what was last noted."""

    explained: int
    failed: int
    skipped: int
    scores: int
    nulls: int
    last: float | None
    event: str | None


class QueryTables(Core):
    """What the studies of the store hold together."""

    def progress(self) -> Progress:
        """How far the study is."""
        tables = [
            "SELECT COUNT(*) FROM explanations WHERE study = ? AND failure IS NULL",
            "SELECT COUNT(*) FROM explanations WHERE study = ? AND failure IS NOT NULL",
            "SELECT COUNT(*) FROM skipped WHERE study = ?",
            "SELECT COUNT(*) FROM scores WHERE study = ? AND is_null = 0",
            "SELECT COUNT(*) FROM scores WHERE study = ? AND is_null = 1",
            "SELECT MAX(t) FROM (SELECT COALESCE(finished, started) AS t FROM attempts WHERE study = ?"
            " UNION ALL SELECT time FROM events WHERE study = ?) AS all_times",
            "SELECT kind FROM events WHERE study = ? ORDER BY id DESC LIMIT 1",
        ]
        sql = "SELECT " + ", ".join(f"({one})" for one in tables)
        return Progress(*self._rows(sql, [self._study] * sql.count("?"))[0])

    def studies(self) -> pa.Table:
        """One row per study: name, coder, series, subject, hook, layer, explanations, scores, skipped."""
        return self._table(
            "SELECT name, coder, series, subject, hook, layer,"
            " (SELECT COUNT(*) FROM explanations WHERE study = studies.id) AS explanations,"
            " (SELECT COUNT(*) FROM scores WHERE study = studies.id AND is_null = 0) AS scores,"
            " (SELECT COUNT(*) FROM skipped WHERE study = studies.id) AS skipped FROM studies ORDER BY name"
        )

    def query(
        self,
        *,
        text: str | Sequence[str] | None = None,
        min_score: float | None = None,
        max_score: float | None = None,
        order: str = "feature",
        limit: int | None = None,
        **equal: Any,
    ) -> pa.Table:
        """One row per explanation and score of it, over all studies of the store.

        Parameters
        ----------
        text : words that stand in the explanation, whatever their case; of several, all.
        min_score, max_score : bounds of the score, inclusive.
        order : ``"feature"``, or ``"score"`` for the best first.
        limit : rows at most.
        equal : ``study``, ``coder``, ``series``, ``subject``, ``hook``, ``layer``, ``feature``, ``explainer``,
            ``client``, ``scorer`` or ``judge``: a value, or a list of which one must fit. ``explainer`` and ``scorer``
            also fit without their version (``"detection"``).

        Returns
        -------
        Columns study, coder, series, subject, hook, layer, feature, explanation, explainer, client, scorer, judge,
        value, ci_low, ci_high, n, n_failed, null_value. The score's are null for an explanation without one.

        Raises
        ------
        UsageError : an unknown name.
        """
        if unknown := set(equal) - set(EXACT):
            raise UsageError(f"query by {', '.join(sorted(unknown))}: valid are {', '.join(EXACT)}")
        if order not in ORDERS:
            raise UsageError(f"order {order!r}: valid are {', '.join(ORDERS)}")
        wanted, values = ["e.failure IS NULL"], []
        for name, value in equal.items():
            if value is not None:
                clause, more = _fits(name, value)
                wanted.append(clause)
                values += more
        for word in [text] if isinstance(text, str) else text or ():
            wanted.append("LOWER(e.text) LIKE ? ESCAPE '!'")
            values.append("%" + _escaped(word.lower()) + "%")
        for bound, value in ((">=", min_score), ("<=", max_score)):
            if value is not None:
                wanted.append(f"s.value {bound} ?")
                values.append(float(value))
        cut = f" LIMIT {int(limit)}" if limit is not None else ""
        return self._table(f"{FOUND} WHERE {' AND '.join(wanted)} ORDER BY {ORDERS[order]}{cut}", values)


def _fits(name: str, value: Any) -> tuple[str, list[Any]]:
    """The condition that column ``name`` is ``value``, or one of several, with its values."""
    several = [value] if isinstance(value, (str, int)) else list(value)
    clauses, values = [], []
    for one in several:
        clauses.append(f"{EXACT[name]} = ?")
        values.append(one)
        if name in VERSIONED and "@" not in str(one):
            clauses.append(f"{EXACT[name]} LIKE ? ESCAPE '!'")
            values.append(_escaped(str(one)) + "@%")
    return f"({' OR '.join(clauses) or '1 = 0'})", values


def _escaped(word: str) -> str:
    """``word`` for a LIKE in which it means itself."""
    return word.replace("!", "!!").replace("%", "!%").replace("_", "!_")
