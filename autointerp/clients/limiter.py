"""The queue in front of a model: how many requests are in flight, how fast they start, and pauses for everyone.

One :class:`Flow` for each (provider, account, model), whoever asks: explainer and scorers on one model share it.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias
from weakref import WeakValueDictionary

from autointerp.clients.backend import Limits
from autointerp.clients.breaker import Breaker
from autointerp.clients.concurrency import Concurrency
from autointerp.clients.hints import quotas
from autointerp.clients.rates import Rates
from autointerp.records import Failure, NotSent, Outcome, Request, Response

COMPLAINTS = frozenset({"rate_limit", "overloaded"})
TROUBLES = frozenset({"server", "connection", "timeout"})
START = 16
"""Requests in flight at the start of slow start."""
TICK_S = 1e-3
"""The shortest wait; what is due within it is let through together."""
PAUSE_TURNS = 4
"""After a refusal that does not say when to try again everyone pauses for ``limits.backoff_s``, but no longer than so
many turns at a rate that is known; the pause doubles while no answer comes in between."""


@dataclass(slots=True)
class Ticket:
    """One request in the queue or in flight; ``turn`` is resolved when it may go, or with why it never may.

    ``gone`` is set when it has left.
    """

    request: Request
    turn: asyncio.Future[Failure | None] | None = None
    gone: bool = False
    amounts: dict[str, float] = field(default_factory=dict)
    version: int = -1
    episode: int = 0
    beside: int = 0


class Flow:
    """Admits requests in the order in which they came, as soon as every limit has room for the first of them.

    Parameters
    ----------
    limits : of the first client; :meth:`join` adds those of others.
    name : of the model, for messages.
    slow : begin with slow start; else at the top, for a server of one's own.
    sleep, clock : replaced in tests.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        name: str = "the provider",
        slow: bool = True,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits, self._sleep, self._clock, self._slow = limits, sleep, clock, slow
        self.concurrency = Concurrency(limits.max_in_flight, START if slow else limits.max_in_flight)
        self.rates = Rates(limits.requests_per_minute, clock())
        self.breaker = Breaker(name, clock)
        self.in_flight = 0
        self._patience = limits.deadline_s
        self._not_before = 0.0
        self._pauses = 0
        self._waiting: deque[Ticket] = deque()
        self._alarm: asyncio.Task[None] | None = None
        self._alarm_at = 0.0

    def join(self, limits: Limits) -> None:
        """Another client shares this: the larger of the limits in flight holds for all, the smaller rate."""
        self.concurrency.raise_top(limits.max_in_flight, at_once=not self._slow)
        self.rates.limit(limits.requests_per_minute, self._clock())
        self._patience = max(self._patience, limits.deadline_s)

    def observe(self, headers: Mapping[str, str]) -> None:
        """Learn from the headers of any response."""
        if found := quotas(headers):
            self.rates.learn(found, self._clock())

    async def enter(self, request: Request) -> Ticket | Failure:
        """Wait for the turn of ``request``; a failure if the provider wants us to wait longer than anyone will."""
        if (wait := self._not_before - self._clock()) > self._patience:
            return _too_long(wait)
        ticket = Ticket(request)
        if not self._waiting and self._admit(ticket):
            return ticket
        ticket.turn = asyncio.get_running_loop().create_future()
        self._waiting.append(ticket)
        self._wake()
        try:
            refusal = await ticket.turn
        except asyncio.CancelledError:
            if not ticket.turn.cancelled() and ticket.turn.result() is None:  # admitted in the same turn: pass it on
                self.leave(ticket, NotSent("cancelled", ""))
            self._wake()  # what follows a large request in the queue may be small
            raise
        return ticket if refusal is None else refusal

    def leave(self, ticket: Ticket, outcome: Outcome | None) -> None:
        """An admitted request is over, None when nothing is known of it; saying so again changes nothing."""
        if ticket.gone:
            return
        ticket.gone = True
        self.in_flight -= 1
        now = self._clock()
        if isinstance(outcome, Response):
            self._pauses = 0
            self.concurrency.answered(ticket.episode, max(ticket.beside, self.in_flight + 1), now)
            self.rates.answered(now)
            if outcome.usage is not None:
                self.rates.settle(ticket.request, ticket.amounts, outcome.usage)
        elif isinstance(outcome, NotSent):
            self.rates.give_back(ticket.amounts)
        if isinstance(outcome, Failure):
            if outcome.kind in COMPLAINTS:
                self._refused(ticket, outcome, now)
            elif outcome.kind in TROUBLES:
                self.concurrency.troubled(now)
        self._wake()

    def _refused(self, ticket: Ticket, failure: Failure, now: float) -> None:
        """Slow down, and let nobody start before the provider wishes."""
        fresh = ticket.episode == self.concurrency.episode
        self.concurrency.refused(ticket.episode, now, cut=failure.kind == "overloaded" or not self.rates.bind(now))
        self.rates.refused(now)
        wait = failure.retry_after
        if wait is None and fresh and now >= self._not_before:
            pause = min(self._limits.backoff_s, PAUSE_TURNS * self.rates.interval)
            wait = min(self._limits.backoff_cap_s, pause * 2.0**self._pauses)
            self._pauses = min(self._pauses + 1, 30)
        self._not_before = max(self._not_before, now + (wait or 0.0))
        if self._not_before - now > self._patience:
            while self._waiting:
                turn = self._waiting.popleft().turn
                if turn is not None and not turn.done():
                    turn.set_result(_too_long(self._not_before - now))

    def _wake(self) -> None:
        while self._waiting:
            ticket = self._waiting[0]
            assert ticket.turn is not None
            if not ticket.turn.done():
                if not self._admit(ticket):
                    return
                ticket.turn.set_result(None)
            self._waiting.popleft()

    def _admit(self, ticket: Ticket) -> bool:
        """Let ``ticket`` go if there is room; else see to it that someone looks again."""
        if self.in_flight >= int(self.concurrency.limit):
            return False  # whoever leaves looks again
        if ticket.version != self.rates.version:
            ticket.amounts, ticket.version = self.rates.amounts(ticket.request), self.rates.version
        now = self._clock()
        if (wait := max(self._not_before - now, self.rates.wait(ticket.amounts, now))) > 0:
            self._look_again(now, wait)
            return False
        self.rates.take(ticket.amounts, now)
        self.in_flight += 1
        ticket.episode, ticket.beside = self.concurrency.episode, self.in_flight
        return True

    def _look_again(self, now: float, wait: float) -> None:
        alarm, wait = self._alarm, max(wait, TICK_S)
        if alarm is not None and not alarm.done() and alarm.get_loop() is asyncio.get_running_loop():
            if self._alarm_at <= now + wait:
                return  # it comes sooner, and looks again
            alarm.cancel()
        self._alarm_at = now + wait
        self._alarm = asyncio.ensure_future(self._ring(wait))

    async def _ring(self, wait: float) -> None:
        await self._sleep(wait)
        self._alarm = None
        self._wake()


FLOWS: WeakValueDictionary[Hashable, Flow] = WeakValueDictionary()
"""The one thing that clients share beyond what they are given: a provider counts all of a process's requests together,
however many clients send them. A flow lives as long as a client of it."""


def shared(key: Hashable, make: Callable[[], Flow], limits: Limits) -> Flow:
    """The flow for ``key``, made when there is none."""
    flow = FLOWS.get(key)
    if flow is None:
        flow = FLOWS[key] = make()
    else:
        flow.join(limits)
    return flow


SendOnce: TypeAlias = Callable[[Request, str, Callable[[Outcome], None]], Awaitable[Outcome]]
"""Sends a request with a key, and calls its last argument as soon as the provider is done with it."""


class Limiter:
    """Lets requests through to ``inner``, within the limits of the flow that they share.

    The next may go as soon as the provider is done with one, while what came of that one is still being written down:
    both are then written in one transaction.
    """

    def __init__(self, inner: SendOnce, flow: Callable[[], Flow]) -> None:
        self._inner, self._flow = inner, flow

    async def __call__(self, request: Request, key: str) -> Outcome:
        """Send ``request`` when its turn has come."""
        flow = self._flow()
        ticket = await flow.enter(request)
        if isinstance(ticket, Failure):
            return ticket
        outcome: Outcome | None = None
        try:
            outcome = await self._inner(request, key, partial(flow.leave, ticket))
            return outcome
        finally:
            flow.leave(ticket, outcome)


def _too_long(wait: float) -> Failure:
    return NotSent("rate_limit", f"the provider asks to wait {wait:.0f} s; not sent", True, 429, wait)
