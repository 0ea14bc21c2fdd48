from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autointerp.clients.hints import Quota, duration, moment, quotas, retry_after

NOW = 1_755_780_000.0


def stamp(seconds: float) -> str:
    return datetime.fromtimestamp(NOW + seconds, UTC).isoformat().replace("+00:00", "Z")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1m30s", 90.0),
        ("6m0s", 360.0),
        ("20ms", 0.02),
        ("1h2m3.5s", 3723.5),
        ("7.66s", 7.66),
        ("2d", 172800.0),
        ("1m 30s", 90.0),
        ("", None),
        ("soon", None),
        ("1x", None),
        ("-5s", None),
        ("12", None),
    ],
)
def test_durations(text: str, seconds: float | None) -> None:
    assert duration(text) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("12", 12.0),
        (stamp(40), 40.0),
        (stamp(-40), 0.0),
        (str(NOW + 15), 15.0),
        (str(int(1000 * (NOW + 15))), 15.0),
        ("1m1s", 61.0),
        ("-3", 0.0),
        ("nan", None),
        (None, None),
        ("never", None),
    ],
)
def test_moments(text: Any, seconds: float | None) -> None:
    assert moment(text, NOW) == (None if seconds is None else pytest.approx(seconds, abs=1e-3))


@pytest.mark.parametrize(
    ("headers", "body", "wait"),
    [
        ({"Retry-After": "1m30s"}, None, 90.0),
        ({"Retry-After": format_datetime(datetime.fromtimestamp(NOW + 30, UTC), usegmt=True)}, None, 30.0),
        ({"retry-after": "3"}, {"error": {"message": "Please try again in 20s"}}, 3.0),
        ({}, {"error": {"message": "TPM: Limit 30000, Used 29937, Requested 385. Please try again in 644ms."}}, 0.644),
        ({}, {"error": {"message": "Limit 200, Used 200. Please try again in 7m12s. Visit …"}}, 432.0),
        ({}, {"error": {"message": "please try again in 6 s, or later"}}, 6.0),
        ({}, "Rate limited. Retry after 5s", 5.0),
        ({}, {"error": {"message": "try again in a few minutes"}}, None),
        ({}, {"error": {"code": 429, "metadata": {"retry_after_seconds": 17, "headers": {"Retry-After": "16"}}}}, 17.0),
        ({}, {"error": {"metadata": {"headers": {"X-RateLimit-Reset": str(int(1000 * (NOW + 9)))}}}}, 9.0),
        ({}, {"error": {"details": [{"@type": "x/RetryInfo", "retryDelay": "39s"}, "odd"]}}, 39.0),
        ({}, {"error": "just text, retry after 2s"}, 2.0),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "1m3s"}, {}, 63.0),
        ({"x-ratelimit-remaining-tokens": "5", "x-ratelimit-reset-tokens": "1m3s"}, {}, None),
        ({"anthropic-ratelimit-requests-remaining": "0", "anthropic-ratelimit-requests-reset": stamp(8)}, {}, 8.0),
        ({"X-RateLimit-Reset": str(int(NOW) + 7)}, {}, 7.0),
        ({}, ["odd"], None),
        ({}, None, None),
    ],
)
def test_waits(headers: dict[str, str], body: Any, wait: float | None) -> None:
    assert retry_after(headers, body, NOW) == (None if wait is None else pytest.approx(wait, abs=1e-3))


@given(st.text(max_size=30), st.text(max_size=30), st.recursive(st.none() | st.text() | st.integers(), st.lists))
def test_no_header_or_body_is_an_error(name: str, text: str, body: Any) -> None:
    for header in ("retry-after", "retry-after-ms", "x-ratelimit-reset", name):
        wait = retry_after({header: text}, {"error": body}, NOW)
        assert wait is None or 0 <= wait < float("inf")


def test_what_openai_states() -> None:
    headers = {
        "x-ratelimit-limit-requests": "500",
        "x-ratelimit-remaining-requests": "499",
        "x-ratelimit-reset-requests": "120ms",
        "x-ratelimit-limit-tokens": "30000",
        "x-ratelimit-remaining-tokens": "29937",
        "x-ratelimit-reset-tokens": "126ms",
    }
    assert quotas(headers, NOW) == {"requests": Quota(500.0, 499.0), "tokens": Quota(30000.0, 29937.0)}


def test_a_limit_of_a_day_is_not_one_of_a_minute() -> None:
    headers = {
        "x-ratelimit-limit-requests": "200",
        "x-ratelimit-remaining-requests": "199",
        "x-ratelimit-reset-requests": "7m12s",
    }
    assert quotas(headers, NOW) == {}


def test_what_anthropic_states() -> None:
    headers = {}
    for name, limit, rest in [("requests", 1000, 999), ("input-tokens", 80000, 79000), ("output-tokens", 16000, 16000)]:
        headers |= {
            f"anthropic-ratelimit-{name}-limit": str(limit),
            f"anthropic-ratelimit-{name}-remaining": str(rest),
            f"anthropic-ratelimit-{name}-reset": stamp(1),
        }
    headers |= {"anthropic-ratelimit-tokens-limit": "96000", "anthropic-ratelimit-tokens-remaining": "95000"}
    assert quotas(headers, NOW) == {
        "requests": Quota(1000.0, 999.0),
        "input_tokens": Quota(80000.0, 79000.0),
        "output_tokens": Quota(16000.0, 16000.0),
    }


@pytest.mark.parametrize("limit", ["", "0", "-1", "many", "inf"])
def test_what_says_nothing(limit: str) -> None:
    assert quotas({"x-ratelimit-limit-requests": limit}) == {}
    assert quotas({}) == {}
