"""One thread that writes: whatever has queued up goes into one transaction, and callers wake after its commit."""

from __future__ import annotations

import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

Statement = Callable[[sqlite3.Connection], Any]


class Writer:
    """Runs statements on a connection of its own, in order, batched."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._queue: queue.SimpleQueue[tuple[Statement, Future[Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="autointerp-store", daemon=True)
        self._thread.start()

    def submit(self, statement: Statement) -> Future[Any]:
        """Queue ``statement``; the future is resolved after the commit."""
        future: Future[Any] = Future()
        self._queue.put((statement, future))
        return future

    def close(self) -> None:
        """Write what is queued, then stop."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()

    def _work(self) -> None:
        while (first := self._queue.get()) is not None:
            batch = [first]
            stop = False
            while not self._queue.empty():
                item = self._queue.get()
                if item is None:
                    stop = True
                    break
                batch.append(item)
            self._commit(batch)
            if stop:
                return

    def _commit(self, batch: list[tuple[Statement, Future[Any]]]) -> None:
        done = []
        try:
            self._db.execute("BEGIN IMMEDIATE")
            for statement, future in batch:
                done.append((future, statement(self._db)))
            self._db.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - every waiter must hear of it; the thread must live on
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            for _, future in batch:
                future.set_exception(error)
            return
        for future, value in done:
            future.set_result(value)
