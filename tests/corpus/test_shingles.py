from __future__ import annotations

import itertools
import string

import numpy as np
import pytest

from autointerp.corpus import shingles
from autointerp.corpus.kmers import components, relabel
from autointerp.corpus.shingles import MIN_JACCARD, K, near_duplicate_groups
from autointerp.progress import Silent

WORDS = np.array(["".join(w) for w in np.random.default_rng(0).choice(list(string.ascii_lowercase), (3000, 5))])


def written(rng: np.random.Generator, n_words: int) -> str:
    return " ".join(rng.choice(WORDS, n_words))


def edited(text: str, share: float, rng: np.random.Generator) -> str:
    words = text.split()
    for i in rng.permutation(len(words))[: round(share * len(words))]:
        words[i] = rng.choice(WORDS)
    return " ".join(words)


def shingled(text: str) -> set[str]:
    return {text[i : i + K] for i in range(max(len(text) - K + 1, 1))}


def jaccard(one: set[str], other: set[str]) -> float:
    return len(one & other) / len(one | other)


def families(rng: np.random.Generator, n_words: int, n: int) -> list[str]:
    """Texts, and each edited more and more: similarities over the whole range."""
    ancestors = [written(rng, n_words) for _ in range(n)]
    return [edited(text, share, rng) for text in ancestors for share in (0, 0.03, 0.06, 0.1, 0.14, 0.2, 0.4)]


@pytest.mark.parametrize("n_words", [6, 15, 60, 300])
def test_planted_near_duplicates_against_all_pairs(n_words: int) -> None:
    n = 10 if n_words == 300 else 24
    texts = families(np.random.default_rng(n_words), n_words, n)
    sets = list(map(shingled, texts))
    pairs = itertools.combinations(range(len(texts)), 2)
    similar = np.array([(i, j) for i, j in pairs if jaccard(sets[i], sets[j]) >= MIN_JACCARD])
    true, found = components(len(texts), [similar]), near_duplicate_groups(texts)
    together = found[similar[:, 0]] == found[similar[:, 1]]
    assert together.mean() >= 0.97
    assert len(similar) > 70
    assert len({(a, b) for a, b in zip(true, found, strict=True)}) == len(set(found))  # nothing joined without a reason
    assert n < len(set(true)) < len(texts)


def test_pairs_at_one_half_are_found_as_often_as_claimed() -> None:
    """Pairs alone, without a family through which they could be found."""
    rng = np.random.default_rng(1)
    near = []
    while len(near) < 300:
        text = written(rng, int(rng.integers(8, 80)))
        other = edited(text, rng.uniform(0.1, 0.25), rng)
        if MIN_JACCARD <= jaccard(shingled(text), shingled(other)) < MIN_JACCARD + 0.05:
            near.append((text, other))
    labels = near_duplicate_groups([text for pair in near for text in pair]).reshape(-1, 2)
    assert np.mean(labels[:, 0] == labels[:, 1]) > 0.97


def test_signatures_agree_as_often_as_texts_are_similar() -> None:
    rng = np.random.default_rng(2)
    for n_words in (12, 60, 300):  # with 12 words two thirds of the bins are empty
        pairs = [(text, edited(text, 0.1, rng)) for text in (written(rng, n_words) for _ in range(60))]
        signatures, _ = shingles._signatures([text for pair in pairs for text in pair], Silent())
        agree = (signatures[::2] == signatures[1::2]).mean()
        expected = np.mean([s + (1 - s) / 256 for s in (jaccard(shingled(a), shingled(b)) for a, b in pairs)])
        assert agree == pytest.approx(expected, abs=0.03), n_words


def test_case_and_white_space_make_no_difference_and_short_texts_are_texts() -> None:
    texts = ["A  Dog\nsat on the mat.", "a dog sat on the mat. ", "a", "A", "b", "", " ", "a\0"]
    assert near_duplicate_groups(texts).tolist()[:5] == [0, 0, 1, 1, 2]
    assert near_duplicate_groups([]).tolist() == []
    assert near_duplicate_groups(["alone"]).tolist() == [0]


def test_any_script() -> None:
    hebrew, chinese = "הכלב הקטן ישב על המחצלת וחיכה לחתול", "从前有一只小狗坐在垫子上等着一只猫回家吃晚饭"
    odd = "\ud800 a lone surrogate 🦊 and a fox"
    texts = [hebrew, chinese, odd, hebrew + "!", chinese + "。", odd + ".", hebrew[::-1]]
    assert near_duplicate_groups(texts).tolist() == [0, 1, 2, 0, 1, 2, 3]


def test_groups_do_not_depend_on_order_or_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    texts = families(rng, 30, 60)
    labels = near_duplicate_groups(texts)
    order = rng.permutation(len(texts))
    permuted = near_duplicate_groups([texts[i] for i in order])
    assert np.array_equal(relabel(permuted[np.argsort(order)]), labels)
    monkeypatch.setattr(shingles, "_CHARACTERS", 2000)
    assert np.array_equal(near_duplicate_groups(texts), labels)


def test_thousands_of_copies_are_compared_with_few() -> None:
    """One header on all of them: no more pairs than a window for each, and one group for each body."""
    rng = np.random.default_rng(4)
    header = written(rng, 6)
    bodies = [written(rng, 20) for _ in range(30)]
    texts = [f"{header} {bodies[i % 30]} {i}" for i in range(3000)]
    signatures = np.zeros((5000, shingles.BINS), np.uint8)
    assert max(map(len, shingles._proposed(signatures))) < 5000 * shingles.WINDOW
    labels = near_duplicate_groups(texts)
    assert np.array_equal(labels, np.arange(3000) % 30)
