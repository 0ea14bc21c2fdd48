from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from autointerp.clients import connect
from autointerp.records import TRANSIENT, Message, NotSent, Request, Response
from autointerp.store import RunStore

Ask = Callable[..., Request]


def prompts(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.prompt.txt"))


def answer_to(prompt: Path) -> Path:
    return prompt.with_name(prompt.name.replace(".prompt.", ".answer."))


async def test_prompts_are_written_and_answers_read_from_beside_them(tmp_path: Path, ask: Ask) -> None:
    folder = tmp_path / "prompts"
    async with connect(f"manual/{folder}") as client:
        outcomes = await asyncio.gather(*(client.generate(ask(f"q{i}", tag="explain")) for i in range(20)))
        assert all(isinstance(o, NotSent) and o.kind == "missing" and not o.retryable for o in outcomes)
    assert "missing" in TRANSIENT, "a result that was spoilt by it is made again by the same command"
    assert len(prompts(folder)) == 20
    first = next(path for path in prompts(folder) if "q7" in path.read_text())
    assert first.read_text() == "be brief\n\nq7\n"
    assert first.name.startswith("explain-")
    answer_to(first).write_text("\ufeff  seven ☃\n\n", "utf-8")
    async with connect(f"manual/{folder}") as client:
        answer = await client.generate(ask("q7", tag="explain"))
        assert isinstance(answer, Response)
        assert (answer.text, answer.cost_usd) == ("seven ☃", 0.0)
        assert isinstance(await client.generate(ask("q8", tag="explain")), NotSent)
    assert len(prompts(folder)) == 20


async def test_an_answer_outlives_its_file_and_the_folder_may_move(tmp_path: Path, ask: Ask) -> None:
    folder, moved = tmp_path / "a", tmp_path / "b"
    with RunStore.open(tmp_path / "run") as store:
        async with connect(f"manual/{folder}", store=store) as client:
            await client.generate(ask("q"))
            answer = answer_to(prompts(folder)[0])
            answer.write_text("yes")
            await client.generate(ask("q"))
            answer.unlink()
            assert (await client.generate(ask("q"))).cached
            answer.write_text("yes")
    folder.rename(moved)
    async with connect(f"manual/{moved}") as client:
        assert (await client.generate(ask("q"))).text == "yes", "the name of the file does not depend on its folder"


async def test_an_empty_answer_is_none_and_one_in_another_encoding_is_named(tmp_path: Path, ask: Ask) -> None:
    async with connect(f"manual/{tmp_path}") as client:
        await client.generate(ask("q"))
        answer = answer_to(prompts(tmp_path)[0])
        answer.write_text(" \n")
        assert (await client.generate(ask("q"))).kind == "missing"
        answer.write_bytes("naïve".encode("latin-1"))
        outcome = await client.generate(ask("q"))
        assert (outcome.kind, str(answer) in outcome.message) == ("bad_answer", True)


async def test_the_end_says_how_many_wait(tmp_path: Path, ask: Ask, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        async with connect(f"manual/{tmp_path}") as client:
            for text in ("a", "b", "a"):
                await client.generate(ask(text))
    assert "0 answers read, 2 prompts wait" in caplog.text
    assert "same command again" in caplog.text


async def test_a_conversation_becomes_one_text(tmp_path: Path) -> None:
    turns = [("system", "rules"), ("user", "one"), ("assistant", "1"), ("user", "two")]
    request = Request(tuple(Message(role, text) for role, text in turns), choices=("0", "1"))
    async with connect(f"manual/{tmp_path}") as client:
        await client.generate(request)
    text = prompts(tmp_path)[0].read_text()
    choices = "Answer with one of these and nothing else: 0, 1"
    assert text == f"rules\n\n## Question\n\none\n\n## Answer\n\n1\n\n## Question\n\ntwo\n\n{choices}\n"
