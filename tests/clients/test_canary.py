"""A key that is used is found nowhere else: in no log, file, message, traceback, repr, report or process title."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from autointerp.clients import Limits, MemoryJournal, ModelSpec, connect
from autointerp.errors import UsageError
from autointerp.records import Failure, Request
from tests.commands.conftest import study
from tests.servers import FakeServer, Fault, Received

__all__ = ["study"]
REPOSITORY = Path(__file__).resolve().parents[2]
CANARY = "cAnArYq7-Zx81vW30pLm55TgRr2u"
"""It has no shape that would be known for a key; a part of it is as bad as the whole."""
PART = CANARY[:6]
Ask = Callable[..., Request]


def reply(received: Received) -> str:
    """An explanation, or an answer to every numbered example."""
    if "There are" not in received.text:
        return json.dumps({"explanation": "fires on tryptophan"})
    return json.dumps({"answers": [0] * len(re.findall(r"^Example \d+:", received.text, re.MULTILINE))})


def echo(padding: int = 0) -> dict[str, Any]:
    """An error that repeats the key, after so many letters."""
    said = "x" * padding + f" invalid key {CANARY}; header: Bearer {CANARY}"
    return {"type": "error", "error": {"message": said, "type": "some_error", "code": None, "param": CANARY}}


def passing(wire: str) -> Iterator[Fault | None]:
    """Every kind of trouble after which a study goes on, each with the key in what the server says."""
    # asked for DEBUG, Anthropic's SDK logs the headers of answers: what a server puts there is not ours to hide
    headers = {"Retry-After": "0"} | ({} if wire == "anthropic" else {"X-Echo": CANARY})
    yield from (Fault(status, body=echo(), headers=headers) for status in (500, 429, 503, 529, 408, 302))
    yield from (Fault(status, body=f"<html>{CANARY}</html>", headers=headers) for status in (500, 400, 200))
    yield from (Fault(reset=True), Fault(truncate=True), Fault(stall=True), Fault(usage=None), Fault(twice=True))
    yield Fault(200, body={"error": {"message": f"key {CANARY}", "code": 502}})
    yield Fault(200, body={"unexpected": CANARY})
    yield from (Fault(400, body=echo(padding)) for padding in range(300, 400, 9))  # cut off inside the key


def refusing(wire: str) -> Iterator[Fault | None]:
    """A few answers, and then the key is refused, with its own words."""
    yield from (None, None, None, None)
    while True:
        yield Fault(401, body=echo())


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks into Linux's /proc")
async def test_a_key_that_is_used_is_found_nowhere(study: Path, tmp_path: Path) -> None:
    names = {"anthropic": "anthropic/m", "openrouter": "openrouter/a/b", "compatible": "openai/m"}
    out = tmp_path / "out"
    async with AsyncExitStack() as stack:
        work, servers = [], []
        for wire, model in names.items():
            for trouble in (passing, refusing):
                server = await stack.enter_async_context(FakeServer(wire, reply, key=CANARY, faults=trouble(wire)))
                # the environment's key goes to servers that speak chat completions; to others it is given
                explicit = wire != "compatible"
                work.append((f"{wire}-{trouble.__name__}", f"{model}@{server.url}?timeout=0.4&price=1,1", explicit))
                servers.append(server)
        words = [sys.executable, "-m", "tests.clients.canary_child", str(study), str(out), json.dumps(work)]
        keys = ("OPENAI_COMPAT_API_KEY", "ANTHROPIC_API_KEY", "OPENAI_API_KEY", "OPENROUTER_API_KEY", "CANARY")
        environment = os.environ | dict.fromkeys(keys, CANARY) | {"OPENAI_LOG": "debug", "ANTHROPIC_LOG": "debug"}
        child = await asyncio.create_subprocess_exec(
            *words, cwd=REPOSITORY, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        said, logged = await child.communicate()
        assert child.returncode == 0, logged[-4000:].decode()
        for server in servers:
            assert server.count > 4, "the key came with every request, says the server"
    for where, text in {"stdout": said, "stderr": logged, **{str(p): p.read_bytes() for p in files(out)}}.items():
        at = text.find(PART.encode())
        assert at < 0, f"{where}: {text[max(0, at - 300) : at + 100].decode('utf-8', 'replace')}"
    assert b"tests.clients.canary_child" in said, "the command line was looked at"
    assert b"DEBUG:asyncio" in logged
    assert b"DEBUG:anthropic" in logged
    assert b"Traceback" in logged
    assert b"***" in said, "the server's own words came through, without the key"
    for name, _, _ in work:
        assert {"run.db", "run.toml", "report.html", "features.csv"} <= {p.name for p in (out / name).iterdir()}


def files(folder: Path) -> list[Path]:
    """Every file in a folder."""
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("text", [f"openai/m@http://user:{CANARY}@h/v1", f"openai/m@https://{CANARY}@h/v1",
                                  f"anthropic/m@https://h?api_key={CANARY}", f"openai/m?token={CANARY}"])  # fmt: skip
def test_a_key_inside_a_string_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        connect(text)
    assert PART not in f"{caught.value!s} {caught.value!r} {caught.getrepr(showlocals=False, chain=True)}".replace(
        text, ""
    )
    assert "credential" in str(caught.value)


@pytest.mark.parametrize("wire", ["anthropic", "compatible"])
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_the_password_of_a_proxy_is_told_to_nobody_else(
    wire: str, scheme: str, ask: Ask, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    model = {"anthropic": "anthropic/m", "compatible": "openai/m"}[wire]
    async with FakeServer(wire) as server:
        port = server.url.partition("127.0.0.1:")[2].partition("/")[0]
        for proxy in (port, "1"):  # one that refuses to pass it on, and one that is not there
            for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
                monkeypatch.setenv(name, f"http://user:{CANARY}@127.0.0.1:{proxy}")
            journal, spec = MemoryJournal(), ModelSpec.parse(f"{model}@{scheme}://nowhere.test/other")
            async with connect(spec, store=journal, limits=Limits(max_attempts=1)) as client:
                outcome = await client.generate(ask())
            assert isinstance(outcome, Failure), "the proxy was asked, and refused"
            assert PART not in f"{outcome!r} {journal.attempts!r} {client!r}"
    assert PART not in caplog.text
