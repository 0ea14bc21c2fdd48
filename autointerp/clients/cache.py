"""Answers that are already known, and requests that are already under way."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import partial

from autointerp.clients.backend import Send
from autointerp.clients.journal import Journal
from autointerp.records import Failure, Outcome, Request, Response


@dataclass(slots=True, eq=False)
class Flight:
    """A request under way, with those who wait for it."""

    task: asyncio.Task[Outcome]
    waiting: list[asyncio.Future[None]] = field(default_factory=list)
    """Resolved when it has landed; not the task itself, which must outlive the first who is cancelled."""
    claimed: bool = False
    """Someone has the answer already; the others get it as read from the cache, so that it is counted once."""


class Cache:
    """Answers from the journal, or sends each distinct request once however many ask for it.

    Parameters
    ----------
    inner : the layer below.
    journal : holds the answers.
    identity : what else the answer depends on (:attr:`ModelSpec.identity` and the backend's version).
    with_task : whether the backend answers from ``Request.task``.
    """

    def __init__(self, inner: Send, journal: Journal, identity: str, *, with_task: bool) -> None:
        self._inner, self._journal, self._identity, self._with_task = inner, journal, identity, with_task
        self._flights: dict[str, Flight] = {}
        self.hits = 0

    def key(self, request: Request) -> str:
        """The key under which the answer to ``request`` is stored."""
        return request.key(self._identity, with_task=self._with_task)

    async def generate(self, request: Request) -> Outcome:
        """Answer ``request``. Cancelling one of several who wait does not cancel it; cancelling the last does."""
        key = self.key(request)
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = Flight(asyncio.create_task(self._fetch(request, key)))
            flight.task.add_done_callback(partial(self._land, key, flight))
        landed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        flight.waiting.append(landed)
        try:
            await landed
        except asyncio.CancelledError:
            flight.waiting.remove(landed)
            if not flight.waiting and not flight.task.done():
                await self._cancel(key, flight)
            raise
        if flight.task.cancelled():
            return Failure("cancelled", "the client was closed while the request was in flight")
        outcome = flight.task.result()
        if flight.claimed and isinstance(outcome, Response):
            self.hits += 1
            return outcome.from_cache()
        flight.claimed = True
        return outcome

    async def _fetch(self, request: Request, key: str) -> Outcome:
        known = await self._journal.lookup(key)
        if known is not None:
            self.hits += 1
            return known.from_cache()
        return await self._inner(request, key)

    def _land(self, key: str, flight: Flight, task: asyncio.Task[Outcome]) -> None:
        self._forget(key, flight)
        if not task.cancelled():
            task.exception()  # seen, so that asyncio does not complain about it if nobody is left to raise it to
        for landed in flight.waiting:
            if not landed.done():
                landed.set_result(None)

    def _forget(self, key: str, flight: Flight) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]

    async def _cancel(self, key: str, flight: Flight) -> None:
        self._forget(key, flight)
        flight.task.cancel()
        await asyncio.wait([flight.task])

    async def aclose(self) -> None:
        """Cancel what is still under way and wait until it is written down."""
        await asyncio.gather(*(self._cancel(key, flight) for key, flight in list(self._flights.items())))
