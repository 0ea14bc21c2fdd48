from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import aiohttp
import pytest

from autointerp.clients import maybe_billed
from autointerp.clients.classify import classify, classify_error
from autointerp.clients.hints import retry_after
from autointerp.records import Failure, NotSent, Response


def openai(message: str = "m", **fields: Any) -> dict[str, Any]:
    return {"error": {"message": message, "type": "t", "param": None, "code": None, **fields}}


def anthropic(kind: str, message: str = "m") -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": message}}


@pytest.mark.parametrize(
    ("family", "status", "body", "kind", "retryable"),
    [
        ("anthropic", 400, anthropic("invalid_request_error"), "bad_request", False),
        (
            "anthropic",
            400,
            anthropic("invalid_request_error", "prompt is too long: 210000 tokens"),
            "context_length",
            False,
        ),
        ("anthropic", 400, anthropic("invalid_request_error", "Your credit balance is too low"), "quota", False),
        ("anthropic", 401, anthropic("authentication_error"), "auth", False),
        ("anthropic", 402, anthropic("billing_error"), "quota", False),
        ("anthropic", 403, anthropic("permission_error"), "auth", False),
        ("anthropic", 404, anthropic("not_found_error"), "bad_request", False),
        ("anthropic", 413, anthropic("request_too_large"), "context_length", False),
        ("anthropic", 429, anthropic("rate_limit_error"), "rate_limit", True),
        ("anthropic", 500, anthropic("api_error"), "server", True),
        ("anthropic", 504, anthropic("timeout_error"), "timeout", True),
        ("anthropic", 529, anthropic("overloaded_error"), "overloaded", True),
        ("anthropic", 502, "<html>bad gateway</html>", "server", True),
        ("openai", 400, openai(), "bad_request", False),
        ("openai", 400, openai(code="context_length_exceeded"), "context_length", False),
        ("openai", 400, openai("This model's maximum context length is 8192 tokens"), "context_length", False),
        ("openai", 401, openai(code="invalid_api_key"), "auth", False),
        ("openai", 408, openai(), "timeout", True),
        ("openai", 409, openai(), "server", True),
        ("openai", 422, {"detail": [{"loc": ["body"]}]}, "bad_request", False),
        ("openai", 429, openai(), "rate_limit", True),
        ("openai", 429, openai(code="insufficient_quota"), "quota", False),
        ("openai", 429, openai("You exceeded your current quota"), "rate_limit", True),
        ("openai", 503, openai(), "overloaded", True),
        ("openai", 302, "", "bad_request", False),
        ("openai", 402, openai(code=402), "quota", False),
        ("openai", 402, openai(metadata={"limit_source": "openrouter_in_flight_budget"}), "rate_limit", True),
        ("openai", 403, openai(metadata={"reasons": ["violence"]}), "refusal", False),
        ("openai", 400, {"object": "error", "message": "max context is 4096", "code": 400}, "context_length", False),
    ],
)
def test_statuses(family: str, status: int, body: Any, kind: str, retryable: bool) -> None:
    failure = classify(family, status, body)
    assert (failure.kind, failure.retryable, failure.status) == (kind, retryable, status)
    assert str(status) in failure.message
    assert len(failure.message) <= 400


def test_a_refused_temperature_comes_with_the_remedy() -> None:
    failure = classify(
        "anthropic", 400, anthropic("invalid_request_error", "`temperature` is deprecated for this model.")
    )
    assert "?temperature=default" in failure.message


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"Retry-After": "12"}, 12.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": format_datetime(datetime.fromtimestamp(1_000_030, UTC), usegmt=True)}, 30.0),
        ({"retry-after": format_datetime(datetime.fromtimestamp(999_000, UTC), usegmt=True)}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after-ms": "soon", "retry-after": "4"}, 4.0),
        ({}, None),
    ],
)
def test_retry_after(headers: dict[str, str], wait: float | None) -> None:
    assert retry_after(headers, now=1_000_000.0) == wait


def test_retry_after_only_where_a_retry_makes_sense() -> None:
    assert classify("openai", 429, openai(), {"Retry-After": "3"}).retry_after == 3.0
    assert classify("openai", 400, openai(), {"Retry-After": "3"}).retry_after is None
    assert classify("openai", 402, openai(), {"Retry-After": "3"}).kind == "rate_limit"


def chained(outer: Exception, *causes: BaseException) -> Exception:
    error: BaseException = outer
    for cause in causes:
        error.__cause__ = cause
        error = cause
    return outer


def refused() -> aiohttp.ClientConnectorError:
    key = aiohttp.client_reqrep.ConnectionKey("h", 1, False, True, None, None, None)
    return aiohttp.ClientConnectorError(key, ConnectionRefusedError(111, "refused"))


@pytest.mark.parametrize(
    ("error", "kind", "retryable", "billed"),
    [
        (refused(), "connection", True, False),
        (chained(RuntimeError("x"), refused()), "connection", True, False),
        (aiohttp.ConnectionTimeoutError(), "timeout", True, False),
        (aiohttp.ServerDisconnectedError(), "connection", True, True),
        (aiohttp.ClientPayloadError("half"), "connection", True, True),
        (aiohttp.SocketTimeoutError(), "timeout", True, True),
        (ConnectionResetError(104, "reset"), "connection", True, True),
        (TimeoutError(), "timeout", True, True),
        (ValueError("no JSON"), "bad_answer", True, True),
        (aiohttp.InvalidURL("x"), "bad_request", False, False),
        (RuntimeError("a defect"), "internal", False, True),
    ],
)
def test_exceptions(error: Exception, kind: str, retryable: bool, billed: bool) -> None:
    failure = classify_error(error)
    assert (failure.kind, failure.retryable, maybe_billed(failure)) == (kind, retryable, billed)


def test_what_may_have_been_billed() -> None:
    assert not maybe_billed(Response("x"))
    assert not maybe_billed(Failure("rate_limit", ""))
    assert not maybe_billed(NotSent("connection", ""))
    assert maybe_billed(Failure("cancelled", ""))
    assert isinstance(classify_error(TimeoutError()), Failure)
