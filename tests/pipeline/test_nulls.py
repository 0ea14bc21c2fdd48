from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from autointerp.pipeline.nulls import BLOCK, Block
from autointerp.records import Explanation


def block(features: list[int], number: int = 0, seed: int = 0) -> Block:
    made = Block(number, seed, waiting=set(features))
    for feature in features:
        made.resolve(feature, Explanation(feature, f"feature {feature}", "e@1"))
    return made


@given(st.sets(st.integers(0, 10_000), min_size=2, max_size=BLOCK), st.integers(0, 99), st.integers(0, 99))
def test_partners_are_a_derangement(features: set[int], number: int, seed: int) -> None:
    partners = block(list(features), number, seed).partners()
    assert set(partners) == set(partners.values()) == features
    assert all(feature != partner for feature, partner in partners.items())


def test_partners_follow_from_the_features_alone() -> None:
    features = list(range(100, 164))
    partners = block(features).partners()
    assert block(features[::-1]).partners() == partners
    assert block(features, number=1).partners() != partners
    assert block(features, seed=1).partners() != partners


def test_partners_are_not_neighbours_in_number() -> None:
    """A derangement drawn at random: a partner's distance is that of two random features."""
    steps = [abs(a - b) for seed in range(50) for a, b in block(list(range(64)), seed=seed).partners().items()]
    assert 19 < sum(steps) / len(steps) < 24  # (64 + 1) / 3 = 21.7 in expectation


def test_a_feature_alone_has_no_partner() -> None:
    assert block([3]).partners() == {}
    assert block([]).partners() == {}


def test_a_block_is_ready_when_it_is_closed_and_nobody_is_waited_for() -> None:
    made = Block(0, 0, waiting={1, 2, 3})
    made.closed = True
    made.resolve(1, Explanation(1, "text", "e@1"))
    made.resolve(2, Explanation(2, "", "e@1", failure="timeout: late"))
    assert not made.ready
    made.resolve(3, None)
    assert made.ready
    assert made.partners() == {}  # one explanation is no pair
    made.closed = False
    assert not made.ready
