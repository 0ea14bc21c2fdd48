"""Sites by rank against a stable sort."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from autointerp.features import sites as places
from autointerp.features.sites import Ranked, Sites


@given(
    st.lists(st.floats(2**-20, 60000, width=16), min_size=1, max_size=50),
    st.sampled_from(["float16", "float32"]),
    st.integers(0, 2**32 - 1),
    st.sampled_from([0, 1000]),
)
def test_sites_by_rank_are_those_of_a_stable_sort(values: list[float], dtype: str, seed: int, few: int) -> None:
    """Subnormal float16 included; some ranks looked for (``few`` is 0) and all sorted."""
    rng = np.random.default_rng(seed)
    peak = rng.choice(np.array(values, dtype), 60)
    sites, index = Sites(np.zeros(60, np.int32), np.arange(60), peak), np.flatnonzero(rng.random(60) < 0.7)
    order = sorted(index.tolist(), key=lambda i: (peak[i], i))
    ranks = rng.permutation(len(index))[:20]
    with patch.object(places, "FEW", few):
        ranked = Ranked(sites, index)
        assert ranked.take(ranks).position.tolist() == [order[r] for r in ranks]
        assert ranked.take(slice(3)).position.tolist() == order[:3]
    np.testing.assert_array_equal(ranked.peaks, peak[order].astype(np.float32))
