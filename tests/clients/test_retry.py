from __future__ import annotations

import asyncio
from collections.abc import Sequence
from email.utils import formatdate
from time import time as time_of_day

import pytest

from autointerp.clients.backend import Limits
from autointerp.clients.classify import classify
from autointerp.clients.retry import Retry
from autointerp.records import Failure, Message, Outcome, Request, Response
from tests.clients.conftest import VirtualTime

REQUEST = Request((Message("user", "x"),))
BUSY = Failure("server", "", retryable=True)


def script(outcomes: Sequence[Outcome], seen: list[Request]):
    pending = list(outcomes)

    async def inner(request: Request, key: str) -> Outcome:
        seen.append(request)
        return pending.pop(0)

    return inner


async def attempt(time: VirtualTime, outcomes: Sequence[Outcome], share: float = 1.0, **limits: float):
    """What came of it, the waits, and the requests that were sent; ``share`` of each bound is waited."""
    seen: list[Request] = []
    retry = Retry(
        script(outcomes, seen),
        Limits(**limits),  # type: ignore[arg-type]
        sleep=time.sleep,
        clock=time.clock,
        uniform=lambda low, high: low + share * (high - low),
    )
    outcome = await time.run(retry(REQUEST, "k"))
    return outcome, time.slept, seen


async def test_the_bound_doubles_up_to_the_cap(time: VirtualTime) -> None:
    outcome, waits, seen = await attempt(time, [BUSY] * 9 + [Response("x")], max_attempts=10)
    assert outcome == Response("x")
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert all(request is REQUEST for request in seen), "the very same request"


async def test_the_wait_is_drawn_from_zero_to_the_bound(time: VirtualTime) -> None:
    _, waits, _ = await attempt(time, [BUSY, BUSY, Response("x")], share=0.25)
    assert waits == [0.25, 0.5]


async def test_never_less_than_the_server_asked_for(time: VirtualTime) -> None:
    asked = [Failure("rate_limit", "", True, 429, retry_after=wait) for wait in (20.0, 0.0)]
    _, waits, _ = await attempt(time, [*asked, Response("x")], share=0.0)
    assert waits == [20.0, 0.0]


async def test_a_date_in_retry_after(time: VirtualTime) -> None:
    failure = classify("openai", 429, {}, {"Retry-After": formatdate(time_of_day() + 40, usegmt=True)})
    _, waits, _ = await attempt(time, [failure, Response("x")], share=0.0)
    assert waits[0] == pytest.approx(40, abs=2)


async def test_gives_up_after_the_last_attempt(time: VirtualTime) -> None:
    outcome, waits, seen = await attempt(time, [BUSY] * 5, max_attempts=3)
    assert outcome == BUSY
    assert (len(seen), len(waits)) == (3, 2)


async def test_gives_up_before_a_wait_past_the_deadline(time: VirtualTime) -> None:
    far = Failure("rate_limit", "", True, 429, retry_after=200.0)
    outcome, waits, seen = await attempt(time, [far, far, far], share=0.0, deadline_s=300.0)
    assert outcome == far
    assert (waits, len(seen)) == ([200.0], 2)


@pytest.mark.parametrize("kind", ["auth", "quota", "bad_request", "context_length", "budget", "internal", "refusal"])
async def test_not_everything_is_tried_again(time: VirtualTime, kind: str) -> None:
    outcome, waits, seen = await attempt(time, [Failure(kind, "")])
    assert outcome == Failure(kind, "")
    assert (waits, len(seen)) == ([], 1)


async def test_cancelled_while_waiting(time: VirtualTime) -> None:
    retry = Retry(script([BUSY], []), Limits(), sleep=time.sleep, clock=time.clock)
    task = asyncio.create_task(retry(REQUEST, "k"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
