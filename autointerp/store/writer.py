"""One thread that writes: whatever has queued up goes into one transaction, and callers wake after its commit."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeAlias

from autointerp.store.database import Database, Statement

Waiter: TypeAlias = Future[Any] | asyncio.Future[Any]
Item: TypeAlias = tuple[Statement, Waiter]
MOST = 4096
"""Statements in one transaction at most."""
GATHER_S = 2e-3
"""Seconds for which an event loop gathers statements before it wakes the thread. Requests that are journalled together
are sent together, and their answers come together: far fewer wakes of the loop, the thread and the disk for a hundredth
of a short answer's time (``benchmarks/pipeline_rate.py``: a seventh of the CPU time)."""


class Writer:
    """Runs statements in order, batched, and ``beat`` every ``every_s`` seconds.

    A statement that fails is undone alone and only its caller hears of it; a commit that fails is heard by all.
    """

    def __init__(self, database: Database, beat: Statement, every_s: float) -> None:
        self._database, self._beat, self._every = database, beat, every_s
        self._items: deque[Item] = deque()
        self._bell: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._to_ring: set[asyncio.AbstractEventLoop] = set()
        self._thread = threading.Thread(target=self._work, name="autointerp-store", daemon=True)
        self._thread.start()

    def submit(self, statement: Statement) -> Future[Any]:
        """Queue ``statement``; the future is resolved after the commit."""
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()  # from here on nobody can take it back
        self._items.append((statement, future))
        self._bell.put(False)
        return future

    def run(self, statement: Statement) -> asyncio.Future[Any]:
        """:meth:`submit` from an event loop. Cancelling the future does not take ``statement`` back.

        The thread is woken once for all that the loop runs within :data:`GATHER_S`.
        """
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._items.append((statement, future))
        if loop not in self._to_ring:
            self._to_ring.add(loop)
            loop.call_later(GATHER_S, self._ring, loop)
        return future

    def close(self) -> None:
        """Write what is queued, then stop."""
        if self._thread.is_alive():
            self._bell.put(True)
            self._thread.join()

    def _ring(self, loop: asyncio.AbstractEventLoop) -> None:
        self._to_ring.discard(loop)
        self._bell.put(False)

    def _work(self) -> None:
        due, stop = time.monotonic() + self._every, False
        while not stop or self._items:
            stop = stop or self._wait(due)
            batch = [self._items.popleft() for _ in range(min(len(self._items), MOST))]
            if time.monotonic() >= due:
                batch.append((self._beat, Future()))
                due = time.monotonic() + self._every
            if batch:
                self._commit(batch)

    def _wait(self, due: float) -> bool:
        """Wait until there is something to do or it is ``due``; whether to stop."""
        with suppress(queue.Empty):
            return self._bell.get(timeout=0.0 if self._items else max(0.0, due - time.monotonic()))
        return False

    def _commit(self, batch: list[Item]) -> None:
        try:
            done = self._together(batch)
        except Exception as error:  # noqa: BLE001 - every waiter must hear of it; the thread must live on
            done = [error] * len(batch)
        plain = [self._database.plain(value) if isinstance(value, Exception) else value for value in done]
        _tell([waiter for _, waiter in batch], plain)

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


def _tell(waiters: Sequence[Waiter], values: Sequence[Any]) -> None:
    """Hand each its value or exception; an event loop is woken once for all of its own, which is what costs."""
    loops: dict[asyncio.AbstractEventLoop, list[tuple[Waiter, Any]]] = {}
    for waiter, value in zip(waiters, values, strict=True):
        if isinstance(waiter, asyncio.Future):
            loops.setdefault(waiter.get_loop(), []).append((waiter, value))
        else:
            _settle([(waiter, value)])
    for loop, settled in loops.items():
        with suppress(RuntimeError):  # it is closed: nobody waits any more
            loop.call_soon_threadsafe(_settle, settled)


def _settle(settled: Sequence[tuple[Waiter, Any]]) -> None:
    for waiter, value in settled:
        if waiter.done():  # its caller was cancelled
            continue
        if isinstance(value, Exception):
            waiter.set_exception(value)
        else:
            waiter.set_result(value)


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
