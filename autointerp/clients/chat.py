"""The chat-completions wire format: what is sent, and how an answer is read."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import orjson

from autointerp.clients.classify import classify
from autointerp.clients.placeholders import filled
from autointerp.clients.spec import ModelSpec
from autointerp.records import Failure, Outcome, Request, Response, Usage

TOP = 20
"""Alternatives of a token that are asked for: the most that OpenAI and vLLM give."""
FINISHES = {"content_filter": "refusal"}


def flag(text: str) -> bool:
    """Parse ``true``/``false``."""
    if text.lower() not in ("true", "false", "1", "0"):
        raise ValueError("not true or false")
    return text.lower() in ("true", "1")


def temperature(text: str) -> float | None:
    """Parse a temperature, or ``default`` for sending none."""
    return None if text == "default" else float(text)


SAMPLING: Mapping[str, Callable[[str], Any]] = {"temperature": temperature, "top_p": float, "schema": flag}
"""Options of every backend over HTTP; ``schema=false`` sends no schema, for servers that cannot enforce one."""


def chat_body(spec: ModelSpec, request: Request, *, limit: str = "max_tokens") -> dict[str, Any]:
    """The JSON body of a chat completion; the same bytes for the same request.

    Parameters
    ----------
    limit : the field that bounds the answer's length.
    """
    options = spec.answer_options()
    body: dict[str, Any] = {
        "model": spec.model,
        "messages": [{"role": message.role, "content": message.content} for message in request.messages],
        limit: request.max_tokens,
    }
    if (heat := options.pop("temperature", request.temperature)) is not None:
        body["temperature"] = heat
    if request.placeholder:
        body |= {"prompt_logprobs": TOP, "return_token_ids": True}
    elif request.choices:
        body |= {"logprobs": True, "top_logprobs": TOP}
    if options.pop("schema", True) and request.schema is not None:
        schema = dict(request.schema)
        wrapped = {"name": "answer", "strict": _is_strict(orjson.dumps(schema)), "schema": schema}
        body["response_format"] = {"type": "json_schema", "json_schema": wrapped}
    return body | options


def is_strict(schema: Any) -> bool:
    """Whether a JSON schema closes every object and requires all of its properties, as OpenAI's strict mode demands."""
    if isinstance(schema, list):
        return all(is_strict(item) for item in schema)
    if not isinstance(schema, dict):
        return True
    if schema.get("type") == "object":
        properties = schema.get("properties", {})
        if schema.get("additionalProperties") is not False or set(schema.get("required", ())) != set(properties):
            return False
        return all(is_strict(value) for value in properties.values())
    return all(is_strict(value) for value in schema.values())


@lru_cache(maxsize=256)
def _is_strict(schema: bytes) -> bool:
    """The same of a schema as JSON: a run has few, and asks for every request."""
    return is_strict(orjson.loads(schema))


def chat_answer(body: Any, *, choices: Sequence[str] = (), trust_cost: bool = False) -> Outcome:
    """Read a chat completion that came with status 200.

    Parameters
    ----------
    choices : answers of one token each, whose probabilities are read from the first token's alternatives.
    trust_cost : take ``usage.cost`` as dollars (OpenRouter).
    """
    if not isinstance(body, dict):
        return _bad("not a JSON object")
    found = body.get("choices")
    first = found[0] if isinstance(found, list) and found and isinstance(found[0], dict) else {}
    if error := body.get("error") or first.get("error"):  # OpenRouter: trouble after the model began comes with 200
        code = error.get("code") if isinstance(error, dict) else None
        return classify("openai", code if isinstance(code, int) else 502, {"error": error})
    message = first.get("message")
    if not isinstance(message, dict):
        return _bad("no choices[0].message")
    finish = first.get("finish_reason") or "stop"
    text, refusal = message.get("content"), message.get("refusal")
    if refusal and not text:
        text, finish = refusal, "refusal"
    if not isinstance(text, str):
        if finish not in ("length", "content_filter"):  # a reasoning model may spend its whole allowance unseen
            return _bad("no text in choices[0].message.content")
        text = ""
    usage = body.get("usage")
    cost = usage.get("cost") if trust_cost and isinstance(usage, dict) else None
    return Response(
        text=text,
        usage=_usage(usage),
        cost_usd=float(cost) if isinstance(cost, int | float) else None,
        finish=FINISHES.get(finish, finish),
        model=str(body.get("model") or ""),
        probabilities=_probabilities(first.get("logprobs"), choices) if choices else None,
    )


def at_placeholders(outcome: Outcome, body: Any, request: Request) -> Outcome:
    """``outcome`` with what vLLM's server says of the prompt's tokens at the placeholders of ``request``."""
    if isinstance(outcome, Failure):
        return outcome
    ids, positions = body.get("prompt_token_ids"), body.get("prompt_logprobs")
    if not isinstance(ids, list) or not isinstance(positions, list) or len(ids) != len(positions):
        return Failure("bad_answer", "the answer has no prompt_logprobs with prompt_token_ids; vLLM's server has both")

    def likely(place: int) -> list[tuple[str, float]]:
        return [(str(entry["decoded_token"]), float(entry["logprob"])) for entry in positions[place].values()]

    try:
        # the first has none: nothing comes before it
        tokens = [of[str(token)]["decoded_token"] or "" if of else "" for token, of in zip(ids, positions, strict=True)]
        return filled(outcome, request, tokens, likely)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        return Failure("bad_answer", f"the answer's prompt_logprobs are not vLLM's: {type(error).__name__}: {error}")


def _probabilities(logprobs: Any, choices: Sequence[str]) -> dict[str, float] | None:
    """Of each choice, of all its spellings as a token (with spaces around it) together; None if none was likely."""
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    first = content[0] if isinstance(content, list) and content and isinstance(content[0], dict) else {}
    mass = dict.fromkeys(choices, 0.0)
    for entry in first.get("top_logprobs") or ():
        token, value = (entry.get("token"), entry.get("logprob")) if isinstance(entry, dict) else (None, None)
        if isinstance(token, str) and token.strip() in mass and isinstance(value, int | float) and value <= 0:
            mass[token.strip()] += math.exp(value)
    total = sum(mass.values())
    return {choice: share / total for choice, share in mass.items()} if total > 0 else None


def _usage(usage: Any) -> Usage | None:
    if not isinstance(usage, dict):
        return None
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else 0
    return counted(usage.get("prompt_tokens"), usage.get("completion_tokens"), cached)


def counted(input_tokens: Any, output_tokens: Any, cached_tokens: Any, written_tokens: Any = 0) -> Usage | None:
    """The tokens that a server reports; None when they cannot be true, so that they are not taken for a price.

    What is missing of the last three is 0.
    """
    counts = input_tokens, output_tokens or 0, cached_tokens or 0, written_tokens or 0
    if not all(type(count) is int and count >= 0 for count in counts) or counts[2] + counts[3] > counts[0]:
        return None
    return Usage(*counts)


def _bad(what: str) -> Failure:
    return Failure("bad_answer", f"the server's answer is not a chat completion: {what}", retryable=True)
