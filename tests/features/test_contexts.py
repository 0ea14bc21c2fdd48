"""Sites and contexts against a search token by token."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autointerp.features import compiled, contexts
from autointerp.features.contexts import Bins
from autointerp.features.negatives import Scene, random_silent
from autointerp.features.sites import Ranked


def brute_sites(column: np.ndarray, offsets: np.ndarray, length: int, centred: bool) -> tuple[list[int], list[tuple]]:
    """Ids of active bins, and (sequence, position, start, stop) of every site."""
    active, sites, bin_id = [], [], 0
    for sequence in range(len(offsets) - 1):
        low, high = int(offsets[sequence]), int(offsets[sequence + 1])
        for begin in range(low, high, length):
            end = min(begin + length, high)
            if column[begin:end].any():
                active.append(bin_id)
                position = begin + int(column[begin:end].argmax())
                start, stop = begin, end
                if centred:
                    start = max(min(position - length // 2, high - length), low)
                    stop = min(start + length, high)
                if not centred or start + int(column[start:stop].argmax()) == position:
                    sites.append((sequence, position, start, stop))
            bin_id += 1
    return active, sites


def scene_of(bins: Bins, tokens: np.ndarray) -> Scene:
    """As much of one as drawing silent contexts needs."""
    tokens = tokens.astype(np.uint32)
    active, sites = bins.active(tokens, np.ones(len(tokens), np.float16))
    nothing = np.zeros(0, np.int64)
    stored = tokens, np.ones(len(tokens), np.float16)
    ranked = Ranked(sites, np.arange(len(sites)))
    return Scene(0, bins, stored, active, nothing, nothing, ranked, None, None, None, lambda feature: sites)


columns = st.tuples(
    st.lists(st.integers(0, 25), min_size=1, max_size=12).filter(any),
    st.integers(2, 9),
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.02, 0.2, 0.6, 1.0]),
    st.sampled_from([1, 3, 1000]),
)


long_columns = st.tuples(
    st.lists(st.integers(0, 200), min_size=1, max_size=6).filter(any),
    st.integers(10, 70),
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.02, 0.2, 0.6, 1.0]),
    st.sampled_from([1, 3, 1000]),
)


@given(columns | long_columns, st.booleans(), st.sampled_from([1, 7, 1 << 17]), st.sampled_from([1, 1 << 40]))
def test_sites_equal_a_search(drawn: tuple, centred: bool, piece: int, dense: int) -> None:
    """Values from few levels, so that ties and plateaus are common; ``dense`` 1 asks the compiled loops."""
    lengths, length, seed, density, levels = drawn
    offsets, rng = np.cumsum([0, *lengths]), np.random.default_rng(seed)
    column = rng.integers(1, levels + 1, offsets[-1]) * (rng.random(offsets[-1]) < density)
    column[rng.integers(offsets[-1])] = levels
    bins, tokens = Bins(offsets, length, centred), np.flatnonzero(column)
    assert len(bins) == sum(-(-n // length) for n in lengths)
    narrow, value_type = ((np.uint32, np.float16), (np.int64, np.float32))[seed % 2]
    with patch.object(contexts, "PIECE", piece), patch.object(contexts, "DENSE", dense):
        active, sites = bins.active(tokens.astype(narrow), column[tokens].astype(value_type))
    sites = sites.wide()
    start, stop = bins.extent(sites.sequence, sites.position)
    found = list(zip(*(a.tolist() for a in (sites.sequence, sites.position, start, stop)), strict=True))
    assert (active.tolist(), found) == brute_sites(column, offsets, length, centred)
    np.testing.assert_array_equal(sites.peak, column[sites.position])
    if centred:
        assert len({(a, b) for _, _, a, b in found}) == len(found), "no context stands for two sites"


@pytest.mark.parametrize("dense", [1, 1 << 40])
def test_sites_beyond_4_billion_tokens_are_those_of_the_same_sequences_alone(
    dense: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contexts, "DENSE", dense)
    rng, before, length = np.random.default_rng(0), 2**32 - 5_000, 4096
    offsets = np.cumsum([0, 3_000, 30_000, 10, 9_000])
    tokens = np.sort(rng.choice(offsets[-1], 500, replace=False))
    values = rng.integers(1, 50, 500).astype(np.float16)
    active, sites = Bins(offsets, length, True).active(tokens, values)
    far = Bins(np.append(0, offsets + before), length, True)
    active_far, sites_far = far.active(tokens + before, values)
    np.testing.assert_array_equal(active_far, active + -(-before // length))
    np.testing.assert_array_equal(sites_far.position, sites.position.astype(np.int64) + before)
    np.testing.assert_array_equal(sites_far.sequence, sites.sequence + 1)
    np.testing.assert_array_equal(sites_far.peak, sites.peak)


def test_compiled_loops_come_with_the_first_dense_feature_and_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    bins, values = Bins(np.array([0, 9]), 4, True), np.ones(3, np.float16)
    with patch.object(compiled, "maxima", wraps=compiled.maxima) as maxima:
        bins.active(np.array([0, 1, 2], np.uint32), values)
        assert not maxima.called, "not worth loading"
        monkeypatch.setattr(contexts, "DENSE", 3)
        bins.active(np.array([0, 1, 2], np.uint32), values)
        bins.active(np.array([7], np.uint32), values[:1])
    assert [len(call.args[0]) for call in maxima.mock_calls] == [3, 1]


def no_folder(**options: object) -> None:
    raise RuntimeError("cannot cache function: no locator available")


@pytest.mark.parametrize("numba", [None, SimpleNamespace(njit=no_folder)])
def test_without_numba_dense_features_go_through_numpy(numba: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contexts, "DENSE", 1)
    monkeypatch.setitem(sys.modules, "numba", numba)  # type: ignore[arg-type]
    monkeypatch.delitem(sys.modules, "autointerp.features.compiled")
    monkeypatch.delattr("autointerp.features.compiled")
    bins = Bins(np.array([0, 9]), 4, False)
    active, sites = bins.active(np.array([1, 6], np.uint32), np.ones(2, np.float16))
    assert (active.tolist(), sites.position.tolist()) == ([0, 1], [1, 6])
    assert bins._loops is None


def test_a_silent_feature_has_no_sites() -> None:
    bins, sites = Bins(np.array([0, 9]), 4, True).active(np.zeros(0, np.uint32), np.zeros(0, np.float16))
    assert (len(bins), len(sites)) == (0, 0)


@given(columns, st.booleans(), st.integers(0, 40))
def test_sites_around_positions_equal_a_search(drawn: tuple, centred: bool, n: int) -> None:
    """In any order and with repetition; the first position of a context stands for it."""
    lengths, length, seed, density, levels = drawn
    offsets, rng = np.cumsum([0, *lengths]), np.random.default_rng(seed)
    column = rng.integers(1, levels + 1, offsets[-1]) * (rng.random(offsets[-1]) < density)
    bins, tokens = Bins(offsets, length, centred), np.flatnonzero(column)
    positions = rng.integers(0, offsets[-1], n)
    found = bins.around(positions, tokens, column[tokens].astype(np.float32))
    expected: dict[int, tuple[int, int, int]] = {}
    for p in positions.tolist():
        sequence = next(i for i in range(len(lengths)) if offsets[i] <= p < offsets[i + 1])
        low, high = int(offsets[sequence]), int(offsets[sequence + 1])
        start = max(min(p - length // 2, high - length), low) if centred else p - (p - low) % length
        peak = int(column[start : min(start + length, high)].max())
        if peak:
            expected.setdefault(start, (sequence, p, peak))
    fields = (found.sequence.tolist(), found.position.tolist(), found.peak.tolist())
    assert list(zip(*fields, strict=True)) == [expected[s] for s in sorted(expected)]


@given(st.lists(st.integers(0, 25), min_size=1, max_size=30).filter(any), st.integers(1, 9))
def test_sequence_of_every_token(lengths: list[int], length: int) -> None:
    offsets = np.cumsum([0, *lengths])
    expected = np.repeat(np.arange(len(lengths)), lengths)
    np.testing.assert_array_equal(Bins(offsets, length, True).sequences_of(np.arange(offsets[-1])), expected)


@given(columns, st.booleans(), st.integers(0, 12))
def test_negatives_are_silent_distinct_and_from_the_candidates(drawn: tuple, centred: bool, n: int) -> None:
    lengths, length, seed, density, _ = drawn
    offsets, rng = np.cumsum([0, *lengths]), np.random.default_rng(seed)
    column = rng.random(offsets[-1]) < density / 5
    column[rng.integers(offsets[-1])] = True
    bins, tokens = Bins(offsets, length, centred), np.flatnonzero(column)
    candidates = np.flatnonzero(rng.random(len(bins)) < 0.7)
    found = random_silent(scene_of(bins, tokens), candidates, n, rng)
    start, stop = bins.extent(found.sequence, found.position)
    assert not any(column[a:b].any() for a, b in zip(start, stop, strict=True))
    assert (start >= offsets[found.sequence]).all()
    assert (stop <= offsets[found.sequence + 1]).all()
    assert len({*zip(start.tolist(), stop.tolist(), strict=True)}) == len(found)
    everything = bins.middles(candidates)
    silent = [
        not column[a:b].any() for a, b in zip(*bins.extent(everything.sequence, everything.position), strict=True)
    ]
    assert set(found.position.tolist()) <= set(everything.position[silent].tolist())
    assert len(found) == min(n, sum(silent))


def test_negatives_are_drawn_evenly() -> None:
    """1,000 candidates of which a third is silent: each silent one comes as often as the next (χ² against 5 σ)."""
    bins = Bins(np.array([0, 32_000]), 32, False)
    tokens = np.flatnonzero(np.arange(32_000) // 32 % 3 < 2)
    scene = scene_of(bins, tokens)
    rng, counts = np.random.default_rng(0), np.zeros(1000)
    for _ in range(2000):
        found = random_silent(scene, np.arange(1000), 20, rng)
        counts[found.position // 32] += 1
    silent = counts[2::3]
    assert counts.sum() == silent.sum() == 40_000
    statistic = ((silent - silent.mean()) ** 2 / silent.mean()).sum()
    assert abs(statistic - 332) < 5 * np.sqrt(2 * 332)


@pytest.mark.parametrize("centred", [True, False])
def test_middles_give_the_bins_themselves_back(centred: bool) -> None:
    """Of a bin as long as a context; a shorter last bin is filled up from the left if contexts are centred."""
    bins = Bins(np.array([0, 10, 10, 13, 33]), 4, centred)
    sites = bins.middles(np.arange(len(bins)))
    start, stop = bins.extent(sites.sequence, sites.position)
    expected = [
        (0, 4),
        (4, 8),
        (6, 10) if centred else (8, 10),
        (10, 13),
        (13, 17),
        (17, 21),
        (21, 25),
        (25, 29),
        (29, 33),
    ]
    assert list(zip(start.tolist(), stop.tolist(), strict=True)) == expected
