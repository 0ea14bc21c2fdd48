from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autointerp.clients.bucket import Bucket

Taken = list[tuple[float, float]]


def drain(bucket: Bucket, wants: list[tuple[float, float]]) -> Taken:
    """Take as soon as may be, after the gaps; (time, amount)."""
    now, taken = 0.0, []
    for gap, amount in wants:
        now += gap
        now += bucket.wait(amount, now)
        assert bucket.wait(amount, now) < 1e-6, "what it says to wait is enough"
        bucket.take(amount, now)
        taken.append((now, amount))
    return taken


def most_in_a_minute(taken: Taken) -> float:
    """By brute force: the largest sum in any half-open minute, which begins at some start."""
    return max(sum(a for t, a in taken if start <= t < start + 60 - 1e-6) for start, _ in taken)


GAPS = st.lists(st.one_of(st.just(0.0), st.floats(0, 100)), min_size=1, max_size=120)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 60), st.sampled_from([0.0, 1.0, 10.0]), GAPS)
def test_no_minute_has_more_requests_than_allowed(per_minute: int, burst: float, gaps: list[float]) -> None:
    taken = drain(Bucket(per_minute, 0.0, burst_s=burst, whole=True), [(gap, 1.0) for gap in gaps])
    assert most_in_a_minute(taken) <= per_minute


@settings(max_examples=200, deadline=None)
@given(
    st.floats(100, 1e5), st.lists(st.tuples(st.one_of(st.just(0.0), st.floats(0, 100)), st.floats(1, 2e4)), min_size=1)
)
def test_no_minute_has_more_tokens_than_allowed(per_minute: float, wants: list[tuple[float, float]]) -> None:
    """But for what a single request is larger than the bucket."""
    bucket = Bucket(per_minute, 0.0, burst_s=3.0)
    over = max(0.0, max(amount for _, amount in wants) - bucket.capacity)
    assert most_in_a_minute(drain(bucket, wants)) <= (per_minute + over) * (1 + 1e-6)


@pytest.mark.parametrize("per_minute", [1.0, 7.0, 1000.0])
def test_the_whole_rate_is_used(per_minute: float) -> None:
    taken = drain(Bucket(per_minute, 0.0, whole=True), [(0.0, 1.0)] * int(5 * per_minute + 1))
    assert taken[-1][0] <= 300 * 1.02


def test_given_back_and_overdrawn() -> None:
    bucket = Bucket(600.0, 0.0, burst_s=6.0)
    assert (bucket.capacity, bucket.rate) == (60.0, 9.0)
    bucket.take(60.0, 0.0)
    assert bucket.wait(45.0, 0.0) == 5.0
    bucket.give(45.0)
    assert bucket.wait(45.0, 0.0) == 0.0
    bucket.give(-54.0)
    assert bucket.wait(9.0, 0.0) == 2.0
    bucket.give(1e9)
    assert bucket.level == 60.0, "never more than full"
    bucket.cap(5.0, 0.0)
    bucket.cap(50.0, 0.0)
    assert bucket.level == 5.0


def test_a_changed_limit_keeps_what_is_owed() -> None:
    bucket = Bucket(600.0, 0.0, burst_s=6.0)
    bucket.take(100.0, 0.0)
    bucket.set(60.0, 0.0)
    assert bucket.wait(0.0, 0.0) == pytest.approx(40 / 0.9)
