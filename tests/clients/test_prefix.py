"""The first request with a long beginning goes alone; the others follow when it has been answered."""

from __future__ import annotations

import asyncio

import pytest

from autointerp.clients import connect
from autointerp.clients.prefix import KEPT_S, Leader
from autointerp.clients.prices import Price
from autointerp.records import Failure, Message, Outcome, Request, Response, Usage
from tests.servers import FakeServer, Received

LONG = "one two three four five six seven eight " * 120  # about 1,600 tokens by the estimate


def ask(text: str, system: str = LONG) -> Request:
    return Request((Message("system", system), Message("user", text)))


class Provider:
    """Notes what is under way beside each request; ``hold`` keeps answers back."""

    def __init__(self, *outcomes: Outcome) -> None:
        self.outcomes, self.now, self.beside = list(outcomes), 0, list[int]()

    async def __call__(self, request: Request, key: str) -> Outcome:
        self.now += 1
        self.beside.append(self.now)
        for _ in range(5):
            await asyncio.sleep(0)
        self.now -= 1
        return self.outcomes.pop(0) if self.outcomes else Response("fine")


async def send(leader: Leader, n: int, system: str = LONG) -> list[Outcome]:
    return list(await asyncio.gather(*(leader(ask(str(i), system), str(i)) for i in range(n))))


async def test_one_leads_and_the_rest_follow_side_by_side() -> None:
    provider, clock = Provider(), [0.0]
    leader = Leader(provider, 1000, clock=lambda: clock[0])
    await send(leader, 6)
    assert provider.beside == [1, 1, 2, 3, 4, 5]
    provider.beside.clear()
    clock[0] = KEPT_S - 1
    await send(leader, 3)
    assert provider.beside == [1, 2, 3], "it is still in the cache"
    provider.beside.clear()
    clock[0] += KEPT_S
    await send(leader, 3)
    assert provider.beside == [1, 1, 2], "it has been forgotten"
    provider.beside.clear()
    await send(leader, 3, LONG + "another")
    assert provider.beside == [1, 1, 2]


async def test_short_beginnings_wait_for_nobody() -> None:
    provider = Provider()
    await send(Leader(provider, 1000), 4, "short")
    assert provider.beside == [1, 2, 3, 4]


async def test_when_the_leader_fails_the_next_one_leads() -> None:
    provider = Provider(Failure("server", "no"))
    outcomes = await send(Leader(provider, 1000), 4)
    assert [isinstance(o, Response) for o in outcomes] == [False, True, True, True]
    assert provider.beside == [1, 1, 1, 2]


async def test_a_cancelled_leader_hands_on() -> None:
    provider = Provider()
    leader = Leader(provider, 1000)
    first, second = (asyncio.create_task(leader(ask(t), t)) for t in "ab")
    await asyncio.sleep(0)
    first.cancel()
    assert await second == Response("fine")


@pytest.mark.parametrize(("model", "marked"), [("claude-opus-5", True), ("claude-haiku-4-5", False)])
async def test_anthropic_is_told_to_cache_what_is_long_enough(model: str, marked: bool) -> None:
    seen: list[Received] = []

    def answer(received: Received) -> str:
        seen.append(received)
        return "fine"

    async with FakeServer("anthropic", answer) as server, connect(f"anthropic/{model}@{server.url}") as client:
        await asyncio.gather(client.generate(ask("a")), client.generate(ask("b", "short")))
    for received in seen:
        system, long = received.body["system"], received.body["messages"][0]["content"] == "a"
        if long and marked:
            assert system == [{"type": "text", "text": LONG, "cache_control": {"type": "ephemeral"}}]
        else:
            assert system == (LONG if long else "short")


def test_what_is_written_and_read_has_its_own_price() -> None:
    price = Price(2.0, 10.0, cached=0.1, written=1.25)
    usage = Usage(10_000, 100, cached_tokens=6_000, written_tokens=3_000)
    assert price.cost(usage) == pytest.approx((1_000 * 2 + 6_000 * 0.2 + 3_000 * 2.5 + 100 * 10) / 1e6)
    long, short = ask("x"), ask("x", "short")
    plain = Price(2.0, 10.0)
    assert price.worst(short) == plain.worst(short)
    assert price.worst(long) - plain.worst(long) == pytest.approx(0.25 * 2.0 * 1600 / 1e6, rel=0.02)
