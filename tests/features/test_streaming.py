"""Order, bounds and endings of work that is done ahead; threads are held at events, so no time is waited."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autointerp.features.streaming import work_ahead

LIMIT_S = 20.0
"""Only a test that fails waits so long."""


class Gate:
    """Makes items, and stands still at one of them until it is opened."""

    def __init__(self, at: int | None = None) -> None:
        self.at, self.begun, self.ended = at, [], []  # type: ignore[var-annotated]
        self.reached, self.opened = threading.Event(), threading.Event()

    def __call__(self, item: int) -> int:
        self.begun.append(item)
        if item == self.at:
            self.reached.set()
            assert self.opened.wait(LIMIT_S)
        self.ended.append(item)
        return item * item

    async def wait_until_reached(self) -> None:
        assert await asyncio.to_thread(self.reached.wait, LIMIT_S)


def workers() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("work-ahead")]


@given(st.integers(0, 30), st.integers(1, 40))
def test_everything_comes_in_order_and_no_more_is_begun_than_allowed(n: int, ahead: int) -> None:
    async def whole() -> list[int]:
        make, found = Gate(), []
        async for result in work_ahead(make, range(n), ahead):
            found.append(result)
            assert len(make.begun) <= len(found) + ahead
            await asyncio.sleep(0)
        return found

    assert asyncio.run(whole()) == [i * i for i in range(n)]
    assert not workers()


async def test_it_does_go_ahead_while_an_item_is_in_use_and_then_stops() -> None:
    make = Gate(at=4)
    async with aclosing(work_ahead(make, range(100), 4)) as results:
        assert await anext(results) == 0
        await make.wait_until_reached()  # 1 … 4 are made or under way although nobody asked
        make.opened.set()
        assert await anext(results) == 1
        assert len(make.begun) <= 6


async def test_the_loop_runs_on_while_an_item_is_made() -> None:
    make = Gate(at=0)
    async with aclosing(work_ahead(make, range(3), 2)) as results:
        first = asyncio.create_task(anext(results))  # type: ignore[arg-type]
        await make.wait_until_reached()
        assert not first.done()
        make.opened.set()
        assert await first == 0


async def test_what_is_raised_comes_in_its_turn_and_ends_it() -> None:
    def make(item: int) -> int:
        if item == 2:
            raise ValueError("two")
        return item

    results = work_ahead(make, range(10), 5)
    assert [await anext(results), await anext(results)] == [0, 1]
    with pytest.raises(ValueError, match="two"):
        await anext(results)
    assert not workers()


async def test_leaving_waits_for_what_is_under_way_and_begins_nothing_more() -> None:
    make = Gate(at=1)
    results = work_ahead(make, range(100), 8)
    assert await anext(results) == 0
    await make.wait_until_reached()
    leaving = asyncio.create_task(results.aclose())  # type: ignore[arg-type]
    await asyncio.sleep(0)
    assert not leaving.done()
    make.opened.set()
    await leaving
    assert make.begun == make.ended == [0, 1]
    assert not workers()


@pytest.mark.parametrize("times", [1, 3])
async def test_cancellation_waits_too_however_often_it_comes(times: int) -> None:
    make = Gate(at=1)

    async def consume(results: AsyncGenerator[int]) -> None:
        async with aclosing(results):
            async for _ in results:
                pass

    task = asyncio.create_task(consume(work_ahead(make, range(100), 8)))
    await make.wait_until_reached()
    for _ in range(times):
        task.cancel()
        for _ in range(5):
            await asyncio.sleep(0)
        assert not task.done()
    make.opened.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert make.begun == make.ended == [0, 1]
    assert not workers()
