"""How many requests are in flight, and how fast they start: a limit that shrinks when the provider complains.

Additive increase, multiplicative decrease as in TCP (Chiu & Jain 1989), with one decrease per episode: a complaint
about a request that started before the last decrease says nothing new.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable

from autointerp.clients.backend import Limits, Send
from autointerp.records import Failure, Outcome, Request, Response

DECREASE = 0.7
SATURATED = 0.8
COMPLAINTS = frozenset({"rate_limit", "overloaded"})


class Limiter:
    """Lets requests through to ``inner``, within the limits.

    Parameters
    ----------
    inner : the layer below.
    limits : ``max_in_flight`` and ``requests_per_minute`` are used.
    sleep, clock : replaced in tests.
    """

    def __init__(
        self,
        inner: Send,
        limits: Limits,
        *,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._inner, self._sleep, self._clock = inner, sleep, clock
        self._top = float(limits.max_in_flight)
        self._interval = 60.0 / limits.requests_per_minute if limits.requests_per_minute else 0.0
        self.limit = self._top
        self.in_flight = 0
        self._episode = 0
        self._not_before = 0.0
        self._waiters: deque[asyncio.Future[None]] = deque()

    async def __call__(self, request: Request, key: str) -> Outcome:
        """Send ``request`` when there is room for it."""
        await self._acquire()
        try:
            await self._pace()
            episode, beside = self._episode, self.in_flight
            outcome = await self._inner(request, key)
            self._learn(outcome, episode, max(beside, self.in_flight) >= SATURATED * int(self.limit))
            return outcome
        finally:
            self.in_flight -= 1
            self._wake()

    async def _pace(self) -> None:
        """Wait for this request's turn: after a pause that the provider asked for, and at even intervals."""
        while (wait := self._not_before - self._clock()) > 0:
            if self._interval:
                self._not_before += self._interval
                await self._sleep(wait)
                return
            await self._sleep(wait)
        if self._interval:
            self._not_before = self._clock() + self._interval

    def _learn(self, outcome: Outcome, episode: int, saturated: bool) -> None:
        if isinstance(outcome, Failure) and outcome.kind in COMPLAINTS:
            if outcome.retry_after:
                self._not_before = max(self._not_before, self._clock() + outcome.retry_after)
            if episode == self._episode:
                self._episode += 1
                self.limit = max(1.0, self.limit * DECREASE)
        elif isinstance(outcome, Response) and saturated and episode == self._episode:
            self.limit = min(self._top, self.limit + 1.0 / self.limit)

    async def _acquire(self) -> None:
        if self.in_flight < int(self.limit) and not self._waiters:
            self.in_flight += 1
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._wake()
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():  # the place was granted in the same turn: pass it on
                self.in_flight -= 1
                self._wake()
            raise

    def _wake(self) -> None:
        while self._waiters and self.in_flight < int(self.limit):
            waiter = self._waiters.popleft()
            if not waiter.done():
                self.in_flight += 1
                waiter.set_result(None)
