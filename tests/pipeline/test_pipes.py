from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from autointerp.clients import Scripted, connect
from autointerp.errors import UsageError
from autointerp.pipeline.pipes import FATAL, Stopped, drive, flow, pipe
from autointerp.records import Failure, Message, Outcome, Plan, Request, Response


def ask(*texts: str) -> list[Request]:
    return [Request((Message("user", t),)) for t in texts]


async def aecho(x: Any) -> Any:
    await asyncio.sleep(0)
    return x


async def test_a_pipe_chains_functions_and_coroutines() -> None:
    step = pipe(aecho, before=lambda x: x + 1, after=lambda x: x * 10)
    assert await step(1) == 20
    assert await pipe(step, after=aecho)(2) == 30


async def test_a_list_of_steps_branches_side_by_side() -> None:
    met = asyncio.Barrier(3)  # passed only if all three branches are under way at once

    async def branch(x: int) -> int:
        await met.wait()
        return x

    assert await pipe([branch, branch, branch], before=lambda x: x + 1, after=sum)(1) == 6
    assert await pipe([], after=list)(1) == []


async def test_flow_bounds_what_is_under_way_and_pulls_no_further_ahead() -> None:
    pulled, active, most, ahead = 0, 0, 0, 0

    def source() -> Iterator[int]:
        nonlocal pulled
        for i in range(50):
            pulled += 1
            yield i

    full = asyncio.Event()

    async def step(i: int) -> int:
        nonlocal active, most
        active += 1
        most = max(most, active)
        if active == 5:  # time for a sixth to come, if it could
            asyncio.get_running_loop().call_later(0.05, full.set)
        await full.wait()
        active -= 1
        return i * 2

    results = []
    async for result in flow(source(), step, lambda x: x + 1, in_flight=5):
        results.append(result)
        ahead = max(ahead, pulled - len(results))
    assert sorted(results) == [2 * i + 1 for i in range(50)]
    assert most == 5
    assert ahead <= 5 + 5  # under way, and finished beside the one that is yielded


async def test_flow_without_steps_and_without_items() -> None:
    assert sorted([x async for x in flow([3, 1, 2])]) == [1, 2, 3]
    assert [x async for x in flow([])] == []
    with pytest.raises(UsageError, match="in_flight 0: must be at least 1"):
        [x async for x in flow([1], in_flight=0)]


async def test_leaving_a_flow_cancels_what_is_under_way() -> None:
    cancelled = 0

    async def step(i: int) -> int:
        nonlocal cancelled
        if i:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled += 1
                raise
        return i

    items = flow(range(4), step, in_flight=4)
    assert await anext(items) == 0
    await items.aclose()  # type: ignore[attr-defined]
    assert cancelled == 3

    async def broken(i: int) -> int:
        if i == 1:
            raise ValueError("item 1")
        return await step(i + 1)

    with pytest.raises(ValueError, match="item 1"):
        [x async for x in flow(range(3), broken, in_flight=3)]
    assert cancelled == 5


# --------------------------------------------------------------------------------------------------------------- plans


class Lingering(Scripted):
    """Answers nothing; what is cancelled needs some turns of the loop to end, the first request none."""

    def __init__(self, wait: bool = True) -> None:
        super().__init__([])
        self.wait, self.under_way = wait, 0

    async def generate(self, request: Request) -> Outcome:
        turns = int(request.messages[0].content)
        if not turns and not self.wait:
            raise ValueError("request 0")
        self.under_way += 1
        try:
            await (asyncio.Event().wait() if self.wait else asyncio.sleep(0))
        finally:
            for _ in range(turns):
                await asyncio.sleep(0)
            self.under_way -= 1
        return Response("", cost_usd=0.0)


def counted() -> Plan[None]:
    yield ask("0", "5", "10")


async def test_a_cancelled_plan_ends_after_the_last_of_its_requests() -> None:
    client = Lingering()
    task = asyncio.create_task(drive(counted(), client))
    while client.under_way < 3:  # noqa: ASYNC110 - a few turns of the loop, not a wait in time
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert client.under_way == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_plan_whose_request_raises_ends_after_the_others() -> None:
    client = Lingering(wait=False)
    with pytest.raises(ValueError, match="request 0"):
        await drive(counted(), client)
    assert client.under_way == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_branch_that_fails_waits_for_the_others() -> None:
    ended = []

    async def slow(x: int) -> int:
        for _ in range(5):
            await asyncio.sleep(0)
        ended.append(x)
        return x

    async def broken(_: int) -> int:
        raise ValueError("this branch")

    with pytest.raises(ValueError, match="this branch"):
        await pipe([broken, slow])(3)
    assert ended == [3]


async def test_a_round_is_sent_at_once_and_answered_in_order() -> None:
    meeting = asyncio.Barrier(3)

    class Together(Scripted):
        async def generate(self, request: Request) -> Outcome:
            await meeting.wait()
            return Response(request.messages[0].content.upper(), cost_usd=0.0)

    def plan() -> Plan[list[str]]:
        first: Sequence[Outcome] = yield ask("a", "b", "c")
        second = yield []
        assert list(second) == []
        return [o.text for o in first if isinstance(o, Response)]

    assert await drive(plan(), connect(Together([]))) == ["A", "B", "C"]


async def test_a_plan_without_requests_returns_its_result() -> None:
    def plan() -> Plan[int]:
        return 3
        yield []

    assert await drive(plan(), connect(Scripted([]))) == 3


@pytest.mark.parametrize("kind", sorted(FATAL))
async def test_a_failure_that_all_would_meet_stops_the_plan_after_the_round(kind: str) -> None:
    closed = False

    def plan() -> Plan[None]:
        nonlocal closed
        try:
            yield ask("bad", "good")
        finally:
            closed = True

    client = Scripted(lambda r: Failure(kind, "why") if r.messages[0].content == "bad" else "fine")
    with pytest.raises(Stopped, match=f"{kind}: why"):
        await drive(plan(), connect(client))
    assert client.calls == 2
    assert closed


async def test_other_failures_are_the_plans_business() -> None:
    def plan() -> Plan[str]:
        (outcome,) = yield ask("x")
        assert isinstance(outcome, Failure)
        return outcome.kind

    assert await drive(plan(), connect(Scripted([Failure("bad_request", "no")]))) == "bad_request"
