from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autointerp.clients import Budget
from autointerp.errors import UsageError


def test_reserve_and_settle() -> None:
    budget = Budget(1.0, spent_usd=0.25)
    assert budget.reserve(0.5)
    assert not budget.reserve(0.3)
    assert budget.left == pytest.approx(0.25)
    budget.settle(0.5, 0.1)
    assert (budget.spent, budget.reserved) == (pytest.approx(0.35), 0.0)
    assert budget.reserve(0.6)
    budget.settle(0.6, None)
    assert budget.reserved == pytest.approx(0.6), "a cost that never became known stays set aside"
    assert not budget.reserve(0.1)


@pytest.mark.parametrize("limit", [-1.0, float("inf"), float("nan")])
def test_a_limit_is_a_finite_amount(limit: float) -> None:
    with pytest.raises(UsageError, match="finite"):
        Budget(limit)


@given(
    st.floats(0, 10),
    st.lists(st.tuples(st.floats(0, 2), st.floats(0, 1), st.booleans()), max_size=30),
)
def test_never_exceeded(limit: float, steps: list[tuple[float, float, bool]]) -> None:
    budget, held = Budget(limit), []
    for usd, share, known in steps:
        if budget.reserve(usd):
            held.append((usd, share, known))
        assert budget.spent + budget.reserved <= limit + 1e-6
        if len(held) > 3:
            usd, share, known = held.pop(0)
            budget.settle(usd, usd * share if known else None)
            assert budget.spent + budget.reserved <= limit + 1e-6


async def test_waits_for_room_that_requests_in_flight_may_leave() -> None:
    budget = Budget(1.0)
    assert await budget.acquire(0.9)
    waiter = asyncio.create_task(budget.acquire(0.5))
    await asyncio.sleep(0)
    assert not waiter.done()
    budget.settle(0.9, 0.2)
    assert await waiter
    assert not await budget.acquire(0.9), "no settlement can make room for it"


async def test_gives_up_when_the_last_settlement_leaves_no_room() -> None:
    budget = Budget(1.0)
    assert await budget.acquire(0.9)
    waiter = asyncio.create_task(budget.acquire(0.5))
    await asyncio.sleep(0)
    budget.settle(0.9, None)
    assert not await waiter
