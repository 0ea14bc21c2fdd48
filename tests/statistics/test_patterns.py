"""Patterns: planted motifs are found, noise is not, and the text says all that there is."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from autointerp.statistics.patterns import (
    END,
    START,
    Column,
    Context,
    Pattern,
    binomial_tail,
    find_pattern,
    parse_pattern,
    token_at,
)
from tests.doubles import RESIDUES

Positive = tuple[Context, int]


def noise(rng: np.random.Generator, n: int, length: int = 32) -> list[list[str]]:
    return [rng.choice(list(RESIDUES), length).tolist() for _ in range(n)]


def positives_with(motif: dict[int, str], n: int, seed: int = 0) -> list[Positive]:
    """Contexts of 32 residues, peak in the middle, with residues planted at offsets from it (a choice per letter)."""
    rng = np.random.default_rng(seed)
    contexts = noise(rng, n)
    for context in contexts:
        for offset, letters in motif.items():
            context[16 + offset] = str(rng.choice(list(letters)))
    return [((c, False, False), 16) for c in contexts]


def negatives(n: int, seed: int = 99) -> list[Context]:
    return [(c, False, False) for c in noise(np.random.default_rng(seed), n)]


def test_a_planted_motif_is_recovered() -> None:
    """N-glycosylation, N-x-[ST]: both informative places with their letters, and nothing in between."""
    pattern = find_pattern(positives_with({0: "N", 2: "ST"}, 40), negatives(50), range(40))
    assert pattern is not None
    columns = {c.offset: set(c.weights) for c in pattern.columns if c.offset is not None}
    assert columns == {0: {"n"}, 2: {"s", "t"}}
    assert all(w > 2 for c in pattern.columns if c.offset is not None for w in c.weights.values())
    # held-out truth: new sites, and new silent contexts of which one in 80 holds the motif by chance at a place
    fresh = [pattern.active(c) for c, _ in positives_with({0: "N", 2: "ST"}, 300, seed=1)]
    silent = [pattern.active(c) for c in negatives(300, seed=2)]
    expected = 1 - (1 - 0.05 * 0.1) ** 30
    assert np.mean(fresh) > 0.95
    assert np.mean(silent) < 3 * expected


def test_weights_are_the_smoothed_log_odds() -> None:
    positives, silent = positives_with({0: "W"}, 40), negatives(40)
    pattern = find_pattern(positives, silent, range(40))
    assert pattern is not None
    column = next(c for c in pattern.columns if c.offset == 0)
    tokens = [t for c, *_ in [*(p for p, _ in positives), *silent] for t in c]
    q = tokens.count("W") / len(tokens)
    assert column.weights == {"w": pytest.approx(math.log2((40 + 2 * q) / 42 / q), abs=0.005)}
    assert column.other == pytest.approx(math.log2((0 + 2 * (1 - q)) / 42 / (1 - q)), abs=0.005)


def test_score_is_the_sum_of_bits_at_the_best_place() -> None:
    pattern = Pattern((Column(0, {"n": 3.0}, -1.0), Column(2, {"s": 2.0, END: 1.5}, -0.5)), 4.0)
    assert pattern.score((["a", "N", "g", "S"], False, False)) == 5.0
    assert pattern.score((["a", "N", "g", "S"], False, False), at=[0, 2]) == -1.0
    assert pattern.score((["N"], False, False)) == 3.0, "what is not shown adds nothing"
    assert pattern.score((["N", "a"], False, True)) == 4.5, "two after it the sequence has ended"
    assert pattern.score(([], False, False)) == -math.inf
    assert pattern.score((["N"], False, False), at=[]) == -math.inf
    assert pattern.active((["N", "a"], False, True))
    assert not pattern.active((["N", "a"], False, False))
    assert Pattern((), 0.0).score((["N"], True, True)) == -math.inf


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=6), st.booleans(), st.booleans(), st.integers(-9, 9))
def test_token_at(tokens: list[str], starts: bool, ends: bool, index: int) -> None:
    padded = {i: t for i, t in enumerate(tokens)}
    expected = padded.get(index, (START if starts else None) if index < 0 else (END if ends else None))
    assert token_at(index, tokens, (tokens, starts, ends)) == expected


tokens = st.one_of(
    st.text(min_size=1, max_size=6),
    st.sampled_from(
        ['"', "\\", '", other +1.00', "]", "[peak] ", "; active from +9.99", "\n", " ", "$", "^", START, "é"]
    ),
)
bits = st.floats(-99, 99).map(lambda x: round(x, 2))
weights = st.dictionaries(tokens, bits, min_size=1, max_size=6)
columns = st.one_of(
    st.lists(st.builds(Column, st.integers(-10, 10), weights, bits), min_size=1, max_size=8),
    st.builds(Column, st.none(), weights, bits, st.sampled_from(["anywhere", "around"])).map(lambda c: [c]),
)
patterns = st.builds(lambda c, threshold: Pattern(tuple(c), threshold), columns, bits)


@given(patterns, st.text(max_size=20))
def test_text_is_read_back(pattern: Pattern, before: str) -> None:
    assert parse_pattern(pattern.text()) == pattern
    assert parse_pattern(f"Fires on it. Pattern: {pattern.text()}") == pattern


@pytest.mark.parametrize(
    "text",
    ["", "Fires on serine.", "active from +1.00", '[peak] "a" +1.00, other -1.00', "[peak] , other +1.00; active"],
)
def test_text_without_a_pattern(text: str) -> None:
    assert parse_pattern(text) is None


@pytest.mark.parametrize("seed", range(5))
def test_what_was_found_is_what_is_read_back(seed: int) -> None:
    """A judge that reads the text decides as the explainer did: nothing is lost in rounding."""
    pattern = find_pattern(positives_with({-1: "KR", 0: "P", 3: "DE"}, 30, seed), negatives(50), range(30))
    assert pattern is not None
    assert parse_pattern(pattern.text()) == pattern


def test_a_family_of_homologues_counts_once() -> None:
    """Fifteen contexts of one family and fifteen others: the family's shared residues are no motif."""
    family, others = positives_with({}, 1), positives_with({}, 15, seed=5)
    positives = family * 15 + others
    assert find_pattern(positives, negatives(50), [0] * 15 + [*range(1, 16)]) is None
    alone = find_pattern(positives, negatives(50), range(30))
    assert alone is not None, "as independent sequences they would be one"


def test_noise_gives_no_pattern() -> None:
    """21 × 20 tests at 1e-4 let at most 4 % of 200 random draws have a column; measured 2 %, and 4 % one around."""
    aligned = pooled = 0
    for seed in range(200):
        pattern = find_pattern(positives_with({}, 40, seed), negatives(50, seed + 1000), range(40))
        aligned += pattern is not None and any(c.offset is not None for c in pattern.columns)
        pooled += pattern is not None and any(c.offset is None for c in pattern.columns)
    assert aligned <= 8
    assert pooled <= 16


def test_start_and_end_of_a_sequence() -> None:
    """Peaks on the third residue of contexts that begin a sequence, and on the last but one of those that end it."""
    rng = np.random.default_rng(0)
    at_start = [((c, True, False), 2) for c in noise(rng, 40)]
    pattern = find_pattern(at_start, negatives(50), range(40))
    assert pattern is not None
    (edge,) = [c for c in pattern.columns if START in c.weights]
    assert edge.offset == -3, "the nearest of the offsets that lie before the start"
    assert not any(END in c.weights for c in pattern.columns)
    assert pattern.active((noise(rng, 1)[0], True, False))
    assert not pattern.active((noise(rng, 1)[0], False, False))
    at_end = [((c, False, True), 30) for c in noise(rng, 40)]
    pattern = find_pattern(at_end, negatives(50), range(40))
    assert pattern is not None
    assert [c.offset for c in pattern.columns if END in c.weights] == [2]
    read = parse_pattern(pattern.text())
    assert read is not None
    assert read.active((noise(rng, 1)[0], False, True))


def test_short_sequences_whose_ends_are_always_shown_are_no_motif() -> None:
    """Every context is a whole sequence with its peak anywhere: both ends are in sight, and say nothing."""
    rng = np.random.default_rng(3)
    positives = [((c, True, True), int(rng.integers(len(c)))) for c in noise(rng, 60, 20)]
    pattern = find_pattern(positives, [(c, True, True) for c in noise(rng, 60, 20)], range(60))
    assert pattern is None or not any({START, END} & set(c.weights) for c in pattern.columns)


@pytest.mark.parametrize("symbol", ["^", "$", "START", '"', "\\", "  ", "[peak]"])
def test_a_token_that_looks_like_our_notation(symbol: str) -> None:
    """A feature of text that fires on dollars, with the sequences' ends in sight."""
    rng = np.random.default_rng(0)
    words = ["the", "cat", "sat", "on", "a", "mat", "and", "ran"]
    positives: list[tuple[Context, int | None]] = []
    for i in range(30):
        context = rng.choice(words, 20).tolist()
        context[10] = symbol
        positives.append(((context, False, i % 2 == 0), 10))
    silent = [(rng.choice(words, 20).tolist(), False, True) for _ in range(40)]
    pattern = find_pattern(positives, silent, range(30))
    assert pattern is not None
    assert any(c.offset == 0 for c in pattern.columns)
    read = parse_pattern(pattern.text())
    assert read == pattern
    assert all(read.active(c) for c, _ in positives)
    assert not any(read.active(c) for c in silent)


def test_case_and_space_do_not_matter() -> None:
    rng = np.random.default_rng(0)
    words = ["the", "cat", "sat", "on", "a", "mat", "and", "ran"]
    spelled = [" Dog", "dog", "DOG", " dog"]
    positives: list[tuple[Context, int | None]] = []
    for i in range(24):
        context = rng.choice(words, 21).tolist()
        context[10] = spelled[i % 4]
        positives.append(((context, False, False), 10))
    pattern = find_pattern(positives, [(rng.choice(words, 21).tolist(), False, False) for _ in range(30)], range(24))
    assert pattern is not None
    assert {c.offset: set(c.weights) for c in pattern.columns}[0] == {"dog"}


def test_whole_sequences_by_composition() -> None:
    """Proteins rich in Q and N against others; more than a thousand tokens, so that nothing may overflow."""
    rng = np.random.default_rng(0)
    rich: list[tuple[Context, int | None]] = []
    for _ in range(40):
        context = rng.choice([*RESIDUES, *"QQQQQQNNNNN"], 300).tolist()
        rich.append(((context, True, False), None))
    silent = [(c, True, False) for c in noise(rng, 50, 300)]
    pattern = find_pattern(rich, silent, range(40))
    assert pattern is not None
    (column,) = pattern.columns
    assert (column.where, set(column.weights)) == ("anywhere", {"q", "n"})
    assert np.mean([pattern.active(c) for c, _ in rich]) > 0.95
    assert np.mean([pattern.active(c) for c in silent]) < 0.05
    assert parse_pattern(pattern.text()) == pattern


def test_nothing_to_go_by() -> None:
    assert find_pattern([], negatives(5), []) is None
    assert find_pattern([(([], True, True), None)], [], [0]) is None


@given(st.integers(0, 5000), st.floats(0, 1), st.data())
def test_binomial_tail_is_scipys(n: int, p: float, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, n))
    assert binomial_tail(count, n, p) == pytest.approx(binom.sf(count - 1, n, p), rel=1e-6, abs=1e-12)
