from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autointerp.clients import Limits, connect
from autointerp.clients.hints import Quota
from autointerp.clients.limiter import START, Flow, Limiter
from autointerp.records import Failure, Message, NotSent, Outcome, Request, Response, Usage
from tests.clients.conftest import VirtualTime

REQUEST = Request((Message("user", "x"),))


class Server:
    """Takes a second for each request and notes how many it had at once.

    ``writing``: seconds that pass afterwards until the outcome is written down.
    """

    def __init__(
        self, time: VirtualTime, answer: Callable[[int], Outcome] = lambda n: Response("x"), writing: float = 0.0
    ) -> None:
        self.time, self.answer, self.writing = time, answer, writing
        self.now, self.most, self.starts = 0, 0, list[float]()

    async def __call__(self, request: Request, key: str, over: Callable[[Outcome], None]) -> Outcome:
        self.starts.append(self.time.now)
        self.now += 1
        self.most = max(self.most, self.now)
        number = len(self.starts)
        try:
            await self.time.sleep(1.0)
        finally:
            self.now -= 1
        outcome = self.answer(number)
        if self.writing:
            over(outcome)
            await self.time.sleep(self.writing)
        return outcome


def limited(server: Server, *, slow: bool = False, **limits: float) -> tuple[Flow, Limiter]:
    time = server.time
    flow = Flow(Limits(**limits), slow=slow, sleep=time.sleep, clock=time.clock)  # type: ignore[arg-type]
    return flow, Limiter(server, lambda: flow)


async def send(limiter: Limiter, n: int) -> list[Outcome]:
    return await asyncio.gather(*(limiter(REQUEST, str(i)) for i in range(n)))


async def test_no_more_than_allowed_and_all_served(time: VirtualTime) -> None:
    server = Server(time)
    flow, limiter = limited(server, max_in_flight=5)
    assert len(await time.run(send(limiter, 23))) == 23
    assert server.most == 5
    assert time.now == 5.0, "five rounds of five"
    assert flow.in_flight == 0


async def test_the_next_goes_while_what_came_of_one_is_being_written_down(time: VirtualTime) -> None:
    server = Server(time, writing=10.0)
    flow, limiter = limited(server, max_in_flight=5)
    await time.run(send(limiter, 20))
    assert server.starts == [n // 5 * 1.0 for n in range(20)]
    assert server.most == 5
    assert flow.in_flight == 0, "nobody leaves twice"


async def test_slow_start_with_a_provider_and_none_with_a_server_of_ones_own(time: VirtualTime) -> None:
    for slow, first in [(True, START), (False, 50)]:
        server = Server(time)
        _, limiter = limited(server, slow=slow, max_in_flight=50)
        began = time.now
        await time.run(send(limiter, 200))
        assert server.starts.count(began) == first
        assert server.most == 50


async def test_one_cut_for_each_burst_of_complaints(time: VirtualTime) -> None:
    server = Server(time, lambda n: Failure("rate_limit", "slow down", True))
    flow, limiter = limited(server, max_in_flight=20)
    await time.run(send(limiter, 20))
    assert flow.concurrency.limit == 14
    time.now += 60
    server.answer = lambda n: Failure("overloaded", "slow down", True)
    await time.run(send(limiter, 3))
    assert flow.concurrency.limit == pytest.approx(9.8)


async def test_trouble_of_the_provider_cuts_nothing(time: VirtualTime) -> None:
    flow, limiter = limited(Server(time, lambda n: Failure("server", "", True)), max_in_flight=10)
    await time.run(send(limiter, 30))
    assert flow.concurrency.limit == 10.0


async def test_a_wait_that_the_server_asks_for_holds_everyone(time: VirtualTime) -> None:
    server = Server(time, lambda n: Failure("rate_limit", "", True, retry_after=30.0) if n == 1 else Response("x"))
    _, limiter = limited(server, max_in_flight=1)
    await time.run(send(limiter, 3))
    assert server.starts == [0.0, 31.0, 32.0]


async def test_a_refusal_without_a_word_pauses_longer_each_time(time: VirtualTime) -> None:
    server = Server(time, lambda n: Failure("rate_limit", "", True) if n <= 3 else Response("x"))
    _, limiter = limited(server, max_in_flight=1, backoff_s=0.5)
    await time.run(send(limiter, 5))
    gaps = [after - before - 1.0 for before, after in zip(server.starts, server.starts[1:], strict=False)]
    assert gaps == pytest.approx([0.5, 1.0, 2.0, 0.0])


async def test_a_wait_longer_than_any_deadline_fails_at_once(time: VirtualTime) -> None:
    server = Server(time, lambda n: Failure("rate_limit", "", True, 429, 7200.0))
    _, limiter = limited(server, max_in_flight=1)
    outcomes = await time.run(send(limiter, 10))
    assert time.now == 1.0
    assert isinstance(outcomes[0], Failure)
    assert all(isinstance(outcome, NotSent) and outcome.kind == "rate_limit" for outcome in outcomes[1:])
    assert isinstance(await limiter(REQUEST, "later"), NotSent)
    assert len(server.starts) == 1


async def test_tokens_are_reserved_and_put_right(time: VirtualTime) -> None:
    usage = Usage(1000, 100)
    server = Server(time, lambda n: Response("x", usage))
    flow, limiter = limited(server, max_in_flight=1)
    flow.rates.learn({"output_tokens": Quota(6000.0)}, 0.0)
    bucket = flow.rates._buckets["output_tokens"]
    task = asyncio.ensure_future(limiter(Request((Message("user", "x"),), max_tokens=250), "k"))
    await asyncio.sleep(0)
    assert bucket.level == bucket.capacity - 250, "the most that the answer may be"
    await time.run(task)
    assert bucket.level == bucket.capacity - 100, "what it was, before a second refills it"
    server.answer = lambda n: NotSent("connection", "", True)
    time.now += 60
    await time.run(limiter(REQUEST, "k"))
    assert bucket.level == bucket.capacity, "what was not sent is given back"


async def test_a_limit_learned_late_holds_those_who_already_wait(time: VirtualTime) -> None:
    server = Server(time)
    flow, limiter = limited(server, max_in_flight=1)
    task = asyncio.ensure_future(send(limiter, 5))
    await asyncio.sleep(0)
    flow.observe({"x-ratelimit-limit-requests": "6", "x-ratelimit-remaining-requests": "0"})
    await time.run(task)
    assert all(b - a >= 10.0 for a, b in zip(server.starts, server.starts[1:], strict=False))


async def test_those_who_give_up_waiting_leave_no_trace(time: VirtualTime) -> None:
    flow, limiter = limited(Server(time), max_in_flight=1)

    async def scenario() -> None:
        first = asyncio.create_task(limiter(REQUEST, "a"))
        others = [asyncio.create_task(limiter(REQUEST, str(i))) for i in range(5)]
        await asyncio.sleep(0)
        others[0].cancel()
        others[3].cancel()
        done = await asyncio.gather(first, *others, return_exceptions=True)
        assert [isinstance(outcome, Response) for outcome in done] == [True, False, True, True, False, True]

    await time.run(scenario())
    assert flow.in_flight == 0
    assert len(await time.run(send(limiter, 2))) == 2


async def test_a_turn_granted_to_one_who_just_gave_up_goes_on(time: VirtualTime) -> None:
    flow, limiter = limited(Server(time), max_in_flight=1, requests_per_minute=60.0)
    ticket = await flow.enter(REQUEST)
    assert not isinstance(ticket, Failure)
    waiting = asyncio.create_task(limiter(REQUEST, "b"))
    await asyncio.sleep(0)
    time.now += 1.0
    flow.leave(ticket, None)  # grants the turn …
    waiting.cancel()  # … in the same moment
    await asyncio.gather(waiting, return_exceptions=True)
    assert flow.in_flight == 0
    assert flow.rates.wait({"wanted": 1.0}, time.now) == 0.0, "and its place in the rate"


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 8),
    st.one_of(st.none(), st.integers(1, 200)),
    st.integers(0, 2**32),
    st.floats(0, 0.5),
    st.booleans(),
)
def test_invariants_in_any_order_of_events(top: int, rpm: int | None, seed: int, refused: float, slow: bool) -> None:
    """Never above the top in flight nor the rate in any minute; every request ends; the cancelled free their places."""

    async def scenario() -> None:
        time, source = VirtualTime(), random.Random(seed)

        def answer(number: int) -> Outcome:
            kind = source.choice(["rate_limit", "overloaded", "server"])
            wait = source.choice([None, 0.5, 3.0])
            return Failure(kind, "", True, None, wait) if source.random() < refused else Response("x", Usage(9, 9))

        server = Server(time, answer)
        flow, limiter = limited(server, slow=slow, max_in_flight=top, **({"requests_per_minute": rpm} if rpm else {}))

        async def all_of_them() -> None:
            tasks = []
            for number in range(60):
                tasks.append(asyncio.create_task(limiter(REQUEST, str(number))))
                await time.sleep(source.choice([0.0, 0.0, 0.3, 2.0]))
                if source.random() < 0.2:
                    source.choice(tasks).cancel()
            done = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(isinstance(one, (Response, Failure, asyncio.CancelledError)) for one in done)

        await asyncio.wait_for(time.run(all_of_them()), 20)
        assert server.most <= top
        assert (flow.in_flight, len(flow._waiting)) == (0, 0)
        for start in server.starts if rpm else ():
            assert sum(start <= other < start + 60 - 1e-6 for other in server.starts) <= rpm

    asyncio.run(scenario())


def test_clients_of_one_account_and_model_share_one_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "account-1")
    first, same = connect("openai/m", limits=Limits(max_in_flight=8)), connect("openai/m?rpm=30&in_flight=32")
    assert first.flow is same.flow
    assert first.flow.concurrency.top == 32, "the larger, for all"
    assert first.flow.rates.wait({"wanted": 2.0}, 0.0) == 0.0
    others = [
        connect("openai/n"),
        connect("openai/m", api_key="another"),
        connect("openai/m@http://localhost:1/v1"),
        connect("scripted?answer=x"),
        connect("scripted?answer=x"),
    ]
    assert len({id(client.flow) for client in [first, *others]}) == 6
    assert "account-1" not in repr(first._account), "the account is a digest of the key"


async def test_sharing_clients_stay_below_one_limit_together(time: VirtualTime) -> None:
    server = Server(time)
    flow, one = limited(server, max_in_flight=4)
    other = Limiter(server, lambda: flow)
    await time.run(asyncio.gather(send(one, 10), send(other, 10)))
    assert server.most == 4
