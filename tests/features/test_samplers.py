"""Which sites are shown: evenly over ranks, the strongest, at random, a mixture."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autointerp.errors import UsageError
from autointerp.features.samplers import SAMPLERS, ascending, find_sampler

sizes = st.tuples(st.integers(1, 300), st.integers(1, 60), st.integers(1, 12), st.integers(0, 2**32 - 1))


@given(sizes, st.sampled_from(sorted(SAMPLERS)))
def test_every_sampler_gives_n_distinct_or_all(drawn: tuple[int, int, int, int], name: str) -> None:
    n_sites, n, n_quantiles, seed = drawn
    chosen = SAMPLERS[name](np.arange(1.0, n_sites + 1), n, n_quantiles, np.random.default_rng(seed))
    assert len(chosen) == len(set(chosen.tolist())) == min(n, n_sites)
    assert set(chosen.tolist()) <= set(range(n_sites))


@given(st.integers(1, 8), st.integers(1, 10), st.integers(0, 500), st.integers(0, 2**32 - 1))
def test_quantiles_gives_the_same_number_from_each(per_quantile: int, n_quantiles: int, more: int, seed: int) -> None:
    n = per_quantile * n_quantiles
    chosen = SAMPLERS["quantiles"](np.arange(1.0, n + more + 1), n, n_quantiles, np.random.default_rng(seed))
    counts = np.bincount(chosen * n_quantiles // (n + more), minlength=n_quantiles)
    assert counts.tolist() == [per_quantile] * n_quantiles


def test_quantiles_reaches_every_site_as_often() -> None:
    """60 sites, 20 drawn: each with probability 1/3."""
    rng, counts = np.random.default_rng(0), np.zeros(60)
    for _ in range(3000):
        counts[SAMPLERS["quantiles"](np.arange(1.0, 61), 20, 10, rng)] += 1
    assert abs(counts / 3000 - 1 / 3).max() < 5 * np.sqrt(2 / 9 / 3000)


@given(sizes)
def test_top_and_mix_hold_the_strongest(drawn: tuple[int, int, int, int]) -> None:
    n_sites, n, n_quantiles, seed = drawn
    peaks, rng = np.arange(1.0, n_sites + 1), np.random.default_rng(seed)
    assert set(SAMPLERS["top"](peaks, n, n_quantiles, rng).tolist()) == set(range(max(0, n_sites - n), n_sites))
    strongest = set(range(max(0, n_sites - n // 5), n_sites))
    assert strongest <= set(SAMPLERS["mix"](peaks, n, n_quantiles, rng).tolist())


@given(st.lists(st.floats(2**-20, 60000, width=16), max_size=50), st.sampled_from(["float16", "float32"]))
def test_ascending_is_a_stable_sort(values: list[float], dtype: str) -> None:
    """Subnormal float16 included."""
    order = ascending(np.array(values, dtype))
    assert order.tolist() == sorted(range(len(values)), key=lambda i: (np.array(values, dtype)[i], i))


def test_unknown_sampler_and_a_callable() -> None:
    with pytest.raises(UsageError, match=r"unknown sampler 'quantile'; .*did you mean 'quantiles'"):
        find_sampler("quantile")
    assert find_sampler(max) is max  # type: ignore[arg-type]
