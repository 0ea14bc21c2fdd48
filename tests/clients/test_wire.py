"""Each backend against a server that speaks its wire format and checks what it receives."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from autointerp.clients import Limits, MemoryJournal, ModelSpec, connect, price_of
from autointerp.clients.connect import ConnectedClient
from autointerp.clients.openai import OpenAI
from autointerp.records import Failure, Message, Request, Response, Usage
from tests.servers import FakeServer, Fault, ok_body

WIRES = ("anthropic", "openai", "openrouter", "compatible")
SPECS = {"anthropic": "anthropic/claude-haiku-4-5", "openrouter": "openrouter/a/b", "compatible": "openai/Qwen/Q"}
KEY = "test-key-of-this-server"
SCHEMA = {
    "type": "object",
    "properties": {
        "answers": {
            "type": "array",
            "items": {"type": "integer", "minimum": 0, "maximum": 1},
            "minItems": 5,
            "maxItems": 5,
        }
    },
    "required": ["answers"],
    "additionalProperties": False,
}
Ask = Callable[..., Request]


@contextlib.asynccontextmanager
async def talking(
    wire: str, *, options: str = "", key: str | None = KEY, **server: Any
) -> AsyncIterator[tuple[ConnectedClient, FakeServer, MemoryJournal]]:
    """A whole client and the server it talks to; waits pass at once."""
    async with FakeServer(wire, key=key, **server) as fake:
        journal, limits = MemoryJournal(), Limits()
        if wire == "openai":
            spec = ModelSpec.parse("openai/gpt-4o-mini" + options)
            backend = OpenAI(spec, limits=limits, api_key=key, home=fake.url)
        else:
            spec = ModelSpec.parse(f"{SPECS[wire]}@{fake.url}{options}")
            backend = spec.backend(spec, limits=limits, api_key=key)
        now = [0.0]

        async def sleep(seconds: float) -> None:
            now[0] += seconds

        timing = {"sleep": sleep, "clock": lambda: now[0], "uniform": lambda low, high: high}
        client = ConnectedClient(backend, journal=journal, limits=limits, price=price_of(spec), key=key, timing=timing)
        async with client:
            yield client, fake, journal


@pytest.mark.parametrize("wire", WIRES)
async def test_an_answer(wire: str, ask: Ask) -> None:
    async with talking(wire, answer=lambda received: received.text.upper()) as (client, server, _):
        outcome = await client.generate(ask("héllo ☃"))
        assert isinstance(outcome, Response)
        tokens = len(server.requests[0].raw) // 4
        assert (outcome.text, outcome.finish) == ("HÉLLO ☃", "stop")
        assert outcome.usage == Usage(tokens, 1, tokens // 8)
        assert outcome.model == client.spec.model
        assert (await client.generate(ask("héllo ☃"))).cached
        assert server.count == 1


@pytest.mark.parametrize("wire", WIRES)
async def test_the_body(wire: str, ask: Ask) -> None:
    async with talking(wire) as (client, server, _):
        await client.generate(ask("q", max_tokens=77, temperature=0.0, schema=SCHEMA))
        await client.generate(ask("q", temperature=None))
        first, second = (received.body for received in server.requests)
        limit = "max_completion_tokens" if wire == "openai" else "max_tokens"
        assert (first[limit], first["temperature"], "temperature" in second) == (77, 0.0, False)
        if wire == "anthropic":
            assert (first["system"], first["messages"]) == ("be brief", [{"role": "user", "content": "q"}])
            sent = first["output_config"]["format"]["schema"]
            assert sent["properties"]["answers"]["items"]["type"] == "integer"
            assert sent["required"] == ["answers"]
            assert "output_config" not in second
            versions = [received.headers["anthropic-version"] for received in server.requests]
            assert versions[0] == "2023-06-01", "later versions of the API have no sampling parameters"
            assert versions[1] != "2023-06-01"
        else:
            assert [message["role"] for message in first["messages"]] == ["system", "user"]
            sent = first["response_format"]["json_schema"]
            assert (sent["schema"], sent["strict"]) == (SCHEMA, True)
            assert "response_format" not in second


async def test_a_schema_that_is_not_strict_is_sent_as_such(ask: Ask) -> None:
    async with talking("compatible") as (client, server, _):
        await client.generate(ask(schema={"type": "object", "properties": {"a": {"type": "string"}}}))
        assert server.requests[0].body["response_format"]["json_schema"]["strict"] is False


@pytest.mark.parametrize(
    ("wire", "options", "expected"),
    [
        ("anthropic", "?temperature=0.5&top_k=3", {"temperature": 0.5, "top_k": 3}),
        ("anthropic", "?temperature=default&effort=low&schema=false", {"output_config": {"effort": "low"}}),
        ("anthropic", "?thinking=disabled", {"thinking": {"type": "disabled"}}),
        ("openai", "?seed=4&reasoning_effort=low", {"seed": 4, "reasoning_effort": "low"}),
        ("compatible", "?min_p=0.1&top_k=5&schema=false", {"min_p": 0.1, "top_k": 5}),
        (
            "openrouter",
            "?order=x,y&allow_fallbacks=false&sort=price&reasoning_effort=high",
            {
                "provider": {"order": ["x", "y"], "allow_fallbacks": False, "sort": "price"},
                "reasoning": {"effort": "high"},
            },
        ),
    ],
)
async def test_options_of_the_string(wire: str, options: str, expected: dict[str, Any], ask: Ask) -> None:
    async with talking(wire, options=options) as (client, server, _):
        await client.generate(ask(schema=SCHEMA if "schema" in options else None))
        body = server.requests[0].body
        assert {name: body.get(name) for name in expected} == expected
        assert "response_format" not in body
        assert ("temperature" in body) == ("default" not in options)


@pytest.mark.parametrize(
    ("spec", "sent"),
    [
        ("anthropic/claude-haiku-4-5", True),
        ("anthropic/claude-sonnet-4-6", True),
        ("anthropic/claude-opus-4-6", True),
        ("anthropic/claude-opus-4-7", False),
        ("anthropic/claude-opus-4-8", False),
        ("anthropic/claude-opus-5", False),
        ("anthropic/claude-opus-5-5", False),
        ("anthropic/claude-opus-5?temperature=1", True),
        ("openai/gpt-4o-mini", True),
        ("openai/gpt-5.2", True),
        ("openai/gpt-5-mini", False),
        ("openai/o3-mini", False),
    ],
)
def test_models_that_refuse_a_temperature_get_none(spec: str, sent: bool, ask: Ask) -> None:
    parsed = ModelSpec.parse(spec)
    backend = parsed.backend(parsed, limits=Limits(), api_key="k")
    if parsed.provider == "anthropic":
        arguments = backend.arguments(ask())
        assert ("temperature" in arguments.get("extra_body", {})) is sent
        assert ("extra_headers" in arguments) is sent
    else:
        assert ("temperature" in backend.body(ask())) is sent


async def test_openrouter_reports_the_cost(ask: Ask) -> None:
    async with talking("openrouter") as (client, _, _):
        assert (await client.generate(ask())).cost_usd == 0.00125


async def test_the_table_gives_the_cost(ask: Ask) -> None:
    async with talking("openai") as (client, server, _):
        outcome = await client.generate(ask("word " * 500))
        tokens = len(server.requests[0].raw) // 4
        cached = tokens // 8
        assert outcome.cost_usd == pytest.approx(((tokens - cached) * 0.15 + cached * 0.075 + 1 * 0.6) / 1e6)


def anthropic_body(**fields: Any) -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn", **fields}


def chat_body(message: Any, finish: str = "stop", **fields: Any) -> dict[str, Any]:
    return {"model": "m", "choices": [{"index": 0, "message": message, "finish_reason": finish}], **fields}


TEXT = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "a"}, {"type": "text", "text": "b"}]


@pytest.mark.parametrize(
    ("wire", "body", "text", "finish"),
    [
        ("anthropic", anthropic_body(content=TEXT), "ab", "stop"),
        ("anthropic", anthropic_body(content=TEXT, stop_reason="max_tokens"), "ab", "length"),
        ("anthropic", anthropic_body(content=[], stop_reason="refusal"), "", "refusal"),
        ("anthropic", anthropic_body(content=TEXT, stop_reason="stop_sequence"), "ab", "stop"),
        ("openai", chat_body({"content": "a"}, "length"), "a", "length"),
        ("openai", chat_body({"content": None}, "length"), "", "length"),
        ("openai", chat_body({"content": None, "refusal": "I cannot"}), "I cannot", "refusal"),
        ("compatible", chat_body({"content": ""}, "content_filter"), "", "refusal"),
        ("compatible", chat_body({"content": "a"}, "tool_calls"), "a", "tool_calls"),
    ],
)
async def test_how_an_answer_ends(wire: str, body: dict[str, Any], text: str, finish: str, ask: Ask) -> None:
    async with talking(wire, answer=lambda received: body) as (client, _, _):
        outcome = await client.generate(ask())
        assert (outcome.text, outcome.finish, outcome.usage) == (text, finish, None)


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault(429, headers={"Retry-After": "7"}), "rate_limit"),
        (Fault(429), "rate_limit"),
        (Fault(500), "server"),
        (Fault(503), "overloaded"),
        (Fault(529), "overloaded"),
        (Fault(reset=True), "connection"),
        (Fault(truncate=True), "bad_answer"),
        (Fault(body={"unexpected": "shape"}), "bad_answer"),
        (Fault(body="[1, 2]"), "bad_answer"),
        (Fault(body="<html>no</html>"), "bad_answer"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_trouble_that_passes(wire: str, fault: Fault, kind: str, ask: Ask) -> None:
    async with talking(wire, faults=[fault, None]) as (client, server, journal):
        outcome = await client.generate(ask(schema=SCHEMA))
        assert isinstance(outcome, Response)
        assert [getattr(row.outcome, "kind", "answer") for row in journal.attempts] == [kind, "answer"]
        assert (client.statistics.sent, client.statistics.retries) == (2, 1)
        first, second = server.requests
        assert first.raw == second.raw
        if fault.headers:
            assert journal.attempts[0].outcome.retry_after == 7.0


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize(
    ("status", "kind"), [(400, "bad_request"), (401, "auth"), (402, "quota"), (404, "bad_request")]
)
async def test_trouble_that_stays(wire: str, status: int, kind: str, ask: Ask) -> None:
    async with talking(wire, faults=[Fault(status)]) as (client, server, journal):
        outcome = await client.generate(ask())
        assert isinstance(outcome, Failure)
        assert (outcome.kind, outcome.status, server.count) == (kind, status, 1)
        assert f"trouble {status}" in outcome.message
        assert journal.answers == {}
        assert client.statistics.failures == {kind: 1}


async def test_a_redirect_is_not_followed(ask: Ask) -> None:
    for wire in WIRES:
        async with FakeServer("compatible") as elsewhere:
            fault = Fault(307, body="", headers={"Location": elsewhere.url + "/chat/completions"})
            async with talking(wire, faults=[fault]) as (client, _, _):
                outcome = await client.generate(ask())
                assert (outcome.kind, elsewhere.count) == ("bad_request", 0)
                assert "redirect" in outcome.message


async def test_trouble_of_openrouter_inside_a_good_status(ask: Ask) -> None:
    errors = [
        {"error": {"code": 429, "message": "slow"}},
        chat_body({"content": "half"}, "error", error={"code": 502, "message": "provider"}),
        {"choices": [{"error": {"code": 503, "message": "none"}, "message": {"content": ""}}]},
    ]
    async with talking("openrouter", faults=[Fault(body=body) for body in errors]) as (client, _, journal):
        await client.generate(ask())
        assert [row.outcome.kind for row in journal.attempts[:-1]] == ["rate_limit", "server", "overloaded"]


@pytest.mark.parametrize("wire", WIRES)
async def test_nobody_there(wire: str, ask: Ask) -> None:
    async with FakeServer(wire) as server:
        url = server.url
    spec = ModelSpec.parse("openai/gpt-4o-mini" if wire == "openai" else f"{SPECS[wire]}@{url}")
    made = OpenAI(spec, limits=Limits(), api_key="k", home=url) if wire == "openai" else None
    backend = made or spec.backend(spec, limits=Limits(), api_key=None)
    outcome = await backend.generate(ask())
    await backend.aclose()
    assert (outcome.kind, type(outcome).__name__) == ("connection", "NotSent")


@pytest.mark.parametrize("wire", WIRES)
async def test_the_journal_knows_before_the_server_does(wire: str, ask: Ask) -> None:
    states = []

    def answer(received: Any) -> str:
        states.append([row.outcome for row in journal.attempts])
        return "fine"

    async with talking(wire, answer=answer) as (client, _, journal):
        outcome = await client.generate(ask())
        assert states == [[None]]
        assert [row.outcome for row in journal.attempts] == [outcome]


@pytest.mark.parametrize("wire", ["anthropic", "openrouter", "compatible"])
async def test_a_key_of_the_environment_goes_to_its_own_host_only(
    wire: str, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "OPENAI_API_KEY", "OPENROUTER_API_KEY"):
        monkeypatch.setenv(name, "the-provider-key")
    monkeypatch.setenv("ANTHROPIC_CUSTOM_HEADERS", "X-Gateway: the-provider-key")
    async with FakeServer(wire, key=None) as server, connect(f"{SPECS[wire]}@{server.url}") as client:
        assert isinstance(await client.generate(ask()), Response)
        assert "the-provider-key" not in json.dumps(server.requests[0].headers)


async def test_the_key_for_compatible_servers(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_COMPAT_API_KEY", "compat-key")
    async with FakeServer("compatible", key="compat-key") as server, connect(f"openai/q@{server.url}") as client:
        assert isinstance(await client.generate(ask()), Response)


@pytest.mark.parametrize("wire", ["anthropic", "openrouter", "compatible"])
async def test_an_explicit_key_goes_where_the_string_says(wire: str, ask: Ask) -> None:
    async with FakeServer(wire, key=KEY) as server, connect(f"{SPECS[wire]}@{server.url}", api_key=KEY) as client:
        assert isinstance(await client.generate(ask()), Response)


async def test_addresses_in_the_environment_move_nothing(monkeypatch: pytest.MonkeyPatch, ask: Ask) -> None:
    async with FakeServer("anthropic") as elsewhere:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", elsewhere.url)
        monkeypatch.setenv("OPENAI_BASE_URL", elsewhere.url)
        spec = ModelSpec.parse("anthropic/m")
        backend = spec.backend(spec, limits=Limits(), api_key="k")
        assert str((await backend._sdk.get()).base_url).startswith("https://api.anthropic.com")
        await backend.aclose()
        spec = ModelSpec.parse("openai/m")
        assert spec.backend(spec, limits=Limits(), api_key="k")._url.startswith("https://api.openai.com/v1/")


@pytest.mark.parametrize("wire", WIRES)
def test_two_event_loops_and_no_close(wire: str, ask: Ask, recwarn: pytest.WarningsRecorder) -> None:
    spec = ModelSpec.parse("openai/gpt-4o-mini" if wire == "openai" else f"{SPECS[wire]}@http://127.0.0.1:1")
    backend = None

    async def once() -> Any:
        nonlocal backend
        async with FakeServer(wire, key="k") as server:
            if backend is None:
                if wire == "openai":
                    backend = OpenAI(spec, limits=Limits(), api_key="k", home=server.url)
                else:
                    here = ModelSpec(spec.provider, spec.model, server.url)
                    backend = here.backend(here, limits=Limits(), api_key="k")
            return await backend.generate(ask())

    assert isinstance(asyncio.run(once()), Response)
    assert asyncio.run(once()).kind == "connection", "the second loop has its own connections; the first server is gone"
    backend = None
    gc.collect()
    assert not [warning for warning in recwarn if "nclosed" in str(warning.message)]


def test_the_server_itself_notices() -> None:
    from tests.servers import Received, problems

    good = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}]}
    headers = {"content-type": "application/json", "anthropic-version": "2026-10-21"}
    for wire, body, extra, words in [
        ("anthropic", good | {"temperature": 0}, {}, "sampling"),
        ("anthropic", good | {"messages": [{"role": "system", "content": "x"}]}, {}, "system role"),
        ("anthropic", good | {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}, {}, "keyword"),
        ("anthropic", good, {"x-api-key": "k"}, "without a key"),
        ("openai", good, {}, "wrong field"),
        ("openrouter", good | {"provider": {"ordr": []}}, {}, "routing"),
        ("compatible", good | {"response_format": {"type": "json_schema"}}, {}, "response_format"),
    ]:
        found = problems(wire, Received(b"", body, headers | extra), None)
        assert any(words in problem for problem in found), (wire, words, found)
    assert problems("anthropic", Received(b"", good, headers), None) == []
    assert ok_body("openrouter", Received(b"x" * 80, good, headers), "t")["usage"]["cost"] > 0
    assert Message("user", "x").role == "user"
