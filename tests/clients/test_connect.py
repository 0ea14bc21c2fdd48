from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from autointerp.clients import Budget, Limits, MemoryJournal, Price, Scripted, connect
from autointerp.clients.connect import ConnectedClient
from autointerp.errors import ClientError, UsageError
from autointerp.records import Client, Failure, Outcome, Request, Response, Usage
from tests.servers import FakeServer, Fault

Ask = Callable[..., Request]
CANARY = "sk-canary-0123456789abcdef"


def test_importing_is_light() -> None:
    heavy = "('aiohttp', 'anthropic', 'openai', 'torch')"
    code = f"import autointerp.clients, sys; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize(
    ("spec", "variable"),
    [
        ("anthropic/claude-haiku-4-5", "ANTHROPIC_API_KEY"),
        ("openai/gpt-4o-mini", "OPENAI_API_KEY"),
        ("openrouter/a/b", "OPENROUTER_API_KEY"),
    ],
)
def test_a_missing_key_is_named_at_once(spec: str, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ClientError, match=variable):
        connect(spec)
    monkeypatch.setenv(variable, "  ")
    with pytest.raises(ClientError, match=variable):
        connect(spec)
    monkeypatch.setenv(variable, "se cret\x07")
    with pytest.raises(ClientError) as caught:
        connect(spec)
    assert "cret" not in str(caught.value)
    monkeypatch.setenv(variable, "good-key\n")
    assert connect(spec).spec.text == spec


def test_it_is_a_client() -> None:
    assert isinstance(connect(Scripted(["x"])), Client)
    assert isinstance(Scripted(["x"]), Client)


async def test_scripted(ask: Ask) -> None:
    async with connect("scripted?answer=yes") as client:
        assert (await client.generate(ask())).text == "yes"
    with pytest.raises(UsageError, match="answer=TEXT"):
        connect("scripted")
    backend = Scripted(["one", Failure("auth", "no")])
    assert [(await backend.generate(ask())) for _ in range(3)][1:] == [
        Failure("auth", "no"),
        Failure("internal", "the script has 2 answers, and this is call 3"),
    ]
    assert backend.calls == 3


def test_a_budget_needs_a_price(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENROUTER_API_KEY", "k")
    with pytest.raises(ClientError, match=r"\?price=IN,OUT"):
        connect("openrouter/a/b", budget_usd=1)
    with pytest.raises(ClientError, match=r"\?price=IN,OUT"), connect("openrouter/a/b").capped(Budget(1)):
        pass
    assert connect("openrouter/a/b?price=1,2", budget_usd=1).price == Price(1.0, 2.0)
    assert connect("openai/q@http://localhost:1/v1", budget_usd=1).price is None
    with connect(Scripted(["x"]), budget_usd=0).capped(Budget(0)):
        pass


def test_options_of_the_string_are_limits() -> None:
    client = connect("openai/q@http://localhost:1/v1?in_flight=3&rpm=100&timeout=9", limits=Limits(max_in_flight=50))
    assert client.flow.concurrency.limit == 3
    assert client._ledger._timeout == 9
    with pytest.raises(UsageError, match="max_in_flight"):
        Limits(max_in_flight=0)


class Paid(Scripted):
    """Charges by its own count of what was sent, less than the worst case; checks the budgets at every call."""

    def __init__(self, price: Price, *budgets: Budget, output: int = 20) -> None:
        super().__init__(lambda request: Response("x", Usage(100, output)))
        self.price, self.budgets, self.output, self.charged = price, budgets, output, 0.0

    async def generate(self, request: Request) -> Outcome:
        self.charged += self.price.cost(Usage(100, self.output))
        for budget in self.budgets:
            assert budget.spent + budget.reserved <= budget.limit + 1e-9
        await asyncio.sleep(0)
        return await super().generate(request)


@pytest.mark.parametrize(("client_limit", "run_limit"), [(0.01, 1.0), (1.0, 0.01), (0.01, 0.01)])
async def test_a_budget_is_never_exceeded_and_well_used(client_limit: float, run_limit: float, ask: Ask) -> None:
    price, own, run = Price(1.0, 5.0), Budget(client_limit), Budget(run_limit)
    backend = Paid(price, own, run)
    client = ConnectedClient(
        backend, journal=MemoryJournal(), limits=Limits(max_in_flight=200), price=price, budget=own
    )
    with client.capped(run):
        outcomes = await asyncio.gather(*(client.generate(ask(str(i))) for i in range(200)))
    answered = sum(isinstance(outcome, Response) for outcome in outcomes)
    assert {outcome.kind for outcome in outcomes if isinstance(outcome, Failure)} == {"budget"}
    assert backend.charged <= 0.01
    assert own.spent == pytest.approx(run.spent) == pytest.approx(backend.charged)
    each, worst = price.cost(Usage(100, 20)), price.worst(ask("199"))
    assert answered == backend.calls
    assert answered * each > 0.01 - worst - each, "what requests in flight did not use is used by others"
    assert client._ledger.budgets == [own]
    assert client.statistics.failures == {"budget": 200 - answered}


async def test_no_key_anywhere(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    seen: list[Any] = []
    echo = {"error": {"message": f"Incorrect API key provided: {CANARY}. Header: Bearer {CANARY}", "type": "x"}}
    for wire, name in [("anthropic", "anthropic/m"), ("openrouter", "openrouter/a/b"), ("compatible", "openai/q")]:
        faults = [Fault(500, body=echo), Fault(reset=True), Fault(truncate=True), None, Fault(401, body=echo)]
        async with FakeServer(wire, key=CANARY, faults=faults) as server:
            journal = MemoryJournal()
            limits = Limits(backoff_s=1e-6)
            client = connect(f"{name}@{server.url}", store=journal, limits=limits, api_key=CANARY)
            seen += [client, client._backend, await client.generate(ask("a")), await client.generate(ask("b"))]
            seen += [client.spec, client.statistics, journal.attempts, journal.answers]
            assert server.count == 5
            await client.aclose()
    monkeypatch.setenv("ANTHROPIC_API_KEY", CANARY + " broken")
    with pytest.raises(ClientError) as caught:
        connect("anthropic/m")
    seen += [caught.value]
    text = "\n".join([caplog.text, *capfd.readouterr(), *map(repr, seen), *map(str, seen)])
    assert "canary" not in text
    assert "***" in text, "the server's own words came through, without the key"
