"""What ``--estimate`` and ``--probe`` say, against what a server then charges; and the end of a run's time."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from autointerp.commands import main
from autointerp.store import RunStore
from tests.commands.test_run_command import words as command
from tests.servers import FakeServer, Received, ok_body

INPUT, OUTPUT = 10_000.0, 50_000.0
"""Dollars per million tokens, so large that rounding to cents does not matter."""
PIECE = re.compile(r" ?[a-z]{1,9}| ?[A-Z][a-z]+| ?[A-Z]{1,2}|\d{1,3}|\s+|[^\w\s]{1,2}|.")
"""What counts as a token here: a word, a few digits, two residues, punctuation."""
FEATURES = ("--features", "0:10")
PRICE = re.compile(r"([\d,]+) features, ([\d,]+) requests, .*?: \$([\d.]+) to \$([\d.]+)(?:, \$([\d.]+) by what)?")
SPREAD = 0.2
"""How far the price expected after a probe may be from the one that comes."""


def said(received: Received) -> dict[str, Any]:
    """A whole answer: explanations of different lengths, graded examples, tokens counted piece by piece."""
    if "There are" not in received.text:
        number = int(hashlib.sha256(received.text.encode()).hexdigest(), 16)
        words = ["tryptophan"] * (8 + number % 12) + [str(number % 10**9)]
        text = json.dumps({"explanation": "fires on " + " ".join(words)})
    else:
        text = json.dumps({"answers": [i % 2 for i in range(len(re.findall(r"(?m)^Example \d+:", received.text)))]})
    body = ok_body("compatible", received, text)
    asked = sum(len(PIECE.findall(message["content"])) + 4 for message in received.body["messages"])
    body["usage"] = {"prompt_tokens": asked, "completion_tokens": len(PIECE.findall(text)) + 1}
    return body


def call(study: Path, out: Path, server: FakeServer, *more: str, price: bool = True) -> list[str]:
    """The words of a run on the server's model."""
    spec = f"openai/m@{server.url}" + (f"?price={INPUT:g},{OUTPUT:g}" if price else "")
    return command(study, out, "--client", spec, *FEATURES, *more)


def charged(server: FakeServer) -> float:
    """Dollars, by the server's own count."""
    tally = server.tally.values()
    return sum(one.input_tokens * INPUT + one.output_tokens * OUTPUT for one in tally) / 1e6


def read(printed: str) -> tuple[int, int, float, float, float | None]:
    """Features, requests, low, high and expected dollars of the estimate that was printed."""
    found = PRICE.search(printed)
    assert found, printed
    features, requests, low, high, expected = found.groups()
    return int(features), int(requests), float(low), float(high), expected and float(expected)


@pytest.mark.parametrize(
    "more", [(), ("--examples-per-prompt", "10", "--no-nulls"), ("--answers", "graded"), ("--cot",)]
)
async def test_a_run_costs_what_the_estimate_says(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...]
) -> None:
    async with FakeServer("compatible", said) as server:
        assert await asyncio.to_thread(main, call(study, tmp_path, server, *more, "--estimate")) == 0
        features, requests, low, high, expected = read(capsys.readouterr().out)
        assert server.count == 0, "an estimate sends nothing"
        assert not (tmp_path / "run.toml").exists()
        assert (features, expected) == (10, None)
        assert await asyncio.to_thread(main, call(study, tmp_path, server, *more)) == 0
        assert low <= charged(server) <= high
        assert requests * 0.8 <= server.count <= requests, "equal explanations are judged once"
        with RunStore.open(tmp_path, readonly=True) as store:
            assert store.spend().confirmed_usd == pytest.approx(charged(server))


async def test_a_probe_pays_for_its_features_only_and_learns_the_price(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with FakeServer("compatible", said) as server:
        assert await asyncio.to_thread(main, call(study, tmp_path, server, "--probe", "3")) == 0
        features, requests, low, high, expected = read(capsys.readouterr().out)
        probe, paid = server.count, charged(server)
        with RunStore.open(tmp_path, readonly=True) as store:
            assert sorted(store.explanations()["feature"].to_pylist()) == [0, 1, 2]
            assert set(store.scores()["feature"].to_pylist()) == {0, 1, 2}
            assert store.spend().confirmed_usd == pytest.approx(paid)
        assert probe <= 3 * 17
        assert features == 10
        assert expected is not None
        assert await asyncio.to_thread(main, call(study, tmp_path, server)) == 0
        left = charged(server) - paid
        assert left > 0
        assert low <= left <= high
        assert expected == pytest.approx(left, rel=SPREAD)
        assert server.count - probe <= requests
        assert max(one.times for one in server.tally.values()) == 1, "nothing was paid twice"
        before = server.count
        assert await asyncio.to_thread(main, call(study, tmp_path, server, "--probe", "3")) == 0
        assert server.count == before, "a probe of what is done costs nothing"


async def test_at_the_deadline_the_exit_code_says_so_and_the_same_words_go_on(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answered, silent = 30, asyncio.Event()

    async def stuck(received: Received) -> dict[str, Any]:
        if not silent.is_set() and server.count > answered:
            await asyncio.Event().wait()
        return said(received)

    out = tmp_path / "cut"
    async with FakeServer("compatible", stuck) as server:
        assert await asyncio.to_thread(main, call(study, out, server, "--deadline", "1.5")) == 124
        printed = capsys.readouterr().out
        assert f"stopped by deadline; the same command continues, `autointerp report {out}` shows what" in printed
        with RunStore.open(out, readonly=True) as store:
            spend, kinds = store.spend(), store.failures()
            assert set(kinds) == {"cancelled"}
            assert spend.answers == answered
            assert spend.confirmed_usd == pytest.approx(charged(server))
            assert spend.maybe_usd > 0
        silent.set()
        assert await asyncio.to_thread(main, call(study, out, server)) == 0
        assert max(one.times for one in server.tally.values()) == 1, "what was answered is not asked again"
        assert await asyncio.to_thread(main, call(study, tmp_path / "whole", server)) == 0
        with RunStore.open(out, readonly=True) as one, RunStore.open(tmp_path / "whole", readonly=True) as two:
            assert one.scores() == two.scores()
            assert one.explanations() == two.explanations()
