"""The life of a provider's batch jobs: submitted, found again after a kill, awaited, written down, settled.

The order of writing makes a kill harmless: every request has its attempt in the journal before it is gathered, a job
its row before it is submitted and its provider's id as soon as that is known; and an answer is durable before its job
is settled. Answers are matched by id (the first 32 digits of the request's key), never by position.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from autointerp.clients.backend import Limits
from autointerp.clients.batch import Order, Refused, Trouble, Waiting, Wire, custom_id
from autointerp.clients.journal import Journal
from autointerp.clients.keys import redacted
from autointerp.clients.prices import price_of
from autointerp.clients.spec import ModelSpec
from autointerp.records import BILLED, Failure, NotSent, Outcome, Response

log = logging.getLogger(__name__)

POLL_S, POLL_CAP_S, POLL_GROWTH = 5.0, 120.0, 1.5
LOST_AFTER = 3
"""Answers "no such batch" in a row after which it is believed."""
REFUSED_S, REFUSED_CAP_S = 60.0, 900.0
"""Seconds after which a job that the provider refused for what it has queued already is submitted again."""
LOAD = frozenset({"rate_limit", "overloaded"})
NO_LIST = frozenset({404, 405, 501})
"""Answers of a server that cannot list its batches."""
PATIENCE = 3
"""Times as many attempts at a step that has been paid for."""
NEVER = NotSent("cancelled", "the process ended before the batch was submitted")
WRITING = 1000
"""Answers that are written to the journal side by side."""


class Jobs:
    """Sees jobs through, this process's and those that an earlier one left; lives in one event loop.

    Parameters
    ----------
    wire, spec, limits, journal, free, key, before, sleep : as of :class:`autointerp.clients.batch_desk.Desk`.
    """

    def __init__(
        self,
        wire: Wire,
        spec: ModelSpec,
        limits: Limits,
        journal: Journal,
        *,
        free: bool,
        key: str | None,
        before: float | None,
        sleep: Callable[[float], Awaitable[object]],
    ) -> None:
        self._wire, self._limits, self._journal = wire, limits, journal
        self._name, self._key, self._before, self._sleep = spec.text, key, before, sleep
        self._price = None if free else price_of(spec)
        self._free = free and self._price is None
        self._orders: dict[str, Order] = {}
        self._heard: set[str] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._loaded: asyncio.Task[None] | None = None

    def of(self, key: str) -> Order | None:
        """The job that the request with ``key`` is in, if any."""
        return self._orders.get(key)

    def begin(self, order: Order, group: str) -> None:
        """Submit a new job, and see it through."""
        self._begin(order, self._new(order, group))

    async def load(self) -> None:
        """Take up the jobs that an earlier process left open; what it never submitted is written down as such."""
        if self._loaded is None:
            self._loaded = self.start(self._load())
        await asyncio.shield(self._loaded)

    async def aclose(self) -> None:
        """Stop waiting; what was submitted stays at the provider, and its jobs stay open in the journal."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task that :meth:`aclose` ends."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _begin(self, order: Order, work: Coroutine[Any, Any, None]) -> None:
        self._orders.update(dict.fromkeys(order.keys, order))
        order.task = self.start(self._watched(order, work))

    async def _watched(self, order: Order, work: Coroutine[Any, Any, None]) -> None:
        """See ``work`` through; whatever happens, nobody waits for ever and no request is sent twice."""
        try:
            await work
        except Trouble as trouble:
            order.trouble = trouble.failure
        except Exception as error:
            order.trouble = Failure("internal", f"{type(error).__name__}: {error}"[:400])
            log.exception("batch %s", order.name)
        finally:
            for waiting in order.waiting.values():  # cancelled, not failed: their attempts stay open for who goes on
                resolve(waiting, Failure("cancelled", out_of_reach(order)))
            if order.trouble is None:
                for key in order.keys:
                    if self._orders.get(key) is order:
                        del self._orders[key]

    async def _load(self) -> None:
        jobs = await self._journal.open_jobs(self._name)
        orders = [Order.of(job) for job in jobs]
        self._heard.update(name for order in orders for name in order.externals)
        for order in orders:
            self._begin(order, self._old(order))
        orphans = await self._journal.open_attempts(self._name, self._before)
        await self._finish([(orphans[key], NEVER) for key in orphans.keys() - self._orders.keys()])

    async def _new(self, order: Order, group: str) -> None:
        for attempt in itertools.count(1):
            order.number = await self._journal.begin_job(self._name, order.keys)
            failure = await self._submit(order, group)
            if failure is None:
                log.info("batch %s: %d requests submitted", order.name, len(order.keys))
                try:
                    await self._see_through(order)
                    return
                except Refused as refused:
                    failure = refused.failure
            await self._journal.settle_job(order.number, "failed")
            if not failure.retryable:
                for waiting in order.waiting.values():
                    resolve(waiting, failure)
                return
            order.externals = ()
            await self._sleep(min(REFUSED_S * attempt, REFUSED_CAP_S))

    async def _old(self, order: Order) -> None:
        assert order.number is not None
        if not order.externals:
            await self._patiently(lambda: self._find(order))
            if not order.externals:
                await self._settle(order, {}, "abandoned", NEVER)
                return
        log.info("batch %s: taken up again, %d requests", order.name, len(order.keys))
        try:
            await self._see_through(order)
        except Refused as refused:
            await self._settle(order, {}, "failed", refused.failure)

    async def _find(self, order: Order) -> None:
        try:
            found = await self._wire.find(order.label, len(order.keys), order.created)
        except Trouble as trouble:
            if trouble.failure.status not in NO_LIST:
                raise
            found = []
        order.externals = tuple(name for name in found if name not in self._heard)
        if order.externals:
            assert order.number is not None
            await self._journal.submitted_job(order.number, order.name)

    async def _submit(self, order: Order, group: str) -> Failure | None:
        """Begin a job at the provider; None, or why it was not begun. Trouble when that is not known."""
        assert order.number is not None
        items = [self._wire.item(custom_id(key), waiting.request)[1] for key, waiting in order.waiting.items()]
        uncertain, attempt = False, 0
        while True:
            try:
                if uncertain:
                    await self._find(order)
                if not order.externals:
                    order.externals = (await self._wire.submit(order.label, group, items),)
                    self._heard.update(order.externals)
                    await self._journal.submitted_job(order.number, order.name)
                return None
            except Trouble as trouble:
                failure = trouble.failure
            uncertain = uncertain or (failure.kind in BILLED and not isinstance(failure, NotSent))
            attempt += failure.kind not in LOAD
            if not failure.retryable or attempt >= self._limits.max_attempts:
                break
            await self._sleep(self._backoff(attempt + 1, failure))
        if uncertain:
            raise Trouble(failure)
        return replace(failure, retryable=False)

    async def _see_through(self, order: Order) -> None:
        """Wait for the end of a job, write down its answers, settle it, hand the answers on."""
        over = [await self._end(name, POLL_S if order.waiting else 0.0) for name in order.externals]
        if not any(over):
            await self._settle(order, {}, "lost", _unanswered("the provider does not know the batch any more"))
            return
        outcomes: dict[str, Outcome] = {}
        by_id = {custom_id(key): key for key in order.keys}

        async def download(name: str) -> None:
            async for id, outcome in self._wire.results(name):
                if key := by_id.pop(id, None):
                    outcomes[key] = self._priced(outcome)

        for name in itertools.compress(order.externals, over):
            await self._patiently(partial(download, name))
        otherwise = _unanswered("the batch ended without an answer to this request")
        if not (outcomes or order.waiting or self._heard.intersection(order.externals)):
            otherwise = NEVER  # what was found was another's
        await self._settle(order, outcomes, "done", otherwise)

    async def _end(self, external: str, wait: float) -> bool:
        """Wait for the end of a job at the provider; False if it is not known there."""
        missing = 0
        while True:
            await self._sleep(wait * random.uniform(0.9, 1.1))
            wait = min(max(wait, POLL_S) * POLL_GROWTH, POLL_CAP_S)
            try:
                if await self._wire.ended(external):
                    return True
                missing = 0
            except Refused:
                raise
            except Trouble as trouble:
                missing = missing + 1 if trouble.failure.status == 404 else 0
                if missing >= LOST_AFTER:
                    return False
                if not (missing or trouble.failure.retryable):
                    raise

    async def _settle(self, order: Order, outcomes: Mapping[str, Outcome], state: str, otherwise: Failure) -> None:
        """Write down every outcome, ``otherwise`` where there is none, then that the job is over, then hand them on."""
        assert order.number is not None
        open_attempts = await self._journal.open_attempts(self._name)
        await self._finish(
            [(open_attempts[key], outcomes.get(key, otherwise)) for key in order.keys if key in open_attempts]
        )
        await self._journal.settle_job(order.number, state)
        answers = sum(isinstance(outcome, Response) for outcome in outcomes.values())
        log.info("batch %s: %s, %d answers to %d requests", order.name, state, answers, len(order.keys))
        for key, waiting in order.waiting.items():
            resolve(waiting, outcomes.get(key, otherwise))

    async def _finish(self, rows: Sequence[tuple[int, Outcome]]) -> None:
        for start in range(0, len(rows), WRITING):
            part = rows[start : start + WRITING]
            await asyncio.gather(*(self._journal.finish(attempt, outcome) for attempt, outcome in part))

    async def _patiently(self, step: Callable[[], Awaitable[Any]]) -> Any:
        """The result of ``step``, tried again while its trouble is of the passing kind."""
        for attempt in range(1, PATIENCE * self._limits.max_attempts):
            try:
                return await step()
            except Trouble as trouble:
                if not trouble.failure.retryable:
                    raise
                await self._sleep(self._backoff(attempt, trouble.failure))
        return await step()

    def _backoff(self, attempt: int, failure: Failure) -> float:
        bound = min(self._limits.backoff_cap_s, self._limits.backoff_s * 2.0 ** min(attempt, 30))
        return max(failure.retry_after or 0.0, random.uniform(0.5, 1.0) * bound)

    def _priced(self, outcome: Outcome) -> Outcome:
        if isinstance(outcome, Failure):
            return redacted(outcome, self._key)
        if outcome.cost_usd is not None or (self._price is None and not self._free):
            return outcome
        if self._price is None:
            return replace(outcome, cost_usd=0.0)
        return replace(outcome, cost_usd=self._price.cost(outcome.usage)) if outcome.usage is not None else outcome


def _unanswered(why: str) -> Failure:
    return Failure("bad_answer", why, retryable=True)


def out_of_reach(order: Order) -> str:
    """Why the answers of a job are not to be had now."""
    why = f"{order.trouble.kind}: {order.trouble.message}" if order.trouble else "the client was closed"
    return f"batch {order.name or order.label} is out of reach ({why}); the same command takes it up again"[:400]


def resolve(waiting: Waiting, outcome: Outcome) -> None:
    """Hand ``outcome`` to who waits for it, unless that is done."""
    if not waiting.answer.done():
        waiting.answer.set_result(outcome)
