"""Batch backends against servers that speak the batch APIs, shuffle their answers and count what they carry out."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from autointerp.clients import Budget, MemoryJournal, ModelSpec, price_of
from autointerp.clients.connect import ConnectedClient
from autointerp.records import Failure, Message, NotSent, Request, Response, maybe_billed
from tests.clients.batch_servers import AnthropicBatches, BatchServer, OpenAIBatches
from tests.clients.batch_stack import KEY, make

Ask = Callable[..., Request]
WIRES: dict[str, type[BatchServer]] = {"anthropic": AnthropicBatches, "openai": OpenAIBatches}
both = pytest.mark.parametrize("wire", sorted(WIRES))


def spec_of(wire: str, server: BatchServer, options: str = "") -> ModelSpec:
    model = {"anthropic": "claude-haiku-4-5", "openai": "gpt-4o-mini"}[wire]
    return ModelSpec.parse(f"batch+{wire}/{model}@{server.url}?price=0.5,2.5{options}")


@contextlib.asynccontextmanager
async def talking(
    wire: str, *, options: str = "", journal: MemoryJournal | None = None, **server: Any
) -> AsyncIterator[tuple[ConnectedClient, Any, MemoryJournal]]:
    async with WIRES[wire](key=KEY, **server) as fake:
        journal = journal or MemoryJournal()
        async with make(spec_of(wire, fake, options), journal) as client:
            yield client, fake, journal


async def all_of(client: ConnectedClient, requests: list[Request]) -> list[Any]:
    return await asyncio.gather(*(client.generate(request) for request in requests))


@both
async def test_concurrent_requests_become_one_batch_and_answers_find_their_requests(wire: str, ask: Ask) -> None:
    async with talking(wire) as (client, server, journal):
        outcomes = await all_of(client, [ask(f"word {i}") for i in range(300)])
        assert [o.text for o in outcomes] == [f"WORD {i}" for i in range(300)]
        assert len(server.batches) == 1
        assert set(server.tally.values()) == {1}
        assert {a.key[:32] for a in journal.attempts} == set(server.tally)
        assert outcomes[0].cost_usd == pytest.approx((1000 * 0.5 + 100 * 2.5) / 1e6)
        assert [job.state for job in journal.jobs] == ["done"]
        assert (await client.generate(ask("word 7"))).cached
        assert client.statistics.sent == 300


@both
async def test_batches_are_bounded_by_count_and_by_bytes(wire: str, ask: Ask) -> None:
    async with talking(wire, options="&batch_size=40") as (client, server, _):
        await all_of(client, [ask(f"word {i}") for i in range(100)])
        assert sorted(len(batch["bodies"]) for batch in server.batches.values()) == [20, 40, 40]
        client._backend.max_bytes = 5000
        await all_of(client, [ask(f"{i} " + "x" * 2000) for i in range(6)])
        assert [len(batch["bodies"]) for batch in list(server.batches.values())[3:]] == [2, 2, 2]


async def test_requests_that_need_another_api_version_go_into_another_batch(ask: Ask) -> None:
    async with talking("anthropic") as (client, server, _):
        requests = [ask(f"word {i}", temperature=None if i % 2 else 0.0) for i in range(10)]
        assert [o.text for o in await all_of(client, requests)] == [f"WORD {i}" for i in range(10)]
        assert sorted(len(batch["bodies"]) for batch in server.batches.values()) == [5, 5]


@both
async def test_one_cache_with_the_online_backend(wire: str, ask: Ask) -> None:
    batch, online = (ModelSpec.parse(f"{transport}{wire}/m?price=1,2") for transport in ("batch+", ""))
    assert batch.identity == online.identity
    assert batch.text == f"batch+{wire}/m?price=1,2"
    assert ModelSpec.parse(batch.text) == batch
    journal = MemoryJournal()
    async with talking(wire, journal=journal) as (client, _, _):
        await client.generate(ask("word"))
        key = ask("word").key(client.spec.identity)
        assert client.spec.identity == f"{wire}/{client.spec.model}"
        assert journal.answers[key].text == "WORD"


def test_the_price_is_half_that_of_the_online_backend() -> None:
    batch, online = (price_of(ModelSpec.parse(t + "anthropic/claude-haiku-4-5")) for t in ("batch+", ""))
    assert online is not None
    assert batch is not None
    assert (batch.input, batch.output, batch.cached) == (online.input / 2, online.output / 2, online.cached)
    given = price_of(ModelSpec.parse("batch+anthropic/claude-haiku-4-5?price=3,4"))
    assert given is not None
    assert (given.input, given.output) == (3, 4), "a price in the string is the price that is paid"


KINDS = {
    "anthropic": {
        "expired": ({"type": "expired"}, "timeout", True),
        "cancelled": ({"type": "canceled"}, "cancelled", False),
        "invalid": (
            {
                "type": "errored",
                "error": {"type": "error", "error": {"type": "invalid_request_error", "message": "no"}},
            },
            "bad_request",
            False,
        ),
        "overloaded": (
            {"type": "errored", "error": {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}},
            "overloaded",
            True,
        ),
        "too long": (
            {
                "type": "errored",
                "error": {"error": {"type": "invalid_request_error", "message": "prompt is too long: 9 tokens"}},
            },
            "context_length",
            False,
        ),
    },
    "openai": {
        "expired": ({"response": None, "error": {"code": "batch_expired", "message": "late"}}, "timeout", True),
        "cancelled": ({"response": None, "error": {"code": "batch_cancelled", "message": ""}}, "cancelled", False),
        "invalid": ({"response": {"status_code": 400, "body": {"error": {"message": "no"}}}}, "bad_request", False),
        "overloaded": ({"response": {"status_code": 503, "body": {"error": {"message": "busy"}}}}, "overloaded", True),
        "too long": (
            {"response": {"status_code": 400, "body": {"error": {"code": "context_length_exceeded", "message": ""}}}},
            "context_length",
            False,
        ),
    },
}


@both
async def test_what_failed_inside_a_batch_is_a_failure_of_its_kind_and_costs_nothing(wire: str, ask: Ask) -> None:
    results = KINDS[wire]

    def answer(text: str) -> Any:
        return results[text][0] if text in results else text.upper()

    async with talking(wire, answer=answer) as (client, _, _journal):
        requests = {name: ask(name) for name in [*results, "fine"]}
        outcomes = dict(zip(requests, await all_of_backend(client, list(requests.values())), strict=True))
        assert outcomes.pop("fine").text == "FINE"
        seen = {name: (o.kind, o.retryable) for name, o in outcomes.items()}
        assert seen == {name: (kind, again) for name, (_, kind, again) in results.items()}
        assert not any(maybe_billed(o) for o in outcomes.values())


async def all_of_backend(client: ConnectedClient, requests: list[Request]) -> list[Any]:
    """Without the retries around it."""
    return await asyncio.gather(*(client._backend.generate(request) for request in requests))


@both
async def test_a_request_without_an_answer_is_not_forgotten(wire: str, ask: Ask) -> None:
    async with talking(wire, answer=lambda text: None if text == "lost" else text) as (client, _, _journal):
        lost, found = await all_of_backend(client, [ask("lost"), ask("found")])
        assert (lost.kind, lost.retryable, maybe_billed(lost)) == ("bad_answer", True, True)
        assert found.text == "found"


@both
async def test_an_expired_request_goes_into_another_batch(wire: str, ask: Ask) -> None:
    times = {"late": 0}

    def answer(text: str) -> Any:
        times[text] = times.get(text, 0) + 1
        return KINDS[wire]["expired"][0] if text == "late" and times["late"] == 1 else text.upper()

    async with talking(wire, answer=answer) as (client, server, _):
        outcomes = await all_of(client, [ask("late"), ask("early")])
        assert [o.text for o in outcomes] == ["LATE", "EARLY"]
        assert [len(batch["bodies"]) for batch in server.batches.values()] == [2, 1]


CREATE = {"anthropic": "POST batches", "openai": "POST batches"}


@both
async def test_a_creation_that_failed_is_tried_again(wire: str, ask: Ask) -> None:
    async with talking(wire, faults={CREATE[wire]: [429, 529, 429]}) as (client, server, journal):
        assert (await client.generate(ask("word"))).text == "WORD"
        assert len(server.batches) == 1
        assert [job.state for job in journal.jobs] == ["done"]


@both
async def test_a_batch_whose_id_was_lost_on_the_way_is_found_and_not_paid_twice(wire: str, ask: Ask) -> None:
    async with talking(wire, faults={CREATE[wire]: [502]}) as (client, server, _):
        server.swallow = 1
        outcomes = await all_of(client, [ask("a"), ask("b")])
        assert [o.text for o in outcomes] == ["A", "B"]
        assert set(server.tally.values()) == {1}


@both
async def test_a_key_that_is_refused_ends_it_at_once(wire: str, ask: Ask) -> None:
    first = {"anthropic": "POST batches", "openai": "POST files"}[wire]
    async with talking(wire, faults={first: [401]}) as (client, server, journal):
        outcomes = await all_of(client, [ask("a"), ask("b")])
        assert {(o.kind, o.retryable) for o in outcomes} == {("auth", False)}
        assert (server.calls[first], server.tally) == (1, {})
        assert [job.state for job in journal.jobs] == ["failed"]


async def test_a_full_queue_is_waited_for(ask: Ask) -> None:
    async with talking("openai") as (client, server, journal):
        server.refuse = ["token_limit_exceeded", "token_limit_exceeded"]
        assert (await client.generate(ask("word"))).text == "WORD"
        assert [job.state for job in journal.jobs] == ["failed", "failed", "done"]


async def test_a_file_that_is_refused_fails_its_requests(ask: Ask) -> None:
    async with talking("openai") as (client, server, _):
        server.refuse = ["model_not_found"]
        outcome = await client.generate(ask("word"))
        assert isinstance(outcome, NotSent)
        assert (outcome.kind, outcome.retryable) == ("bad_request", False)
        assert "model_not_found" in outcome.message


@both
async def test_polls_that_fail_do_not_end_it(wire: str, ask: Ask) -> None:
    download = {"anthropic": "GET results", "openai": "GET content"}[wire]
    async with talking(wire, polls=3, faults={"GET batch": [500, None, 404, 429], download: [503, 500]}) as talk:
        client, server, _ = talk
        assert (await client.generate(ask("word"))).text == "WORD"
        assert server.tally.total() == 1


# ------------------------------------------------------------------------------------------------------------- resuming


async def when(until: Callable[[], bool]) -> None:
    while not until():  # noqa: ASYNC110 - the server is on the other side
        await asyncio.sleep(0.002)


async def cut_off(wire: str, server: BatchServer, journal: MemoryJournal, requests: list[Request], until: Any) -> None:
    """Run a client and end it, as a kill would, once ``until()`` holds."""
    client = make(spec_of(wire, server), journal)
    task = asyncio.gather(*(client.generate(request) for request in requests), return_exceptions=True)
    await when(until)
    await client._backend._desk.aclose()
    await client._backend._sdk.aclose() if wire == "anthropic" else await client._backend._session.aclose()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await client.aclose()
    for attempt in journal.attempts:  # what a killed process would not have written
        if isinstance(attempt.outcome, Failure):
            attempt.outcome = None


@both
async def test_an_open_job_is_waited_for_and_not_paid_again(wire: str, ask: Ask) -> None:
    journal, requests = MemoryJournal(), [ask(f"word {i}") for i in range(50)]
    async with WIRES[wire](key=KEY, polls=10**9) as server:
        await cut_off(wire, server, journal, requests, lambda: server.calls["GET batch"] >= 2)
        assert [job.state for job in journal.jobs] == ["submitted"]
        server.batches["batch_0"]["polls"] = 2
        server.polls = 1
        async with make(spec_of(wire, server), journal) as client:
            outcomes = await all_of(client, [*requests[:30], ask("new")])
            assert [o.text for o in outcomes] == [*(f"WORD {i}" for i in range(30)), "NEW"]
            assert all(o.cached for o in outcomes[:30])
        assert set(server.tally.values()) == {1}
        assert len(server.batches) == 2
        assert [job.state for job in journal.jobs] == ["done", "done"]
        assert len(journal.attempts) == 51, "one attempt for each paid request"
        costs = [a.outcome.cost_usd for a in journal.attempts if isinstance(a.outcome, Response)]
        assert costs == [pytest.approx(0.00075)] * 51
        async with make(spec_of(wire, server), journal) as client:
            assert all(o.cached for o in await all_of(client, requests)), "also those that nobody waited for"


@both
async def test_a_job_whose_id_was_not_written_is_adopted(wire: str, ask: Ask) -> None:
    journal, requests = MemoryJournal(), [ask(f"word {i}") for i in range(5)]
    async with WIRES[wire](key=KEY, polls=10**9) as server:
        await cut_off(wire, server, journal, requests, lambda: server.calls["GET batch"] >= 1)
        journal.jobs[0] = dataclasses.replace(journal.jobs[0], external=None, state="begun")
        server.batches["batch_0"]["polls"] = 0
        async with make(spec_of(wire, server), journal) as client:
            assert [o.text for o in await all_of(client, requests)] == [f"WORD {i}" for i in range(5)]
        assert set(server.tally.values()) == {1}
        assert journal.jobs[0].external == "batch_0"


@both
@pytest.mark.parametrize("trouble", ["silence", "key"])
async def test_a_batch_out_of_reach_stops_the_run_and_is_taken_up_later(wire: str, trouble: str, ask: Ask) -> None:
    journal, requests = MemoryJournal(), [ask(f"word {i}") for i in range(5)]
    faults: dict[str, Any] = {"GET batch": [401]}
    if trouble == "silence":
        faults = {"POST batches": [502], "GET batches": [500] * 7}
    async with WIRES[wire](key=KEY, faults=faults) as server:
        server.swallow = int(trouble == "silence")
        async with make(spec_of(wire, server), journal) as client:
            for outcome in await all_of(client, requests):
                assert isinstance(outcome, Failure)
                assert outcome.kind == "cancelled", "which ends a run"
                assert "out of reach" in outcome.message
            again = await client.generate(requests[0])
            assert isinstance(again, NotSent), "and it is not paid a second time"
            assert again.kind == "cancelled"
        async with make(spec_of(wire, server), journal) as client:
            assert [o.text for o in await all_of(client, requests)] == [f"WORD {i}" for i in range(5)]
        assert set(server.tally.values()) == {1}
        assert [job.state for job in journal.jobs] == ["done"]
        assert sum(isinstance(a.outcome, Response) for a in journal.attempts) == 5
        assert not any(maybe_billed(a.outcome) for a in journal.attempts if a.outcome is not None)


@both
async def test_a_job_that_was_never_submitted_is_abandoned_and_its_requests_asked(wire: str, ask: Ask) -> None:
    journal, requests = MemoryJournal(), [ask(f"word {i}") for i in range(5)]
    async with WIRES[wire](key=KEY) as server:
        spec = spec_of(wire, server)
        keys = [request.key(spec.identity) for request in requests]
        for key in keys:
            await journal.begin(key, spec=spec.text, tag="", reserved_usd=0.01)
            journal.attempts[-1].started -= 60
        await journal.begin(orphan := "f" * 64, spec=spec.text, tag="", reserved_usd=0.01)
        journal.attempts[-1].started -= 60
        await journal.begin_job(spec.text, keys)
        async with make(spec, journal) as client:
            assert [o.text for o in await all_of(client, requests)] == [f"WORD {i}" for i in range(5)]
        assert [job.state for job in journal.jobs] == ["abandoned", "done"]
        never = [a for a in journal.attempts if isinstance(a.outcome, NotSent)]
        assert {a.key for a in never} == {*keys, orphan}, "what was never submitted cannot have been billed"


@both
async def test_a_job_that_the_provider_has_forgotten_is_given_up(wire: str, ask: Ask) -> None:
    journal = MemoryJournal()
    async with WIRES[wire](key=KEY, polls=10**9) as server:
        await cut_off(wire, server, journal, [ask("word")], lambda: server.calls["GET batch"] >= 1)
        server.batches.clear()
        server.polls = 0
        async with make(spec_of(wire, server), journal) as client:
            assert (await client.generate(ask("word"))).text == "WORD"
        assert [job.state for job in journal.jobs] == ["lost", "done"]
        lost = journal.attempts[0].outcome
        assert isinstance(lost, Failure)
        assert maybe_billed(lost)


@both
async def test_a_budget_holds_and_lets_batch_follow_batch(wire: str, ask: Ask) -> None:
    async with talking(wire) as (client, server, journal):
        assert client.price is not None
        worst = client.price.worst(ask("word 00", max_tokens=600))
        budget = Budget(worst * 20)
        with client.capped(budget):
            requests = [ask(f"word {i:02}", max_tokens=600) for i in range(40)]
            outcomes = await all_of(client, requests)
        answers = [o for o in outcomes if isinstance(o, Response)]
        assert {o.kind for o in outcomes if isinstance(o, Failure)} <= {"budget"}
        assert len(server.batches) > 1, "what a batch did not use is there for the next"
        assert len(answers) == server.tally.total() > 20
        assert budget.spent == pytest.approx(len(answers) * 0.00075)
        assert budget.spent <= budget.limit
        assert len(journal.attempts) == len(answers)


async def test_a_cancelled_waiter_leaves_the_batch_to_the_others(ask: Ask) -> None:
    async with talking("anthropic", polls=5) as (client, server, journal):
        tasks = [asyncio.create_task(client.generate(ask(f"word {i}"))) for i in range(3)]
        await when(lambda: bool(server.batches))
        tasks[0].cancel()
        assert [o.text for o in await asyncio.gather(*tasks[1:])] == ["WORD 1", "WORD 2"]
        assert (await client.generate(ask("word 0"))).text == "WORD 0"
        assert server.tally.total() == 3
        assert len(journal.attempts) == 3


def test_a_client_serves_two_event_loops(ask: Ask) -> None:
    journal = MemoryJournal()

    async def once(client: ConnectedClient, text: str) -> str:
        return (await client.generate(Request((Message("user", text),)))).text

    async def main() -> None:
        async with AnthropicBatches(key=KEY) as server:
            client = make(spec_of("anthropic", server), journal)
            first = await asyncio.to_thread(lambda: asyncio.run(once(client, "a")))
            second = await asyncio.to_thread(lambda: asyncio.run(once(client, "b")))
            assert (first, second) == ("A", "B")

    asyncio.run(main())
