"""What the tests of the clients share: time that does not pass, and requests."""

from __future__ import annotations

import asyncio
import heapq
import os
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from autointerp.records import Message, Request

T = TypeVar("T")
collect_ignore = [] if "AUTOINTERP_TEST_VLLM" in os.environ else ["test_vllm_peer.py"]  # `make test-vllm` runs it


class VirtualTime:
    """A clock that jumps to the next sleeper when nothing else can go on."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        future = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.now + seconds, len(self.slept), future))
        await future

    async def run(self, work: Awaitable[T]) -> T:
        """Run ``work`` to its end, letting time jump."""
        task = asyncio.ensure_future(work)
        while not task.done():
            for _ in range(30):
                await asyncio.sleep(0)
            if not task.done() and self._sleepers:
                when, _, future = heapq.heappop(self._sleepers)
                self.now = max(self.now, when)
                if not future.done():
                    future.set_result(None)
        return await task


@pytest.fixture
def time() -> VirtualTime:
    """A fresh virtual clock."""
    return VirtualTime()


@pytest.fixture
def ask() -> Callable[..., Request]:
    """Make a request from its last message."""

    def make(text: str = "hello", **fields: object) -> Request:
        return Request((Message("system", "be brief"), Message("user", text)), **fields)  # type: ignore[arg-type]

    return make
