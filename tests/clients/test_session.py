from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from autointerp.clients.session import PerLoop


def counted() -> tuple[PerLoop[int], list[str]]:
    """A resource that notes when it is opened and closed."""
    events: list[str] = []

    async def resource() -> AsyncGenerator[int, None]:
        events.append("open")
        try:
            yield len(events)
        finally:
            await asyncio.sleep(0)
            events.append("close")

    return PerLoop(resource), events


def test_one_for_each_loop_closed_with_it() -> None:
    shared, events = counted()

    async def use() -> None:
        first, second = await asyncio.gather(shared.get(), shared.get())
        assert first == second

    asyncio.run(use())
    assert events == ["open", "close"]
    asyncio.run(use())
    assert events == ["open", "close"] * 2


async def test_closed_and_opened_again() -> None:
    shared, events = counted()
    await shared.aclose()
    await shared.get()
    await shared.aclose()
    assert events == ["open", "close"]
    await shared.get()
    assert events == ["open", "close", "open"]
    await shared.aclose()
    await shared.aclose()
    assert events == ["open", "close"] * 2
