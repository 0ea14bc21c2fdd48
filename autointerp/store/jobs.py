"""Batch jobs: noted before they are submitted, adopted by whoever runs the study after a kill."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from autointerp.store.core import LEASE_S, Core, as_json
from autointerp.store.database import Database

OPEN = ("begun", "submitted")
"""States of a job whose answers may still come."""


@dataclass(frozen=True, slots=True)
class Job:
    """A batch of requests handed to a provider at once.

    Attributes
    ----------
    id : its number in the journal.
    spec : model string of the client that submitted it.
    external : the provider's id; None while it is not known (about to be submitted, or cut off there).
    state : ``"begun"``, ``"submitted"``, or how it was settled.
    created : Unix seconds.
    keys : the requests' keys, in the order of submission.
    """

    id: int
    spec: str
    external: str | None
    state: str
    created: float
    keys: tuple[str, ...]


class JobTables(Core):
    """Batch jobs; see :class:`~autointerp.clients.journal.Journal`."""

    async def begin_job(self, spec: str, keys: Sequence[str]) -> int:
        """Note a batch job before it is submitted; durable when it returns its number."""
        sql = (
            "INSERT INTO jobs (study, worker, spec, state, created, keys) VALUES (?, ?, ?, 'begun', ?, ?) RETURNING id"
        )
        row = (self._study, self._worker, spec, time.time(), as_json(list(keys)))
        return await self._do(lambda db: db.execute(sql, row).fetchall()[0][0])

    async def submitted_job(self, job: int, external: str) -> None:
        """Note the provider's id of a job, durable on return."""
        sql = "UPDATE jobs SET external = ?, state = 'submitted' WHERE id = ?"
        await self._do(self._execute(sql, (external, job)))

    async def settle_job(self, job: int, state: str) -> None:
        """Close a job once all its answers are journalled, or none will come.

        Attempts at its requests that a dead process left open were paid with it: they are closed at no cost.
        """
        await self._do(lambda db: _settle(db, job, state, self._worker))

    async def open_attempts(self, spec: str, before: float | None = None) -> dict[str, int]:
        """Request key to the newest attempt of ``spec`` whose end nobody saw: in flight in no living process but this.

        Parameters
        ----------
        before : Unix seconds; only attempts begun earlier.
        """
        sql = (
            "SELECT key, MAX(id) FROM attempts WHERE spec = ? AND (outcome IS NULL OR outcome = 'cancelled')"
            " AND cost_usd IS NULL AND started < ? AND (worker IS NULL OR worker = ?"
            " OR worker IN (SELECT id FROM workers WHERE seen <= unixnow() - ?)) GROUP BY key"
        )
        return dict(
            map(
                tuple, await self._rows_soon(sql, (spec, math.inf if before is None else before, self._worker, LEASE_S))
            )
        )

    async def open_jobs(self, spec: str) -> list[Job]:
        """Jobs of ``spec`` that are not settled, oldest first; those of another living process are left out."""
        sql = (
            "SELECT jobs.id, spec, external, state, created, keys FROM jobs JOIN workers ON workers.id = worker"
            f" WHERE spec = ? AND state IN {OPEN} AND (worker = ? OR seen <= unixnow() - ?) ORDER BY jobs.id"
        )
        rows = await self._rows_soon(sql, (spec, self._worker, LEASE_S))
        return [Job(n, of, id_, state, created, tuple(orjson.loads(keys))) for n, of, id_, state, created, keys in rows]


def _settle(db: Database, job: int, state: str, worker: int) -> None:
    rows = db.execute("UPDATE jobs SET state = ? WHERE id = ? RETURNING keys", (state, job)).fetchall()
    sql = (
        "UPDATE attempts SET finished = ?, outcome = 'adopted', cost_usd = 0 WHERE key = ? AND outcome IS NULL"
        " AND worker <> ? AND worker IN (SELECT id FROM workers WHERE seen <= unixnow() - ?)"
    )
    for (keys,) in rows:
        db.executemany(sql, [(time.time(), key, worker, LEASE_S) for key in orjson.loads(keys)])
