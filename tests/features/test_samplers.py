"""Which sites are shown: evenly over ranks, the strongest, at random, a mixture."""

from __future__ import annotations

from fractions import Fraction
from itertools import permutations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from autointerp.errors import UsageError
from autointerp.features.samplers import SAMPLERS, find_sampler

sizes = st.tuples(st.integers(1, 300), st.integers(1, 60), st.integers(1, 12), st.integers(0, 2**32 - 1))


@given(sizes, st.sampled_from(sorted({*SAMPLERS} - {"blocks-legacy", "bins"})))
def test_every_sampler_gives_n_distinct_or_all(drawn: tuple[int, int, int, int], name: str) -> None:
    n_sites, n, n_quantiles, seed = drawn
    chosen = SAMPLERS[name](np.arange(1.0, n_sites + 1), n, n_quantiles, np.random.default_rng(seed))
    assert len(chosen) == len(set(chosen.tolist())) == min(n, n_sites)
    assert set(chosen.tolist()) <= set(range(n_sites))


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_peaks_of_one_value_are_all_alike_to_every_sampler(name: str) -> None:
    chosen = SAMPLERS[name](np.full(90, 2.5), 40, 10, np.random.default_rng(0))
    few = {"bins": 14, "blocks-legacy": 0}  # 10 of 28 from the top bin, where all are; the legacy draws no maximum
    assert len(chosen) == len(set(chosen.tolist())) == few.get(name, 40)
    assert set(chosen.tolist()) <= set(range(90))


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


def test_unknown_sampler_and_a_callable() -> None:
    with pytest.raises(UsageError, match=r"unknown sampler 'quantile'; .*did you mean 'quantiles'"):
        find_sampler("quantile")
    assert find_sampler(max) is max  # type: ignore[arg-type]


def successive(weights: tuple[float, ...], n: int) -> dict[frozenset[int], float]:
    """Probability of every set of ``n`` drawn one after the other in proportion to ``weights``, over all orders."""
    result: dict[frozenset[int], float] = {}
    for order in permutations(range(len(weights)), n):
        left, probability = sum(weights), 1.0
        for i in order:
            probability *= weights[i] / left
            left -= weights[i]
        result[frozenset(order)] = result.get(frozenset(order), 0.0) + probability
    return result


@pytest.mark.parametrize(("peaks", "n"), [((0.1, 0.2, 0.4, 1.0), 2), ((0.05, 0.3, 0.3, 0.7, 1.0), 3)])
def test_importance_draws_sets_as_often_as_successive_draws_do(peaks: tuple[float, ...], n: int) -> None:
    """χ² of 20,000 draws over all sets against their probabilities by enumeration (5 σ); equal odds would fail."""
    expected, rng = successive(peaks, n), np.random.default_rng(0)
    counts = dict.fromkeys(expected, 0)
    for _ in range(20_000):
        chosen = SAMPLERS["importance"](np.array(peaks, np.float32), n, 10, rng)
        counts[frozenset(chosen.tolist())] += 1
    assert sum(expected.values()) == pytest.approx(1)

    def chi_square(probability: dict[frozenset[int], float]) -> float:
        return sum((counts[s] - 20_000 * p) ** 2 / (20_000 * p) for s, p in probability.items())

    bound = len(expected) - 1 + 5 * np.sqrt(2 * (len(expected) - 1))
    assert chi_square(expected) < bound < chi_square(dict.fromkeys(expected, 1 / len(expected)))


@given(st.integers(1, 200), st.integers(1, 80))
def test_even_ranks_hold_both_ends_and_equal_gaps(n_sites: int, n: int) -> None:
    """Each rank is the exact fraction i (N − 1) / (n − 1), rounded to a nearest integer."""
    chosen = SAMPLERS["even"](np.arange(1.0, n_sites + 1), n, 10, np.random.default_rng(0)).tolist()
    if n == 1 or n_sites == 1:
        assert chosen == [n_sites - 1]
        return
    n = min(n, n_sites)
    assert (chosen[0], chosen[-1], len(set(chosen))) == (0, n_sites - 1, n)
    for i, rank in enumerate(chosen):
        assert abs(rank - Fraction(i * (n_sites - 1), n - 1)) <= Fraction(1, 2)


scales = st.tuples(
    st.lists(st.integers(1, 100), min_size=1, max_size=150).map(sorted),  # hundredths of the maximum
    st.integers(1, 60),
    st.integers(0, 2**32 - 1),
    st.booleans(),
)


def draw(name: str, hundredths: list[int], n: int, seed: int) -> list[int]:
    """What a sampler chooses, as hundredths of the maximum; that nothing is chosen twice is checked."""
    peaks = np.array(hundredths, np.float32) / np.float32(100)
    chosen = SAMPLERS[name](peaks, n, 10, np.random.default_rng(seed)).tolist()
    assert len(chosen) == len(set(chosen)) <= n
    return [hundredths[i] for i in chosen]


def brute_blocks(hundredths: list[int], legacy: bool) -> list[int]:
    """How many of 17 come from each fifth, by the reference's rules, one example at a time."""
    members = [0] * 5
    for v in hundredths:
        if v < 100 or not legacy:
            members[min(v // 20, 4)] += 1
    taken = [0] * 5
    for block, wanted in [(4, 6), (0, 2), (1, 3), (2, 3), (3, 3)]:
        for _ in range(wanted):
            for step in (0, -1, 1, -2, 2, -3, 3, -4, 4):
                place = block + step
                if 0 <= place <= 4 and taken[place] < members[place]:
                    taken[place] += 1
                    break
    return taken


@given(
    st.lists(st.sampled_from([0, 1, 2, 4, 12]), min_size=5, max_size=5).filter(any),
    st.booleans(),
    st.integers(0, 2**32 - 1),
    st.booleans(),
)
@example([12, 12, 12, 12, 2], False, 0, False)
@example([12, 0, 12, 12, 12], False, 0, False)
def test_blocks_equal_the_rules_one_by_one(sizes: list[int], maximum: bool, seed: int, legacy: bool) -> None:
    """Fifths of uneven sizes, so that most lack some and take from others."""
    hundredths = [max(20 * i + j, 1) for i, size in enumerate(sizes) for j in range(size)] + [100] * maximum
    found = draw("blocks-legacy" if legacy else "blocks", hundredths, 17, seed)
    assert np.bincount([min(v // 20, 4) for v in found], minlength=5).tolist() == brute_blocks(hundredths, legacy)
    assert not (legacy and 100 in found)


def test_the_maximum_can_be_drawn_by_blocks_and_never_by_its_legacy() -> None:
    scale = list(range(1, 101))
    shown = {name: sum(100 in draw(name, scale, 17, seed) for seed in range(400)) for name in SAMPLERS if "bl" in name}
    assert shown["blocks-legacy"] == 0
    assert abs(shown["blocks"] / 400 - 6 / 21) < 5 * np.sqrt(6 / 21 * 15 / 21 / 400)  # 0.80, 0.81 … 1.00


def brute_bins(hundredths: list[int]) -> list[int]:
    """How many of 28 come from each tenth, by the paper's rules for one side."""
    members = [0] * 10
    for v in hundredths:
        members[min(v // 10, 9)] += 1
    if sum(members[7:]) < 10:
        return [0] * 10
    taken = [min(2, m) for m in members]
    taken[9] = min(10, members[9])
    if members[9] < 10:
        taken[8] = min(12 - taken[9], members[8])
    return taken


@given(scales)
def test_bins_equal_the_rules_of_the_paper(drawn: tuple[list[int], int, int, bool]) -> None:
    hundredths, _, seed, strong = drawn
    if strong:
        hundredths = sorted(hundredths + [75] * 3 + [85] * 8 + [95] * 5)
    found = draw("bins", hundredths, 28, seed)
    assert np.bincount([min(v // 10, 9) for v in found], minlength=10).tolist() == brute_bins(hundredths)


@given(scales)
def test_blocks_and_bins_keep_their_proportions_for_another_number(drawn: tuple[list[int], int, int, bool]) -> None:
    """Each part's number is its exact share, rounded down or up, where every part has enough."""
    _, n, seed, _ = drawn
    scale = [v for v in range(1, 101) for _ in range(20)]
    for name, parts, shares in (("blocks", 5, (2, 3, 3, 3, 6)), ("bins", 10, (2,) * 9 + (10,))):
        found = draw(name, scale, n, seed)
        counts = np.bincount([min(v * parts // 100, parts - 1) for v in found], minlength=parts)
        exact = n * np.array(shares) / sum(shares)
        assert len(found) == n
        assert ((np.floor(exact) <= counts) & (counts <= np.ceil(exact))).all()
