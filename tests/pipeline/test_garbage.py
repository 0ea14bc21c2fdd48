"""The collector's settings during a run and after it, and that cycles are found all the same."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from autointerp.pipeline.garbage import EVERY, rarely_collected


@pytest.fixture(autouse=True)
def ordinary() -> Iterator[None]:
    """Python's own settings, and this process's afterwards."""
    before = gc.get_threshold()
    gc.unfreeze()
    gc.set_threshold(700, 10, 10)
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


class Cycle:
    def __init__(self) -> None:
        self.me = self


def watched(cycle: Cycle) -> bool:
    """Whether the collector looks at it: what is frozen is not among the objects that it lists."""
    return any(one is cycle for one in gc.get_objects())


def test_inside_it_looks_rarely_and_afterwards_as_before() -> None:
    with rarely_collected():
        assert gc.get_threshold() == (EVERY, 10, 10)
        assert gc.get_freeze_count() > 1_000, "what was there before is not walked through"
        cycles = [weakref.ref(Cycle()) for _ in range(100)]
        kept = [[] for _ in range(2 * EVERY)]
        assert not any(cycle() for cycle in cycles), "what has become garbage goes all the same"
    assert (gc.get_threshold(), gc.get_freeze_count(), len(kept)) == ((700, 10, 10), 0, 2 * EVERY)


def test_two_runs_at_once_leave_it_as_it_was_whoever_ends_first() -> None:
    one, other = rarely_collected(), rarely_collected()
    one.__enter__()
    other.__enter__()
    one.__exit__(None, None, None)
    other.__exit__(None, None, None)
    assert (gc.get_threshold(), gc.get_freeze_count()) == ((700, 10, 10), 0)


@pytest.mark.parametrize("own", [(0, 10, 10), (EVERY, 5, 5), (500_000, 1, 1)])
def test_who_has_set_it_otherwise_keeps_that(own: tuple[int, int, int]) -> None:
    gc.set_threshold(*own)
    with rarely_collected():
        assert (gc.get_threshold(), gc.get_freeze_count()) == (own, 0)
    assert gc.get_threshold() == own


def test_what_others_have_frozen_stays_frozen() -> None:
    frozen = Cycle()
    gc.freeze()
    fresh = Cycle()
    with rarely_collected():
        assert gc.get_threshold() == (EVERY, 10, 10)
        assert [watched(frozen), watched(fresh)] == [False, True], "nothing more is frozen"
    assert [watched(frozen), watched(fresh)] == [False, True], "and nothing is thawed"
