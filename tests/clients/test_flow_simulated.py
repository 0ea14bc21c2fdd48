"""The whole of retry, breaker and limiter against providers of several kinds, in virtual time.

The ideal is the number of requests over the rate; a bucket that starts full makes less than that possible.
"""

from __future__ import annotations

from typing import Any

import pytest

from autointerp.clients.backend import Limits
from autointerp.records import Response, Usage
from tests.clients.conftest import VirtualTime
from tests.clients.simulation import Provider, serve

RATE = 1000 / 60


def slow(source: Any) -> float:
    return source.lognormvariate(0.9, 0.3)


@pytest.mark.parametrize("kind", [{}, {"latency": slow}], ids=["fast", "slow"])
@pytest.mark.parametrize(
    "settings",
    [
        {"headers": True},
        {"headers": True, "capacity": 1000.0},
        {"capacity": 20.0},
        {"headers": True, "refuse": lambda now: int(now) % 20 == 7},
        {"headers": True, "refuse": lambda now: int(now) % 20 == 7, "retry_after": 1.0},
        {"refuse": lambda now: int(now) % 20 == 7, "retry_after": 1.0},
        {"refuse": lambda now: int(now) % 20 == 7},
    ],
    ids=["stated", "stated-full", "unstated", "bursts", "bursts-wait", "bursts-wait-unstated", "bursts-unstated"],
)
async def test_a_thousand_a_minute(time: VirtualTime, settings: dict[str, Any], kind: dict[str, Any]) -> None:
    provider = Provider(time, rate=lambda now: RATE, **settings, **kind)
    outcomes = await serve(provider, 2000)
    assert all(isinstance(outcome, Response) for outcome in outcomes), "nothing abandoned"
    assert time.now <= 1.15 * 2000 / RATE
    assert provider.refused <= 0.05 * len(provider.starts)


async def test_a_limit_that_halves_for_a_minute(time: VirtualTime) -> None:
    provider = Provider(
        time, rate=lambda now: RATE if 30 <= now < 90 else 2 * RATE, capacity=33.0, headers=True, latency=slow
    )
    outcomes = await serve(provider, 4000, Limits(max_in_flight=128))
    assert all(isinstance(outcome, Response) for outcome in outcomes)
    assert time.now <= 1.15 * 150
    assert provider.refused <= 0.05 * len(provider.starts)


@pytest.mark.parametrize("headers", [True, False])
async def test_a_limit_of_tokens(time: VirtualTime, headers: bool) -> None:
    provider = Provider(
        time,
        rate=lambda now: 1e3,
        capacity=1e3,
        tokens_per_s=20_000.0,
        usage=Usage(1000, 50),
        headers=headers,
    )
    outcomes = await serve(provider, 2000)
    assert all(isinstance(outcome, Response) for outcome in outcomes)
    assert time.now <= 1.15 * 2000 * 1050 / 20_000
    assert provider.refused <= 0.08 * len(provider.starts)


async def test_slow_start_costs_little_where_nothing_limits(time: VirtualTime) -> None:
    provider = Provider(time, rate=lambda now: 1e6, capacity=1e6, latency=lambda source: 0.2)
    await serve(provider, 64 * 50)
    assert time.now <= 50 * 0.2 / 0.96
    assert provider.most == 64


async def test_the_same_run_takes_the_same_time(time: VirtualTime) -> None:
    other = VirtualTime()
    for clock in (time, other):
        await serve(Provider(clock, rate=lambda now: RATE), 300)
    assert time.now == other.now
