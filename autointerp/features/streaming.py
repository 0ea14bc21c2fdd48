"""Working ahead in a thread: what an event loop waits for is made beside it, in order and only so far ahead."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")


async def work_ahead(make: Callable[[T], R], items: Iterable[T], ahead: int) -> AsyncGenerator[R]:
    """Yield ``make(item)`` for each item in order; a single thread makes up to ``ahead`` of them before they are taken.

    What ``make`` raises is raised where its result would have come. When the generator is closed, after an error or a
    cancellation too, nothing more is begun, and what the thread is at is waited for: nothing outlives it.
    """
    thread, todo = ThreadPoolExecutor(1, "work-ahead"), iter(items)
    made: deque[Future[R]] = deque()
    try:
        made.extend(thread.submit(make, item) for item in islice(todo, ahead))
        while made:
            result = await asyncio.wrap_future(made[0])
            made.popleft()
            made.extend(thread.submit(make, item) for item in islice(todo, 1))
            yield result
    finally:
        for future in made:
            future.cancel()  # has no effect on the one that the thread is at
        try:
            await _in_spite_of_cancellation(asyncio.gather(*map(asyncio.wrap_future, made), return_exceptions=True))
        finally:
            thread.shutdown()  # idle by now


async def _in_spite_of_cancellation(work: asyncio.Future[Any]) -> None:
    """Wait until ``work`` is done; a cancellation that comes meanwhile is raised afterwards."""
    cancelled: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
