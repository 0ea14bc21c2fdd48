"""One thread that writes: whatever has queued up goes into one transaction, and callers wake after its commit."""

from __future__ import annotations

import queue
import threading
import time
from concurrent.futures import Future
from typing import Any, TypeAlias

from autointerp.store.database import Database, Statement

Item: TypeAlias = tuple[Statement, Future[Any]]
MOST = 4096
"""Statements in one transaction at most."""


class Writer:
    """Runs statements in order, batched, and ``beat`` every ``every_s`` seconds.

    A statement that fails is undone alone and only its caller hears of it; a commit that fails is heard by all.
    """

    def __init__(self, database: Database, beat: Statement, every_s: float) -> None:
        self._database, self._beat, self._every = database, beat, every_s
        self._queue: queue.SimpleQueue[Item | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="autointerp-store", daemon=True)
        self._thread.start()

    def submit(self, statement: Statement) -> Future[Any]:
        """Queue ``statement``; the future is resolved after the commit."""
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()  # from here on nobody can take it back
        self._queue.put((statement, future))
        return future

    def close(self) -> None:
        """Write what is queued, then stop."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()

    def _work(self) -> None:
        due, stop = time.monotonic() + self._every, False
        while not stop:
            batch, stop = self._gather(due)
            if time.monotonic() >= due:
                batch.append((self._beat, Future()))
                due = time.monotonic() + self._every
            if batch:
                self._commit(batch)

    def _gather(self, due: float) -> tuple[list[Item], bool]:
        """What has queued up, waiting for something until ``due``; and whether to stop."""
        batch: list[Item] = []
        wait: float | None = max(0.0, due - time.monotonic())
        while len(batch) < MOST:
            try:
                item = self._queue.get(timeout=wait)
            except queue.Empty:
                break
            if item is None:
                return batch, True
            batch.append(item)
            wait = 0.0
        return batch, False

    def _commit(self, batch: list[Item]) -> None:
        try:
            done = self._together(batch)
        except Exception as error:  # noqa: BLE001 - every waiter must hear of it; the thread must live on
            done = [error] * len(batch)
        for (_, future), value in zip(batch, done, strict=True):
            if isinstance(value, Exception):
                future.set_exception(self._database.plain(value))
            else:
                future.set_result(value)

    def _together(self, batch: list[Item]) -> list[Any]:
        """Values of ``batch``, committed in one transaction; the exception in place of the value of one that failed."""
        db, alone = self._database, False
        while True:
            try:
                db.begin()
                values = [_alone(db, s) if alone else s(db) for s, _ in batch]
                db.commit()
                return values
            except Exception as error:
                db.rollback()
                if db.passing(error):
                    continue
                if alone:
                    raise
                alone = True  # one of them failed: each within a savepoint of its own, which costs more


def _alone(db: Database, statement: Statement) -> Any:
    """The value of ``statement``, or its exception after it was undone."""
    db.execute("SAVEPOINT one")
    try:
        value = statement(db)
    except Exception as error:  # noqa: BLE001 - its caller must hear of it
        try:
            db.execute("ROLLBACK TO one")
        except Exception:  # noqa: BLE001 - the whole transaction is gone: a full disk undoes it
            raise error from None
        value = error
    db.execute("RELEASE one")
    return value
