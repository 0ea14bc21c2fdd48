"""Windows keep every position once with the right context; batches hold every item once within their bound."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autointerp.errors import UsageError
from autointerp.subjects.windows import Window, make_batches, plan_windows


@given(st.integers(0, 400), st.integers(1, 60), st.data(), st.booleans())
def test_every_position_is_kept_once_within_its_window(
    length: int, limit: int, data: st.DataObject, causal: bool
) -> None:
    overlap = data.draw(st.integers(0, limit - 1))
    windows = plan_windows(length, limit, overlap, causal)
    kept = [p for w in windows for p in range(w.keep_start, w.keep_stop)]
    assert kept == list(range(length))
    assert all(w.start <= w.keep_start < w.keep_stop <= w.stop <= w.start + limit for w in windows)
    assert all(a.stop - b.start >= overlap for a, b in pairwise(windows))


@given(st.integers(30, 300), st.integers(4, 25), st.data())
def test_masked_models_keep_the_position_where_less_context_is_lost(
    length: int, limit: int, data: st.DataObject
) -> None:
    overlap = data.draw(st.integers(0, limit - 1))
    windows = plan_windows(length, limit, overlap, causal=False)

    def context(w: Window, p: int) -> int:  # the nearer cut; the sequence's own ends are none
        left = p - w.start if w.start else length
        right = w.stop - 1 - p if w.stop < length else length
        return min(left, right)

    for i, w in enumerate(windows):
        others = windows[max(0, i - 1) : i + 2]
        for p in range(w.keep_start, w.keep_stop):
            assert context(w, p) == max(context(o, p) for o in others if o.start <= p < o.stop)


@given(st.integers(30, 300), st.integers(4, 25), st.data())
def test_causal_models_keep_the_longest_past(length: int, limit: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, limit - 1))
    windows = plan_windows(length, limit, overlap, causal=True)
    for w in windows:
        for p in range(w.keep_start, w.keep_stop):
            assert w.start == min(o.start for o in windows if o.start <= p < o.stop)


def test_short_and_empty_sequences_and_wrong_settings() -> None:
    assert plan_windows(0, 10, 2, False) == []
    assert plan_windows(10, 10, 99, False) == [Window(0, 10, 0, 10)]
    assert [w.start for w in plan_windows(25, 10, 4, True)] == [0, 6, 12, 15]
    with pytest.raises(UsageError, match=r"overlap 10: valid are 0 … 9"):
        plan_windows(11, 10, 10, False)
    with pytest.raises(UsageError, match="context length 0"):
        plan_windows(11, 0, 0, False)
    with pytest.raises(UsageError, match="batch tokens 0"):
        make_batches(np.array([3]), 0)


@given(st.lists(st.integers(0, 50), max_size=60), st.integers(1, 120))
def test_batches_hold_every_item_once_within_the_bound(lengths: list[int], bound: int) -> None:
    batches = make_batches(np.array(lengths, np.int64), bound)
    assert sorted(i for batch in batches for i in batch.tolist()) == list(range(len(lengths)))
    for batch in batches:
        sizes = [lengths[i] for i in batch]
        assert len(batch) == 1 or len(batch) * max(sizes) <= bound
        assert sizes == sorted(sizes, reverse=True)
    flat = [i for batch in batches for i in batch.tolist()]
    assert flat == sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
