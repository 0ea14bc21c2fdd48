"""Requests gathered into a provider's batch jobs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from autointerp.clients.backend import Limits
from autointerp.clients.batch import Order, Waiting, Wire, custom_id
from autointerp.clients.batch_jobs import Jobs, out_of_reach, resolve
from autointerp.clients.journal import Journal
from autointerp.clients.spec import ModelSpec
from autointerp.records import NotSent, Outcome, Request

QUIET_S = 1.0
"""Seconds without a new request after which a batch is sent off."""


class Desk:
    """Gathers requests into jobs and sees the jobs through; lives in one event loop.

    Parameters
    ----------
    wire : the provider's batch API.
    spec, limits, key : as of the backend; ``key`` is cut out of messages.
    journal : where jobs, attempts and answers are written.
    before : Unix seconds; what was begun earlier is an earlier process's, and taken up.
    sleep, clock : replaced in tests; ``clock`` in seconds, of any zero.
    """

    def __init__(
        self,
        wire: Wire,
        spec: ModelSpec,
        limits: Limits,
        journal: Journal,
        *,
        free: bool = False,
        key: str | None = None,
        before: float | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wire, self._identity, self._sleep, self._clock = wire, spec.identity, sleep, clock
        self._jobs = Jobs(wire, spec, limits, journal, free=free, key=key, before=before, sleep=sleep)
        options = spec.transport_options()
        self._size = min(options.get("batch_size", wire.max_requests), wire.max_requests)
        self._window = options.get("window", 60.0)
        self._waiting: list[Waiting] = []
        self._bytes, self._arrivals = 0, 0
        self._gathering: asyncio.Task[None] | None = None

    async def ask(self, request: Request) -> Outcome:
        """Put ``request`` into the next job and wait for its answer."""
        key = request.key(self._identity)
        if (order := self._jobs.of(key)) is not None and order.trouble is not None:
            return NotSent("cancelled", out_of_reach(order))
        group, item = self._wire.item(custom_id(key), request)
        if self._waiting and self._bytes + len(item) > self._wire.max_bytes:
            self._send_off()
        waiting = Waiting(key, group, request, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._bytes += len(item) + 2
        self._arrivals += 1
        if len(self._waiting) >= self._size:
            self._send_off()
        elif self._gathering is None or self._gathering.done():
            self._gathering = self._jobs.start(self._gather())
        return await waiting.answer

    async def recover(self, key: str) -> None:
        """Wait for the job that ``key`` is in, if any; its answer is in the journal afterwards."""
        await self.load()
        order = self._jobs.of(key)
        if order is not None and order.task is not None:
            await asyncio.wait([order.task])

    async def load(self) -> None:
        """Take up the jobs that an earlier process left open; what it never submitted is written down as such."""
        await self._jobs.load()

    async def aclose(self) -> None:
        """Stop waiting; what was submitted stays at the provider, and its jobs stay open in the journal."""
        await self._jobs.aclose()
        for waiting in self._waiting:
            resolve(waiting, NotSent("cancelled", "the client was closed before the batch was submitted"))
        self._waiting.clear()

    async def _gather(self) -> None:
        """Send off what waits once nothing more comes in, or the window is over."""
        began, seen = self._clock(), -1
        while seen != self._arrivals and self._clock() - began < self._window:
            seen = self._arrivals
            await self._sleep(min(QUIET_S, self._window))
        self._gathering = None
        self._send_off()

    def _send_off(self) -> None:
        waiting, self._waiting, self._bytes = self._waiting, [], 0
        groups: dict[str, dict[str, Waiting]] = {}
        for one in waiting:
            if not one.answer.done():
                groups.setdefault(one.group, {})[one.key] = one
        for group, members in groups.items():
            order = Order(tuple(members), waiting=members, created=time.time())
            self._jobs.begin(order, group)
