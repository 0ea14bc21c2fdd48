from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from autointerp.clients import MemoryJournal, Scripted, connect
from autointerp.records import Failure, Outcome, Request, Response

Ask = Callable[..., Request]


class Gated(Scripted):
    """Answers once the gate is open."""

    def __init__(self, answers: Callable[[Request], str | Outcome]) -> None:
        super().__init__(answers)
        self.gate = asyncio.Event()

    async def generate(self, request: Request) -> Outcome:
        outcome = await super().generate(request)
        await self.gate.wait()
        return outcome


async def turns(n: int = 10) -> None:
    for _ in range(n):
        await asyncio.sleep(0)


async def test_a_hundred_awaiters_one_request(ask: Ask) -> None:
    backend = Gated(lambda request: Response("x", cost_usd=0.5))
    client = connect(backend)
    tasks = [asyncio.create_task(client.generate(ask("same"))) for _ in range(100)]
    await turns()
    backend.gate.set()
    outcomes = await asyncio.gather(*tasks)
    assert backend.calls == 1
    assert {outcome.text for outcome in outcomes} == {"x"}
    assert sum(not outcome.cached for outcome in outcomes) == 1, "its cost is counted once"
    assert client.statistics.cached == 99


async def test_what_makes_two_requests_the_same(ask: Ask) -> None:
    backend = Scripted(lambda request: "x")
    client = connect(backend)
    base = ask("a", tag="explain")
    for other, calls in [
        (base, 1),
        (ask("a", tag="score"), 1),
        (ask("b"), 2),
        (ask("a", replicate=1), 3),
        (ask("a", max_tokens=7), 4),
        (ask("a", temperature=1.0), 5),
        (ask("a", schema={"type": "object"}), 6),
        (base, 6),
    ]:
        await client.generate(other)
        assert backend.calls == calls


async def test_answers_outlive_the_client_and_failures_do_not(ask: Ask) -> None:
    journal = MemoryJournal()
    first = Scripted(
        [Failure("bad_request", "no"), Response("half", finish="length"), Response("never", finish="refusal")]
    )
    client = connect(first, store=journal)
    assert (await client.generate(ask("a"))).kind == "bad_request"
    assert (await client.generate(ask("a"))).finish == "length"
    assert (await client.generate(ask("b"))).finish == "refusal"
    again = Scripted([])
    client = connect(again, store=journal)
    assert (await client.generate(ask("a"))) == Response("half", finish="length", cost_usd=0.0)
    assert (await client.generate(ask("b"))).cached
    assert again.calls == 0
    assert set(journal.answers) == {client.key(ask("a")), client.key(ask("b"))}
    assert client.statistics.sent == 0


async def test_the_version_of_a_backend_is_part_of_the_key(ask: Ask) -> None:
    journal = MemoryJournal()

    class Versioned(Scripted):
        version = "2"

    await connect(Scripted(["old"]), store=journal).generate(ask("a"))
    assert (await connect(Versioned(["new"]), store=journal).generate(ask("a"))).text == "new"


async def test_cancelling_one_awaiter_spares_the_others(ask: Ask) -> None:
    backend = Gated(lambda request: "x")
    client = connect(backend)
    leader, follower = (asyncio.create_task(client.generate(ask("a"))) for _ in range(2))
    await turns()
    leader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leader
    backend.gate.set()
    assert (await follower).text == "x"
    assert backend.calls == 1


async def test_cancelling_the_last_awaiter_cancels_the_call(ask: Ask) -> None:
    journal = MemoryJournal()
    backend = Gated(lambda request: "x")
    client = connect(backend, store=journal)
    tasks = [asyncio.create_task(client.generate(ask("a"))) for _ in range(2)]
    await turns()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert [row.outcome.kind for row in journal.attempts] == ["cancelled"]
    backend.gate.set()
    assert (await client.generate(ask("a"))).text == "x", "asked again, it is sent again"
    assert backend.calls == 2


async def test_closing_writes_down_what_was_in_flight(ask: Ask) -> None:
    journal = MemoryJournal()
    client = connect(Gated(lambda request: "x"), store=journal)
    task = asyncio.create_task(client.generate(ask("a")))
    await turns()
    await client.aclose()
    assert (await task).kind == "cancelled"
    assert journal.attempts[0].outcome.kind == "cancelled"


async def test_a_failure_reaches_every_awaiter(ask: Ask) -> None:
    backend = Gated(lambda request: Failure("auth", "no"))
    client = connect(backend)
    tasks = [asyncio.create_task(client.generate(ask("a"))) for _ in range(3)]
    await turns()
    backend.gate.set()
    assert {outcome.kind for outcome in await asyncio.gather(*tasks)} == {"auth"}
    assert client.statistics.failures == {"auth": 3}
