"""Who works on which features: claims of living workers, by the database's clock."""

from __future__ import annotations

from collections.abc import Sequence

from autointerp.store.core import LEASE_S, Core
from autointerp.store.database import Database

CLAIM_WAIT_S = 5.0
"""Seconds after which to ask again for what others hold."""


class ClaimTables(Core):
    """Claims on features; those of a worker that has been silent for ``LEASE_S`` are anybody's.

    A claim says who is at it, a stored result that it is done: look for results after claiming, and release when they
    are written.
    """

    CLAIM_WAIT_S = CLAIM_WAIT_S

    def claim(self, features: Sequence[int], work: str = "") -> bool:
        """Claim all of ``features``, or none: False when another living worker holds one of them.

        Parameters
        ----------
        work : what is to be done with them (who explains, who scores); claims for other work do not collide.
        """
        granted = self._submit(lambda db: self._claim(db, features, work)).result()
        if granted:
            self._claimed.update((work, feature) for feature in features)
        return granted

    def release(self, features: Sequence[int], work: str = "") -> None:
        """Let go of ``features``; returns once everything written before is durable, and so visible to who claims."""
        self._claimed.difference_update((work, feature) for feature in features)
        sql = "DELETE FROM claims WHERE study = ? AND work = ? AND feature = ? AND worker = ?"
        rows = [(self._study, work, feature, self._worker) for feature in features]
        self._submit(lambda db: db.executemany(sql, rows) and None).result()

    def workers(self) -> list[tuple[str, int]]:
        """(host:process, features claimed) of the living workers of the study, this one included."""
        sql = (
            "SELECT name, COUNT(feature) FROM workers LEFT JOIN claims ON worker = id WHERE workers.study = ?"
            " AND seen > unixnow() - ? GROUP BY id, name ORDER BY id"
        )
        return [(name, count) for name, count in self._rows(sql, (self._study, LEASE_S))]

    def _claim(self, db: Database, features: Sequence[int], work: str) -> bool:
        db.execute("UPDATE studies SET name = name WHERE id = ?", (self._study,))  # one claimant at a time
        marks = ", ".join("?" * len(features))
        held = (
            "SELECT 1 FROM claims JOIN workers ON workers.id = worker WHERE claims.study = ? AND work = ?"
            f" AND feature IN ({marks}) AND worker <> ? AND seen > unixnow() - ? LIMIT 1"
        )
        values = (self._study, work, *features, self._worker, LEASE_S)
        if db.execute(held, values).fetchall():
            return False
        sql = (
            "INSERT INTO claims (study, work, feature, worker) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (study, work, feature) DO UPDATE SET worker = excluded.worker"
        )
        db.executemany(sql, [(self._study, work, feature, self._worker) for feature in features])
        return True
