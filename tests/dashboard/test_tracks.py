"""Tracks and ranges against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autointerp.dashboard import tracks
from autointerp.dashboard.tracks import parse_ranges, positions_in, track
from autointerp.errors import UsageError


@given(st.sets(st.integers(0, 299)), st.integers(0, 150), st.integers(160, 300), st.integers(1, 40))
def test_bins_hold_the_largest(places: set[int], start: int, stop: int, most: int) -> None:
    at = np.array(sorted(places), np.int64)
    values = (np.arange(len(at)) * 7 % 13 + 1).astype(np.float32)
    inside = {int(a): float(v) for a, v in zip(at, values, strict=True) if start <= a < stop}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracks, "MOST", most)
        found = track(at, values, start, stop)
    if len(inside) <= most:
        assert dict(zip(found["at"].tolist(), found["v"].tolist(), strict=True)) == inside
        return
    width = found["bin"]
    assert len(found["v"]) <= most
    for i, v in enumerate(found["v"].tolist()):
        first = start + i * width
        assert v == max([inside.get(p, 0.0) for p in range(first, min(first + width, stop))])


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", []), ("5-30, 50", [(4, 30), (49, 50)]), ("1", [(0, 1)]), (" 7 - 9;12–12 ", [(6, 9), (11, 12)]),
     ("3:4 9", [(2, 4), (8, 9)])],
)  # fmt: skip
def test_ranges(text: str, expected: list[tuple[int, int]]) -> None:
    assert parse_ranges(text) == expected


@pytest.mark.parametrize("text", ["0-3", "9-5", "a", "1-2-3", "-4", "1e9"])
def test_what_is_no_range(text: str) -> None:
    with pytest.raises(UsageError, match="counting from 1"):
        parse_ranges(text)


def test_ranges_end_with_the_sequence() -> None:
    assert parse_ranges("5-300", 20) == [(4, 20)]
    with pytest.raises(UsageError, match="20 tokens"):
        parse_ranges("21", 20)
    assert positions_in([(3, 6), (5, 8)]).tolist() == [3, 4, 5, 6, 7]
    assert positions_in([]).tolist() == []
