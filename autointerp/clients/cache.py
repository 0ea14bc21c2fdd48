"""Answers that are already known, and requests that are already under way."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from autointerp.clients.backend import Send
from autointerp.clients.journal import Journal
from autointerp.records import Failure, Outcome, Request, Response


@dataclass(slots=True, eq=False)
class Waiter:
    """Who waits until all of ``left`` requests have landed: woken once, not for each of them."""

    left: int
    done: asyncio.Future[None]

    def landed(self) -> None:
        """One of them has."""
        self.left -= 1
        if not self.left and not self.done.done():
            self.done.set_result(None)


@dataclass(slots=True, eq=False)
class Flight:
    """A request under way, with those who wait for it."""

    key: str
    task: asyncio.Task[Outcome]
    waiting: list[Waiter] = field(default_factory=list)
    """They do not wait for the task itself, which must outlive the first who is cancelled."""
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

    async def generate_all(self, requests: Sequence[Request]) -> list[Outcome]:
        """Answer ``requests``, all at once; return or raise when all of them have landed.

        Cancelling one of several who wait for a request does not cancel it; cancelling the last does.
        """
        if not requests:
            return []
        waiter = Waiter(len(requests), asyncio.get_running_loop().create_future())
        joined = [self._join(request, waiter) for request in requests]
        try:
            await waiter.done
        except asyncio.CancelledError:
            await asyncio.gather(*(self._leave(flight, waiter) for flight in joined))
            raise
        return [self._taken(flight) for flight in joined]

    def _join(self, request: Request, waiter: Waiter) -> Flight:
        """The flight of ``request``, begun if nobody waits for it yet; ``waiter`` hears when it has landed."""
        key = self.key(request)
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = Flight(key, asyncio.create_task(self._fetch(request, key)))
            flight.task.add_done_callback(partial(self._land, flight))
        flight.waiting.append(waiter)
        return flight

    async def _leave(self, flight: Flight, waiter: Waiter) -> None:
        flight.waiting.remove(waiter)
        if not flight.waiting and not flight.task.done():
            await self._cancel(flight)

    def _taken(self, flight: Flight) -> Outcome:
        """What came of a flight that landed."""
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

    def _land(self, flight: Flight, task: asyncio.Task[Outcome]) -> None:
        self._forget(flight)
        if not task.cancelled():
            task.exception()  # seen, so that asyncio does not complain about it if nobody is left to raise it to
        for waiter in flight.waiting:
            waiter.landed()

    def _forget(self, flight: Flight) -> None:
        if self._flights.get(flight.key) is flight:
            del self._flights[flight.key]

    async def _cancel(self, flight: Flight) -> None:
        self._forget(flight)
        flight.task.cancel()
        await asyncio.wait([flight.task])

    async def aclose(self) -> None:
        """Cancel what is still under way and wait until it is written down."""
        await asyncio.gather(*(self._cancel(flight) for flight in list(self._flights.values())))
