"""The shared beginning of prompts: sent once alone, so that the provider's cache has it when the others come.

A provider that is told to cache a beginning has it only once the first answer to it has begun: requests sent side by
side would all pay for writing it, and none would read it.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable

from autointerp.clients.backend import Send
from autointerp.clients.prices import estimate_tokens
from autointerp.records import Outcome, Request, Response

KEPT_S = 240.0
"""Seconds for which a beginning is taken to be in the provider's cache after its last use; Anthropic keeps it 300."""


class Leader:
    """Lets the first request with a beginning of at least ``least`` tokens go alone, the others after its answer.

    Parameters
    ----------
    inner : the layer below. least : tokens, by the upper estimate; below it a beginning is not cached.
    clock : replaced in tests.
    """

    def __init__(self, inner: Send, least: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._inner, self._least, self._clock = inner, least, clock
        self._used: dict[str, float] = {}
        self._leading: dict[str, asyncio.Future[None]] = {}

    async def __call__(self, request: Request, key: str) -> Outcome:
        """Send ``request``, if need be after the one that leads."""
        text = request.beginning
        if estimate_tokens(text) < self._least:
            return await self._inner(request, key)
        prefix = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        while (leader := self._leading.get(prefix)) is not None:
            await asyncio.shield(leader)  # if it failed, the next one leads
        if self._clock() - self._used.get(prefix, -KEPT_S) >= KEPT_S:
            return await self._lead(request, key, prefix)
        outcome = await self._inner(request, key)
        self._used[prefix] = self._clock()
        return outcome

    async def _lead(self, request: Request, key: str, prefix: str) -> Outcome:
        done = self._leading[prefix] = asyncio.get_running_loop().create_future()
        try:
            outcome = await self._inner(request, key)
            if isinstance(outcome, Response):
                self._used[prefix] = self._clock()
            return outcome
        finally:
            del self._leading[prefix]
            done.set_result(None)
