"""Choices and their probabilities over the chat wire: asked for, read, and stored."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from autointerp.clients import connect
from autointerp.clients.chat import chat_answer
from autointerp.records import Message, Request, Response
from autointerp.store import RunStore
from tests.servers import FakeServer, Received

ASK = Request((Message("user", "0 or 1?"),), max_tokens=1, choices=("0", "1"))


def completion(received: Received, *tokens: tuple[str, float]) -> dict[str, Any]:
    """A chat completion whose first token had these probabilities."""
    top = [{"token": t, "logprob": math.log(p), "bytes": list(t.encode())} for t, p in tokens]
    content = [{"token": tokens[0][0], "logprob": top[0]["logprob"], "bytes": [], "top_logprobs": top}]
    message = {"role": "assistant", "content": tokens[0][0]}
    choice = {"index": 0, "message": message, "finish_reason": "length", "logprobs": {"content": content}}
    return {"id": "c", "object": "chat.completion", "model": received.body["model"], "choices": [choice],
            "usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}}  # fmt: skip


async def test_probabilities_are_asked_for_summed_over_spellings_and_stored(tmp_path: Path) -> None:
    def answer(received: Received) -> Any:
        assert received.body["logprobs"] is True
        assert received.body["top_logprobs"] == 20
        assert received.body["max_tokens"] == 1
        return completion(received, ("1", 0.5), (" 1", 0.1), ("0", 0.15), ("yes", 0.2))

    async with FakeServer("compatible", answer) as server:
        with RunStore.open(tmp_path) as store:
            for cached in (False, True):
                async with connect(f"openai/m@{server.url}", store=store) as client:
                    response = await client.generate(ASK)
                assert isinstance(response, Response)
                assert response.cached is cached
                assert response.probabilities == pytest.approx({"0": 0.2, "1": 0.8})
        assert server.count == 1


@pytest.mark.parametrize(
    "logprobs",
    [None, {}, {"content": []}, {"content": [{}]}, {"content": [{"top_logprobs": [{"token": "x", "logprob": -1.0}]}]},
     {"content": [{"top_logprobs": [{"token": "1", "logprob": "no"}, "junk", {"token": "1", "logprob": 3.0}]}]}],
)  # fmt: skip
def test_without_any_there_are_none(logprobs: Any) -> None:
    choice = {"message": {"content": "1"}, "finish_reason": "length", "logprobs": logprobs}
    answer = chat_answer({"choices": [choice]}, choices=("0", "1"))
    assert isinstance(answer, Response)
    assert answer.probabilities is None


async def test_requests_without_choices_ask_for_none() -> None:
    async with FakeServer("compatible") as server, connect(f"openai/m@{server.url}") as client:
        await client.generate(Request((Message("user", "q"),)))
    assert "logprobs" not in server.requests[0].body


@pytest.mark.parametrize(
    ("spec", "has"),
    [
        ("openai/m@http://127.0.0.1:1/v1", True),
        ("openai/m@http://127.0.0.1:1/v1?logprobs=false", False),
        ("openai/gpt-4o-mini", True),
        ("openai/gpt-5-mini", False),
        ("openrouter/a/b", False),
        ("openrouter/a/b?logprobs=true", True),
        ("batch+openai/gpt-4o-mini", False),
    ],
)
def test_who_has_them(spec: str, has: bool) -> None:
    assert connect(spec, api_key="k").capabilities.logprobs is has
