"""Results made again: failed ones marked, and those that another reading of the stored replies has changed."""

from __future__ import annotations

from dataclasses import dataclass

from autointerp.records import Explanation
from autointerp.store.core import Core, as_json, text
from autointerp.store.database import Database


@dataclass(frozen=True, slots=True)
class Made:
    """Who made a score: the feature, the explainer, the scorer, and through which clients."""

    feature: int
    explainer: str
    explainer_client: str
    scorer: str
    client: str
    null: bool
    partner: int | None


class RepairTables(Core):
    """What is to be made again."""

    def failed_explanations(self) -> list[tuple[int, str, str]]:
        """(feature, explainer, client) of the explanations that failed."""
        sql = (
            "SELECT feature, explainer, client FROM explanations WHERE study = ? AND failure IS NOT NULL"
            " ORDER BY feature, explainer, client"
        )
        return [(row[0], row[1], row[2]) for row in self._rows(sql, (self._study,))]

    def made_scores(self, *, failed: bool = False) -> list[Made]:
        """Who made each score; only those with failed trials, or without a value, if ``failed``."""
        sql = (
            "SELECT feature, explainer, explainer_client, scorer, client, is_null, partner FROM scores WHERE study = ?"
            + (" AND (n_failed > 0 OR value IS NULL)" if failed else "")
            + " ORDER BY feature, explainer, explainer_client, scorer, client, is_null"
        )
        rows = self._rows(sql, (self._study,))
        return [Made(f, e, by, s, client, bool(null), partner) for f, e, by, s, client, null, partner in rows]

    def mark_failed(self) -> tuple[int, int]:
        """Have the next run make failed results again; they stay in the tables until then.

        Returns
        -------
        How many explanations, and how many scores (with failed trials, or without a value).
        """
        explanations = "UPDATE explanations SET is_spoilt = 1 WHERE study = ? AND failure IS NOT NULL"
        scores = "UPDATE scores SET is_spoilt = 1 WHERE study = ? AND (n_failed > 0 OR value IS NULL)"

        def mark(db: Database) -> tuple[int, int]:
            return db.execute(explanations, (self._study,)).rowcount, db.execute(scores, (self._study,)).rowcount

        return self._submit(mark).result()

    def replace_explanation(self, explanation: Explanation, client: str) -> int:
        """Another reading of the stored reply; scores of the text that it replaces are dropped. How many there were."""
        e, study = explanation, self._study
        row = (text(e.text), text(e.model), None if e.failure is None else text(e.failure), as_json(dict(e.details)))
        whose = (study, e.explainer, client, e.feature, e.feature)
        old = (
            "study = ? AND explainer = ? AND explainer_client = ?"
            " AND ((feature = ? AND is_null = 0) OR (partner = ? AND is_null = 1))"
        )

        def replace(db: Database) -> int:
            db.execute(
                "UPDATE explanations SET text = ?, model = ?, failure = ?, details = ?, is_spoilt = 0"
                " WHERE study = ? AND feature = ? AND explainer = ? AND client = ?",
                (*row, study, e.feature, e.explainer, client),
            )
            db.execute(f"DELETE FROM trials WHERE score IN (SELECT id FROM scores WHERE {old})", whose)
            return db.execute(f"DELETE FROM scores WHERE {old}", whose).rowcount

        return self._submit(replace).result()
