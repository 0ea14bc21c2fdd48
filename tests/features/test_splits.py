"""Groups to sides: the same everywhere, by whole groups, in the shares asked for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autointerp.errors import UsageError
from autointerp.features.splits import assign_sides, uniform_hash

M64 = 2**64


def brute_hash(value: int, seed: int) -> float:
    """The definition in Python's integers."""
    x = (value + seed * 0x9E3779B97F4A7C15 + 0x632BE59BD9B4E019) % M64
    for _ in range(2):
        x = (x + 0x9E3779B97F4A7C15) % M64
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % M64
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB % M64
        x ^= x >> 31
    return (x >> 11) / 2**53


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=20), st.integers(0, 2**31))
def test_hash_is_splitmix64(values: list[int], seed: int) -> None:
    found = uniform_hash(np.array(values, np.int64), seed)
    assert found.tolist() == [brute_hash(v % M64, seed) for v in values]


@given(st.lists(st.integers(0, 40), min_size=1), st.integers(0, 100))
def test_a_group_is_on_one_side_whatever_stands_beside_it(groups: list[int], seed: int) -> None:
    sides = assign_sides(np.array(groups), (0.4, 0.2, 0.4), seed)
    for group, side in zip(groups, sides.tolist(), strict=True):
        assert assign_sides(np.array([group]), (0.4, 0.2, 0.4), seed).tolist() == [side]


@pytest.mark.parametrize("shares", [(0.5, 0.0, 0.5), (0.3, 0.2, 0.5), (0.0, 0.0, 1.0), (1.0, 0.0, 0.0)])
def test_shares_are_as_asked_and_seeds_differ(shares: tuple[float, float, float]) -> None:
    sides = [assign_sides(np.arange(20_000), shares, seed) for seed in (0, 1)]
    for found in sides:
        counts = np.bincount(found, minlength=3) / 20_000
        assert all(abs(c - s) <= 5 * np.sqrt(s * (1 - s) / 20_000) for c, s in zip(counts, shares, strict=True))
    if max(shares) < 1:  # two seeds agree by chance only
        agreement = sum(s * s for s in shares)
        assert abs((sides[0] == sides[1]).mean() - agreement) < 0.02


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.5, 0.5, 0.5), (-0.5, 1.0, 0.5), (0.5, 0.0, 0.4)])
def test_shares_that_do_not_sum_to_one(shares: tuple[float, ...]) -> None:
    with pytest.raises(UsageError, match="three shares that sum to 1"):
        assign_sides(np.arange(3), shares, 0)  # type: ignore[arg-type]
