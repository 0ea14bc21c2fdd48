from __future__ import annotations

import asyncio
import random

import pytest

from autointerp.clients.backend import Limits
from autointerp.clients.breaker import FAILURES, PAUSE_S, STRETCH_S, Breaker
from autointerp.clients.limiter import Flow
from autointerp.clients.retry import Retry
from autointerp.records import Failure, Message, NotSent, Outcome, Request, Response
from tests.clients.conftest import VirtualTime

REQUEST = Request((Message("user", "x"),))
DOWN = Failure("server", "HTTP 502: bad gateway", True, 502)


class Inner:
    """Answers with ``outcome`` and counts."""

    def __init__(self, outcome: Outcome = DOWN) -> None:
        self.outcome, self.calls = outcome, 0

    async def __call__(self, request: Request, key: str) -> Outcome:
        self.calls += 1
        return self.outcome


async def fail(breaker: Breaker, time: VirtualTime, inner: Inner, n: int = FAILURES, keys: int = 5) -> None:
    for i in range(n):
        await breaker.send(inner, REQUEST, str(i % keys))
        time.now += 2.0


async def test_opens_after_a_stretch_and_says_so(time: VirtualTime) -> None:
    breaker, inner = Breaker("a/b", time.clock), Inner()
    await fail(breaker, time, inner)
    outcome = await breaker.send(inner, REQUEST, "k")
    assert inner.calls == FAILURES
    assert isinstance(outcome, NotSent)
    assert (outcome.kind, outcome.retryable) == ("unavailable", True)
    assert "a/b" in outcome.message
    assert "502" in outcome.message
    assert outcome.retry_after == pytest.approx(PAUSE_S - 2.0)


@pytest.mark.parametrize(("n", "keys", "seconds"), [(50, 1, 2.0), (50, 2, 2.0), (FAILURES - 1, 5, 2.0), (50, 50, 0.1)])
async def test_stays_closed_for_one_request_for_few_failures_and_for_a_blink(
    time: VirtualTime, n: int, keys: int, seconds: float
) -> None:
    breaker, inner = Breaker("a/b", time.clock), Inner()
    for i in range(n):
        await breaker.send(inner, REQUEST, str(i % keys))
        time.now += seconds
    assert breaker.is_open is (n * seconds > STRETCH_S and n >= FAILURES and keys > 2)
    assert not breaker.is_open


@pytest.mark.parametrize("sign", [Response("x"), Failure("bad_request", "", False, 400), Failure("auth", "")])
async def test_any_word_of_the_provider_ends_a_stretch(time: VirtualTime, sign: Outcome) -> None:
    breaker = Breaker("a/b", time.clock)
    for _ in range(5):
        await fail(breaker, time, Inner(), FAILURES - 1)
        await breaker.send(Inner(sign), REQUEST, "other")
    assert not breaker.is_open


@pytest.mark.parametrize("kind", ["rate_limit", "bad_request", "bad_answer", "budget", "cancelled", "internal"])
async def test_other_failures_never_open_it(time: VirtualTime, kind: str) -> None:
    breaker = Breaker("a/b", time.clock)
    await fail(breaker, time, Inner(Failure(kind, "", True)), 50)
    assert not breaker.is_open


async def test_one_probe_at_a_time_and_longer_pauses_while_they_fail(time: VirtualTime) -> None:
    breaker, inner = Breaker("a/b", time.clock), Inner()
    await fail(breaker, time, inner)
    time.now += PAUSE_S
    held = asyncio.Event()

    async def slow(request: Request, key: str) -> Outcome:
        await held.wait()
        return DOWN

    probe = asyncio.create_task(breaker.send(slow, REQUEST, "p"))
    await asyncio.sleep(0)
    assert (await breaker.send(inner, REQUEST, "k")).kind == "unavailable", "one probe is enough"
    held.set()
    assert await probe == DOWN
    assert (await breaker.send(inner, REQUEST, "k")).retry_after == 2 * PAUSE_S
    time.now += 2 * PAUSE_S
    good = Inner(Response("x"))
    assert await breaker.send(good, REQUEST, "k") == Response("x")
    assert await breaker.send(good, REQUEST, "l") == Response("x")
    assert not breaker.is_open


async def test_a_cancelled_probe_leaves_room_for_another(time: VirtualTime) -> None:
    breaker = Breaker("a/b", time.clock)
    await fail(breaker, time, Inner())
    time.now += PAUSE_S

    async def never(request: Request, key: str) -> Outcome:
        await asyncio.Event().wait()
        raise AssertionError

    probe = asyncio.create_task(breaker.send(never, REQUEST, "p"))
    await asyncio.sleep(0)
    probe.cancel()
    await asyncio.gather(probe, return_exceptions=True)
    assert await breaker.send(Inner(Response("x")), REQUEST, "k") == Response("x")


@pytest.mark.parametrize("seed", [*range(10), 26, 84, 172, 195])
async def test_an_outage_of_minutes_costs_few_attempts_and_loses_nothing(time: VirtualTime, seed: int) -> None:
    sent = []

    async def provider(request: Request, key: str) -> Outcome:
        sent.append(time.now)
        await time.sleep(0.5)
        return Response("x") if time.now > 300 else DOWN

    flow = Flow(Limits(), sleep=time.sleep, clock=time.clock)

    async def guarded(request: Request, key: str) -> Outcome:
        return await flow.breaker.send(provider, request, key)

    retry = Retry(
        guarded,
        Limits(),
        down=lambda: flow.breaker.is_open,
        sleep=time.sleep,
        clock=time.clock,
        uniform=random.Random(seed).uniform,
    )
    outcomes = await time.run(asyncio.gather(*(retry(REQUEST, str(i)) for i in range(40))))
    assert outcomes == [Response("x")] * 40
    assert time.now < 500
    assert sum(30 < when < 300 for when in sent) < 12, "probes, and what was on its way"
