"""What a provider says about its limits: how long to wait, how much is allowed a minute and how much of it is left."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

MINUTE = 61.0
"""Seconds; a quota that takes longer to fill up again is one of an hour or a day, which pacing by the minute would
only slow down."""
UNITS: Mapping[str, float] = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")
AGAIN = re.compile(r"(?i)(?:try again|retry)(?: in| after)\s+((?:\d+(?:\.\d+)?\s*(?:ms|[smhd])\s*)+)")
"""As in "Please try again in 1m30.5s"; a number without a unit says nothing sure."""

FORMS = (
    ("requests", "x-ratelimit-{}-requests"),
    ("tokens", "x-ratelimit-{}-tokens"),
    ("requests", "anthropic-ratelimit-requests-{}"),
    ("input_tokens", "anthropic-ratelimit-input-tokens-{}"),
    ("output_tokens", "anthropic-ratelimit-output-tokens-{}"),
)
QUOTAS = tuple((name, form.format("limit"), form.format("remaining"), form.format("reset")) for name, form in FORMS)
"""What is limited, and the headers with its limit, rest and reset. Anthropic's ``tokens`` without ``input`` or
``output`` repeat whichever is the tightest."""
RESETS = ("x-ratelimit-reset", "ratelimit-reset")


@dataclass(frozen=True, slots=True)
class Quota:
    """What a provider allows a minute, and what it says is left of it; None where it does not say."""

    per_minute: float
    remaining: float | None = None


def quotas(headers: Mapping[str, str], now: float | None = None) -> dict[str, Quota]:
    """The limits by minute that a response's headers state, by what they limit (see :data:`QUOTAS`).

    Parameters
    ----------
    headers : any mapping that takes names in lower case.
    now : the time of day in seconds since 1970.
    """
    found = {}
    for name, limit, remaining, reset in QUOTAS:
        if (text := headers.get(limit)) is None or (most := _number(text)) is None or most <= 0:
            continue
        full = moment(headers.get(reset), now)
        if full is None or full <= MINUTE:
            found[name] = Quota(most, _number(headers.get(remaining)))
    return found


def retry_after(headers: Mapping[str, str], body: Any = None, now: float | None = None) -> float | None:
    """Seconds that a provider asks to wait, None when it does not say or says something else.

    The first that is there of: ``retry-after-ms``; ``retry-after`` as seconds or as an HTTP date; what the body says;
    the reset of a quota that is used up.

    Parameters
    ----------
    headers : of the response, names in any case.
    body : the parsed body, or its text.
    now : the time of day in seconds since 1970.
    """
    lower = {name.lower(): value for name, value in headers.items()}
    if (wait := _number(lower.get("retry-after-ms"))) is not None:
        return max(0.0, wait / 1000)
    if (wait := _clocked(lower.get("retry-after"), now)) is not None:
        return wait
    waits = list(_said(body, now)) or list(_resets(lower, now))
    return max(waits, default=None)


def moment(text: Any, now: float | None = None) -> float | None:
    """Seconds from now until ``text``: a number of seconds, ``1m30s``, ``20ms``, a time stamp (RFC 3339, or seconds or
    milliseconds since 1970); None when it is none of them, 0 for what is past."""
    now = time.time() if now is None else now
    if (value := _number(text)) is not None:
        value = value / 1000 - now if value > 1e11 else value - now if value > 1e9 else value
        return max(0.0, value)
    if (value := duration(text)) is not None:
        return value
    try:
        when = datetime.fromisoformat(str(text).strip())
        return max(0.0, (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() - now)
    except (ValueError, OverflowError):
        return None


def duration(text: Any) -> float | None:
    """Seconds of ``1h2m3.5s``, ``20ms``, ``17s``; None for anything else."""
    text = str(text).strip().lower()
    if not text or DURATION.sub("", text).strip():
        return None
    return sum(float(value) * UNITS[unit] for value, unit in DURATION.findall(text))


def _clocked(text: str | None, now: float | None) -> float | None:
    """``Retry-After`` as RFC 9110 has it, and as a duration with units, which some gateways send."""
    if text is None:
        return None
    if (value := _number(text)) is not None:
        return max(0.0, value)
    if (value := duration(text)) is not None:
        return value
    try:
        when = parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    return max(0.0, when - (time.time() if now is None else now))


def _said(body: Any, now: float | None) -> Iterator[float]:
    """Waits in a body: OpenRouter's ``metadata``, Google's ``RetryInfo``, OpenAI's sentence."""
    error = body.get("error", body) if isinstance(body, dict) else {"message": body}
    if not isinstance(error, dict):
        error = {"message": error}
    metadata, details = error.get("metadata"), error.get("details")
    metadata = metadata if isinstance(metadata, dict) else {}
    details = details if isinstance(details, list) else []
    values = [error.get("retry_after"), metadata.get("retry_after_seconds")]
    values += [detail.get("retryDelay") for detail in details if isinstance(detail, dict)]
    for value in values:
        if value is not None and (wait := moment(value, now)) is not None:
            yield wait
    if isinstance(headers := metadata.get("headers"), dict):
        wait = retry_after({str(name): str(value) for name, value in headers.items()}, now=now)
        if wait is not None:
            yield wait
    if match := AGAIN.search(str(error.get("message") or "")):
        yield duration(match[1]) or 0.0


def _resets(headers: Mapping[str, str], now: float | None) -> Iterator[float]:
    names = [reset for _, _, remaining, reset in QUOTAS if _number(headers.get(remaining)) == 0]
    for name in (*names, *RESETS):
        if name in headers and (wait := moment(headers[name], now)) is not None:
            yield wait


def _number(text: Any) -> float | None:
    try:
        value = float(text)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None
