"""One thread that writes: whatever has queued up goes into one transaction, and callers wake after its commit."""

from __future__ import annotations

import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from autointerp.errors import DiskFull

Statement = Callable[[sqlite3.Connection], Any]


class Writer:
    """Runs statements on a connection of its own, in order, batched.

    A statement that fails is undone alone and only its caller hears of it; a commit that fails is heard by all.
    """

    def __init__(self, db: sqlite3.Connection, folder: Path) -> None:
        self._db, self._folder = db, folder
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
            self._db.close()

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
        done: list[tuple[Future[Any], Any]] = []
        failed: list[tuple[Future[Any], Exception]] = []
        try:
            self._db.execute("BEGIN IMMEDIATE")
            for statement, future in batch:
                self._db.execute("SAVEPOINT one")
                try:
                    done.append((future, statement(self._db)))
                except Exception as error:  # its caller must hear of it
                    if not self._db.in_transaction:  # a full disk undoes the whole transaction
                        raise
                    self._db.execute("ROLLBACK TO one")
                    failed.append((future, error))
                self._db.execute("RELEASE one")
            self._db.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - every waiter must hear of it; the thread must live on
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            done, failed = [], [(future, error) for _, future in batch]
        for future, value in done:
            future.set_result(value)
        for future, problem in failed:
            future.set_exception(self._plain(problem))

    def _plain(self, error: Exception) -> Exception:
        if (
            isinstance(error, sqlite3.OperationalError)
            and getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
        ):
            return DiskFull(
                f"disk full in {self._folder}: what was finished is kept; free space, the same command continues"
            )
        return error
