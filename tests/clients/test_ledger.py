from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from autointerp.clients import Budget, Limits, MemoryJournal, Price, Scripted, connect
from autointerp.clients.classify import NotSent
from autointerp.clients.ledger import Ledger
from autointerp.errors import ClientError, DiskFull
from autointerp.records import Failure, Outcome, Request, Response, Usage
from autointerp.store import RunStore
from autointerp.store.writer import Item, Writer

PRICE = Price(1.0, 5.0, 0.1)
Ask = Callable[..., Request]


def ledger(answer: Callable[[Request], Outcome | str], price: Price | None = PRICE, **more: object) -> Ledger:
    journal = more.pop("journal", None) or MemoryJournal()
    return Ledger(Scripted(answer), journal, price, more.pop("timeout_s", 60.0), **more)  # type: ignore[arg-type]


async def test_cost_replaces_the_reservation(ask: Ask) -> None:
    journal, budget = MemoryJournal(), Budget(1.0)
    made = ledger(lambda request: Response("x", Usage(1000, 200, 500)), journal=journal)
    made.budgets.append(budget)
    outcome = await made(ask(tag="explain"), "k")
    expected = (500 * 1.0 + 500 * 0.1 + 200 * 5.0) / 1e6
    assert outcome.cost_usd == pytest.approx(expected)
    assert (budget.spent, budget.reserved) == (pytest.approx(expected), 0.0)
    row = journal.attempts[0]
    assert (row.key, row.spec, row.tag, row.outcome) == ("k", "scripted", "explain", outcome)
    assert row.reserved_usd == pytest.approx(PRICE.worst(ask()))


@pytest.mark.parametrize(
    ("outcome", "kept"),
    [
        (Failure("timeout", ""), True),
        (Failure("connection", ""), True),
        (Failure("bad_answer", ""), True),
        (Failure("server", ""), True),
        (NotSent("connection", ""), False),
        (Failure("rate_limit", ""), False),
        (Failure("overloaded", ""), False),
        (Failure("auth", ""), False),
        (Failure("bad_request", ""), False),
        (Response("x", usage=None), True),
    ],
)
async def test_what_may_have_been_billed_stays_set_aside(ask: Ask, outcome: Outcome, kept: bool) -> None:
    budget = Budget(1.0)
    made = ledger(lambda request: outcome)
    made.budgets.append(budget)
    await made(ask(), "k")
    assert (budget.reserved > 0, budget.spent) == (kept, 0.0)


async def test_over_budget_is_not_sent_and_not_journaled(ask: Ask) -> None:
    journal, small, large = MemoryJournal(), Budget(1e-6), Budget(1.0)
    made = ledger(lambda request: "x", journal=journal)
    made.budgets += [large, small]
    outcome = await made(ask(), "k")
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.retryable, made.sent, journal.attempts) == ("budget", False, 0, [])
    assert large.reserved == 0.0


async def test_a_free_backend_needs_no_money(ask: Ask) -> None:
    assert (await ledger(lambda request: Response("x"), price=None)(ask(), "k")).cost_usd == 0.0


class Slow(Scripted):
    """Waits for a signal before it answers."""

    def __init__(self) -> None:
        super().__init__(["late"])
        self.go = asyncio.Event()

    async def generate(self, request: Request) -> Outcome:
        await self.go.wait()
        return await super().generate(request)


async def test_cancelled_in_flight_is_written_down_as_maybe_billed(ask: Ask) -> None:
    journal, budget = MemoryJournal(), Budget(1.0)
    made = Ledger(Slow(), journal, PRICE, 60.0)
    made.budgets.append(budget)
    task = asyncio.create_task(made(ask(), "k"))
    await asyncio.sleep(0)
    assert journal.attempts[0].outcome is None
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert journal.attempts[0].outcome == Failure("cancelled", "cancelled while in flight")
    assert budget.reserved == journal.attempts[0].reserved_usd


async def test_no_answer_in_time(ask: Ask) -> None:
    journal = MemoryJournal()
    outcome = await Ledger(Slow(), journal, PRICE, 1e-9)(ask(), "k")
    assert (outcome.kind, outcome.retryable) == ("timeout", True)
    assert journal.attempts[0].outcome == outcome


async def test_written_down_before_the_awaiter_wakes(ask: Ask) -> None:
    class Held(MemoryJournal):
        gate = asyncio.Event()

        async def finish(self, attempt: int, outcome: Outcome) -> None:
            await self.gate.wait()
            await super().finish(attempt, outcome)

    journal = Held()
    task = asyncio.create_task(ledger(lambda request: "x", journal=journal)(ask(), "k"))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not task.done()
    task.cancel()  # even a cancellation waits until the answer is stored
    for _ in range(10):
        await asyncio.sleep(0)
    assert not task.done()
    journal.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert journal.answers["k"].text == "x"


async def test_the_place_in_the_queue_is_free_before_the_end_is_written_down_and_the_next_is_journalled_after_it(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit, sizes, events = Writer._commit, [], []

    def noted(self: Writer, batch: list[Item]) -> None:
        sizes.append(len(batch))
        commit(self, batch)

    class Noted(RunStore):
        async def begin(self, key: str, *, spec: str, tag: str, reserved_usd: float | None) -> int:
            events.append(("begin", tag))
            return await super().begin(key, spec=spec, tag=tag, reserved_usd=reserved_usd)

        async def finish(self, attempt: int, outcome: Outcome) -> None:
            events.append(("finish", outcome.text))  # type: ignore[union-attr]
            await super().finish(attempt, outcome)

    monkeypatch.setattr(Writer, "_commit", noted)
    with Noted.open(tmp_path) as store:
        one_by_one = Limits(max_in_flight=1)
        async with connect(Scripted(lambda request: request.tag), store=store, limits=one_by_one) as client:
            await client.generate_all([replace(ask(name), tag=name) for name in "abc"])
        assert events == [(what, name) for name in "abc" for what in ("begin", "finish")]
        assert sizes == [1, 2, 2, 1], "the end of one and the beginning of the next are one transaction"


async def test_a_full_disk_before_sending_sends_nothing(ask: Ask) -> None:
    class Full(MemoryJournal):
        async def begin(self, key: str, *, spec: str, tag: str, reserved_usd: float | None) -> int:
            raise DiskFull("disk full")

    budget = Budget(1.0)
    made = ledger(lambda request: "x", journal=Full())
    made.budgets.append(budget)
    with pytest.raises(DiskFull):
        await made(ask(), "k")
    assert (made.sent, budget.reserved) == (0, 0.0)


async def test_a_defect_of_a_backend_is_a_value_and_a_usage_error_is_not(ask: Ask) -> None:
    def defect(request: Request) -> str:
        raise KeyError("secret-key-123")

    outcome = await ledger(defect, key="secret-key-123")(ask(), "k")
    assert (outcome.kind, outcome.retryable) == ("internal", False)
    assert "secret-key-123" not in outcome.message

    def wrong(request: Request) -> str:
        raise ClientError("not like this")

    journal = MemoryJournal()
    with pytest.raises(ClientError):
        await ledger(wrong, journal=journal)(ask(), "k")
    assert journal.attempts[0].outcome is not None
