"""Connections that live as long as the event loop in which they were opened."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class PerLoop(Generic[T]):
    """A resource opened when first needed, once for each event loop.

    An event loop closes the asynchronous generators that it started (``loop.shutdown_asyncgens``, which ``asyncio.run``
    calls), so a script that never closes its client leaves nothing open, and may use the client in a second
    ``asyncio.run``.

    Parameters
    ----------
    open : an async generator function that yields the resource once, without waiting before that, and then closes it.
    """

    def __init__(self, open: Callable[[], AsyncGenerator[T, None]]) -> None:
        self._open = open
        self._loop: asyncio.AbstractEventLoop | None = None
        self._generator: AsyncGenerator[T, None] | None = None
        self._value: T | None = None

    async def get(self) -> T:
        """The resource of the running loop."""
        loop = asyncio.get_running_loop()
        if self._value is None or self._loop is not loop:
            self._loop, self._generator = loop, self._open()
            self._value = await anext(self._generator)
        return self._value

    async def aclose(self) -> None:
        """Close the resource; the next :meth:`get` opens another."""
        generator, self._generator, self._value = self._generator, None, None
        if generator is not None and self._loop is asyncio.get_running_loop():
            await generator.aclose()
