from __future__ import annotations

import asyncio
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from autointerp.clients.backend import Limits
from autointerp.clients.limiter import DECREASE, Limiter
from autointerp.records import Failure, Message, Outcome, Request, Response
from tests.clients.conftest import VirtualTime

REQUEST = Request((Message("user", "x"),))
Step = Callable[[], Outcome]


class Server:
    """Takes a second for each request and notes how many it had at once."""

    def __init__(self, time: VirtualTime, answer: Callable[[int], Outcome] = lambda n: Response("x")) -> None:
        self.time, self.answer = time, answer
        self.now, self.most, self.starts = 0, 0, list[float]()

    async def __call__(self, request: Request, key: str) -> Outcome:
        self.starts.append(self.time.now)
        self.now += 1
        self.most = max(self.most, self.now)
        number = len(self.starts)
        await self.time.sleep(1.0)
        self.now -= 1
        return self.answer(number)


async def send(limiter: Limiter, n: int) -> list[Outcome]:
    return await asyncio.gather(*(limiter(REQUEST, str(i)) for i in range(n)))


async def test_no_more_than_allowed_and_all_served(time: VirtualTime) -> None:
    server = Server(time)
    limiter = Limiter(server, Limits(max_in_flight=5), sleep=time.sleep, clock=time.clock)
    assert len(await time.run(send(limiter, 23))) == 23
    assert server.most == 5
    assert time.now == 5.0, "five rounds of five"
    assert limiter.in_flight == 0


async def test_one_cut_for_each_episode(time: VirtualTime) -> None:
    server = Server(time, lambda n: Failure("rate_limit", "slow down", True) if n <= 20 else Response("x"))
    limiter = Limiter(server, Limits(max_in_flight=20), sleep=time.sleep, clock=time.clock)
    await time.run(send(limiter, 20))
    assert limiter.limit == 20 * DECREASE, "twenty complaints about one burst are one episode"
    server.answer = lambda n: Failure("overloaded", "slow down", True)
    await time.run(send(limiter, 3))
    assert limiter.limit == 20 * DECREASE**2


async def test_grows_by_one_a_round_when_full_and_not_otherwise(time: VirtualTime) -> None:
    server = Server(time, lambda n: Failure("rate_limit", "", True) if n == 1 else Response("x"))
    limiter = Limiter(server, Limits(max_in_flight=10), sleep=time.sleep, clock=time.clock)
    await time.run(send(limiter, 1))
    before = limiter.limit
    for _ in range(20):
        await time.run(send(limiter, 1))
    assert limiter.limit == before, "one at a time says nothing of seven"
    await time.run(send(limiter, 7))
    assert before + 0.5 < limiter.limit <= before + 1
    for _ in range(20):
        await time.run(send(limiter, 12))
    assert limiter.limit == 10.0


async def test_other_failures_change_nothing(time: VirtualTime) -> None:
    server = Server(time, lambda n: Failure("server", "", True))
    limiter = Limiter(server, Limits(max_in_flight=10), sleep=time.sleep, clock=time.clock)
    await time.run(send(limiter, 30))
    assert limiter.limit == 10.0


async def test_a_wait_that_the_server_asks_for_holds_everyone(time: VirtualTime) -> None:
    server = Server(time, lambda n: Failure("rate_limit", "", True, retry_after=30.0) if n == 1 else Response("x"))
    limiter = Limiter(server, Limits(max_in_flight=1), sleep=time.sleep, clock=time.clock)
    await time.run(send(limiter, 3))
    assert server.starts == [0.0, 31.0, 32.0]


async def test_those_who_give_up_waiting_leave_no_trace(time: VirtualTime) -> None:
    limiter = Limiter(Server(time), Limits(max_in_flight=1), sleep=time.sleep, clock=time.clock)

    async def scenario() -> None:
        first = asyncio.create_task(limiter(REQUEST, "a"))
        others = [asyncio.create_task(limiter(REQUEST, str(i))) for i in range(5)]
        await asyncio.sleep(0)
        others[0].cancel()
        others[3].cancel()
        done = await asyncio.gather(first, *others, return_exceptions=True)
        assert [isinstance(outcome, Response) for outcome in done] == [True, False, True, True, False, True]

    await time.run(scenario())
    assert limiter.in_flight == 0
    assert len(await time.run(send(limiter, 2))) == 2


async def test_a_place_granted_to_one_who_just_gave_up_goes_on(time: VirtualTime) -> None:
    limiter = Limiter(Server(time), Limits(max_in_flight=1), sleep=time.sleep, clock=time.clock)
    await limiter._acquire()
    waiting = asyncio.create_task(limiter(REQUEST, "b"))
    await asyncio.sleep(0)
    limiter.in_flight -= 1
    limiter._wake()  # grants the place …
    waiting.cancel()  # … in the same turn
    await asyncio.gather(waiting, return_exceptions=True)
    assert limiter.in_flight == 0


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.lists(st.floats(0, 40), min_size=1, max_size=60))
def test_no_minute_has_more_starts_than_allowed(rpm: int, gaps: list[float]) -> None:
    async def scenario() -> list[float]:
        time = VirtualTime()
        server = Server(time)
        limits = Limits(max_in_flight=50, requests_per_minute=float(rpm))
        limiter = Limiter(server, limits, sleep=time.sleep, clock=time.clock)

        async def all_of_them() -> None:
            tasks = []
            for gap in gaps:
                await time.sleep(gap if gap > 20 else 0.0)  # bursts and pauses
                tasks.append(asyncio.create_task(limiter(REQUEST, "x")))
            await asyncio.gather(*tasks)

        await time.run(all_of_them())
        return server.starts

    starts = asyncio.run(scenario())
    assert len(starts) == len(gaps)
    for i, start in enumerate(starts):
        assert sum(start <= other < start + 60 - 1e-6 for other in starts[i:]) <= rpm
