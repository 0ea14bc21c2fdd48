"""What a provider's trouble means: one table of statuses, one of error codes, one of exceptions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from autointerp.clients.hints import retry_after
from autointerp.records import Failure, NotSent

RETRY, STOP = True, False

STATUSES: Mapping[int, tuple[str, bool]] = {
    401: ("auth", STOP),
    402: ("quota", STOP),
    403: ("auth", STOP),
    408: ("timeout", RETRY),
    409: ("server", RETRY),
    413: ("context_length", STOP),
    429: ("rate_limit", RETRY),
    503: ("overloaded", RETRY),
    529: ("overloaded", RETRY),
}
"""Other statuses from 500 on are ``server`` and retried, all the rest ``bad_request``."""

CODES: Mapping[str, Mapping[str, tuple[str, bool]]] = {
    "anthropic": {
        "authentication_error": ("auth", STOP),
        "permission_error": ("auth", STOP),
        "billing_error": ("quota", STOP),
        "request_too_large": ("context_length", STOP),
        "rate_limit_error": ("rate_limit", RETRY),
        "timeout_error": ("timeout", RETRY),
        "overloaded_error": ("overloaded", RETRY),
        "api_error": ("server", RETRY),
    },
    "openai": {
        "insufficient_quota": ("quota", STOP),
        "billing_hard_limit_reached": ("quota", STOP),
        "billing_not_active": ("quota", STOP),
        "invalid_api_key": ("auth", STOP),
        "context_length_exceeded": ("context_length", STOP),
        "content_filter": ("refusal", STOP),
    },
}
"""Error types and codes by family of wire format; they come before the status."""

PHRASES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(?i)credit balance is too low|exceeded your current quota"), "quota"),
    (
        re.compile(r"(?i)prompt is too long|(maximum|max) context|context (length|window)|too many tokens"),
        "context_length",
    ),
)
"""What only the message of a 4xx says."""

TOO_LARGE = re.compile(r"(?i)^request too large")
"""A 429 that no waiting helps: the request alone exceeds the limit of a minute (OpenAI)."""

EXCEPTIONS: Mapping[str, tuple[str, bool, bool]] = {
    "ConnectionTimeoutError": ("timeout", RETRY, False),
    "ClientConnectorCertificateError": ("connection", STOP, False),
    "ClientConnectorError": ("connection", RETRY, False),
    "ConnectTimeout": ("timeout", RETRY, False),
    "InvalidURL": ("bad_request", STOP, False),
    "TimeoutError": ("timeout", RETRY, True),
    "TimeoutException": ("timeout", RETRY, True),
    "APITimeoutError": ("timeout", RETRY, True),
    "ClientError": ("connection", RETRY, True),
    "TransportError": ("connection", RETRY, True),
    "APIConnectionError": ("connection", RETRY, True),
    "OSError": ("connection", RETRY, True),
    "ValueError": ("bad_answer", RETRY, True),
}
"""Exceptions by the name of a class, the telling ones first: kind, whether to retry, whether anything was sent."""


def classify(family: str, status: int, body: Any, headers: Mapping[str, str] | None = None) -> Failure:
    """Say what an HTTP error means.

    Parameters
    ----------
    family : ``"anthropic"`` or ``"openai"`` (and everything that speaks chat completions).
    status : HTTP status, or the code inside an error that came with status 200.
    body : the parsed body, or its text when it is not JSON.
    headers : of the response, names in any case.
    """
    error = body.get("error", body) if isinstance(body, dict) else {}
    error = error if isinstance(error, dict) else {"message": str(error)}
    names = [str(error[name]) for name in ("code", "type") if error.get(name)]
    message = str(error.get("message") or (body if isinstance(body, str) else "") or "no message")
    wait = retry_after(headers or {}, body)
    kind, retryable = _kind(family, status, names, message, error.get("metadata"), wait)
    text = f"HTTP {status}" + "".join(f" {name}" for name in names if name != str(status)) + f": {message}"
    if 300 <= status < 400:
        text = f"HTTP {status}: the server redirects, and a redirect is not followed with a key; check the address"
    if kind == "bad_request" and "temperature" in message:
        text += " (add ?temperature=default to the model string to send none)"
    return Failure(kind, text[:400], retryable, status, wait if retryable else None)


def _kind(
    family: str, status: int, names: list[str], message: str, metadata: Any, wait: float | None
) -> tuple[str, bool]:
    for name in names:
        if found := CODES[family].get(name):
            return found
    metadata = metadata if isinstance(metadata, dict) else {}
    # OpenRouter: 402 with Retry-After is a full in-flight budget, and 403 with reasons is its moderation.
    if status == 402 and (wait is not None or metadata.get("limit_source") == "openrouter_in_flight_budget"):
        return "rate_limit", RETRY
    if status == 403 and "reasons" in metadata:
        return "refusal", STOP
    if status == 429 and TOO_LARGE.search(message):
        return "context_length", STOP
    if 400 <= status < 500 and status != 429:
        for pattern, kind in PHRASES:
            if pattern.search(message):
                return kind, STOP
    default = ("server", RETRY) if status >= 500 else ("bad_request", STOP)
    return STATUSES.get(status, default)


def classify_error(error: BaseException) -> Failure:
    """Say what an exception of a transport means: the first line of the table that it or a cause of it matches."""
    chain = list(_chain(error))
    for name, (kind, retryable, sent) in EXCEPTIONS.items():
        for cause in chain:
            if any(base.__name__ == name for base in type(cause).__mro__):
                message = f"{type(cause).__name__}: {cause}".rstrip(": ")[:400]
                return (Failure if sent else NotSent)(kind, message, retryable)
    return Failure("internal", f"{type(error).__name__}: {error}"[:400])


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
