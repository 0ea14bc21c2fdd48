"""The whole client against a server that misbehaves as real ones do, in both wire formats."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable

import pytest

from autointerp.clients import Limits, MemoryJournal, connect
from autointerp.clients.connect import ConnectedClient
from autointerp.records import Failure, Request, Response, maybe_billed
from tests.servers import FakeServer, Fault, RateLimit

WIRES = {"anthropic": "anthropic/m@{}?price=1,5", "compatible": "openai/m@{}?price=1,5"}
QUICK = Limits(backoff_s=1e-4, backoff_cap_s=1e-3, max_attempts=30, timeout_s=20.0)
Ask = Callable[..., Request]


def client_of(wire: str, server: FakeServer, limits: Limits = QUICK) -> tuple[ConnectedClient, MemoryJournal]:
    journal = MemoryJournal()
    return connect(WIRES[wire].format(server.url), store=journal, limits=limits), journal


@pytest.mark.parametrize("wire", WIRES)
async def test_a_storm_of_faults_loses_nothing_and_accounts_for_everything(wire: str, ask: Ask) -> None:
    source = random.Random(0)
    kinds = [None, None, None, Fault(500), Fault(503), Fault(429, headers={"Retry-After": "0"}), Fault(529),
             Fault(reset=True), Fault(truncate=True), Fault(usage={"output_tokens": -5, "completion_tokens": -5}),
             Fault(usage=None), Fault(twice=True), Fault(408), Fault(body="<html>busy</html>")]  # fmt: skip
    faults = (source.choice(kinds) for _ in iter(int, 1))
    async with FakeServer(
        wire, answer=lambda received: received.text, faults=faults, latency=lambda: source.expovariate(200)
    ) as server:
        client, journal = client_of(wire, server)
        async with client:
            outcomes = await asyncio.gather(*(client.generate(ask(f"question {i}")) for i in range(150)))
        assert [getattr(outcome, "text", outcome) for outcome in outcomes] == [f"question {i}" for i in range(150)]
        assert server.count == len(journal.attempts) == client.statistics.sent, "every attempt has its row"
        sent = [row.outcome for row in journal.attempts]
        confirmed = sum(one.cost_usd or 0 for one in sent if isinstance(one, Response))
        unknown = sum(
            row.reserved_usd or 0
            for row in journal.attempts
            if maybe_billed(row.outcome) or (isinstance(row.outcome, Response) and row.outcome.cost_usd is None)
        )
        charged = sum(max(0, c.input_tokens) * 1 + max(0, c.output_tokens) * 5 for c in server.tally.values()) / 1e6
        assert confirmed <= charged * 1.2, "the tally does not add what was read from a cache"
        assert charged <= confirmed + unknown
        assert len(server.tally) == 150
        assert not any(getattr(one, "kind", "") == "internal" for one in sent)


@pytest.mark.parametrize("wire", WIRES)
async def test_a_second_delivery_is_not_taken_for_the_next_answer(wire: str, ask: Ask) -> None:
    async with FakeServer(wire, answer=lambda received: received.text, faults=[Fault(twice=True), None] * 10) as server:
        client, _ = client_of(wire, server, Limits(max_in_flight=1, backoff_s=1e-4))
        async with client:
            for i in range(20):
                assert (await client.generate(ask(str(i)))).text == str(i)


@pytest.mark.parametrize("wire", WIRES)
async def test_slow_loris_ends_at_the_timeout_of_an_attempt(wire: str, ask: Ask) -> None:
    async with FakeServer(wire, faults=[Fault(stall=True)]) as server:
        client, journal = client_of(wire, server, Limits(timeout_s=2, backoff_s=1e-4))
        async with client:
            assert isinstance(await client.generate(ask()), Response)
        kinds = [getattr(row.outcome, "kind", "answer") for row in journal.attempts]
        assert kinds == ["timeout", "answer"]
        assert maybe_billed(journal.attempts[0].outcome)


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize(
    "usage",
    [None, {"input_tokens": -1, "prompt_tokens": -1}, {"output_tokens": 1.5, "completion_tokens": "9"},
     {"cache_read_input_tokens": -10, "prompt_tokens_details": {"cached_tokens": 10**9}}],
)  # fmt: skip
async def test_counts_that_cannot_be_true_are_unknown_not_free(
    wire: str, usage: dict[str, object] | None, ask: Ask
) -> None:
    async with FakeServer(wire, faults=[Fault(usage=usage)]) as server:
        client, journal = client_of(wire, server)
        async with client:
            outcome = await client.generate(ask())
        assert (outcome.usage, outcome.cost_usd) == (None, None)
        assert journal.attempts[0].reserved_usd > 0


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("again", ["ms", "body", None])
async def test_a_rate_limit_is_learned_from_what_the_server_says(wire: str, again: str | None, ask: Ask) -> None:
    limit = RateLimit(6000.0, 5.0, again=again)
    async with FakeServer(wire, answer=lambda received: received.text, limit=limit) as server:
        client, _ = client_of(wire, server, Limits(max_in_flight=8, backoff_s=1e-3))
        async with client:
            outcomes = await asyncio.gather(*(client.generate(ask(str(i))) for i in range(40)))
        assert all(isinstance(outcome, Response) for outcome in outcomes)
        assert client.flow.rates._buckets["requests"].per_minute == pytest.approx(0.97 * 6000)
        assert len(limit.refused) <= 16, "those that were on their way before the first word of a limit"
        assert Counter(charge.times for charge in server.tally.values()) == {1: 40}


async def test_an_error_for_good_is_not_an_outage(ask: Ask) -> None:
    async with FakeServer("compatible", faults=(Fault(400) for _ in range(100))) as server:
        client, _ = client_of("compatible", server)
        async with client:
            outcomes = [await client.generate(ask(str(i))) for i in range(30)]
        assert {outcome.kind for outcome in outcomes if isinstance(outcome, Failure)} == {"bad_request"}
        assert (server.count, client.flow.breaker.is_open) == (30, False)


async def test_as_many_connections_as_requests_in_flight(ask: Ask) -> None:
    async with FakeServer("compatible", latency=lambda: 0.02) as server:
        client, _ = client_of("compatible", server, Limits(max_in_flight=7))
        async with client:
            await asyncio.gather(*(client.generate(ask(str(i))) for i in range(60)))
        assert server.most == 7
