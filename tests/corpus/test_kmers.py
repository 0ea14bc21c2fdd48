from __future__ import annotations

import itertools

import numpy as np
import pytest

from autointerp.corpus import kmers
from autointerp.corpus.kmers import CLAIM, MIN_SHARED, K, components, kmer_groups
from autointerp.corpus.planted import planted_proteome
from autointerp.progress import Silent

LETTERS = np.array(list("ACDEFGHIKLMNPQRSTVWY"))


def protein(rng: np.random.Generator, length: int) -> str:
    return "".join(rng.choice(LETTERS, length))


def mutate(text: str, identity: float, rng: np.random.Generator) -> str:
    at = rng.permutation(len(text))[: round((1 - identity) * len(text))]
    letters = list(text)
    for i in at:
        letters[i] = rng.choice(LETTERS[letters[i] != LETTERS])
    return "".join(letters)


@pytest.mark.parametrize("seed", [0, 1])
def test_recall_on_planted_families(seed: int) -> None:
    """The claim: pairs of families designed at or above 60 % identity share a group; unrelated families do not."""
    sequences = planted_proteome(1500, seed).sequences
    family = sequences["group"].to_numpy()
    identity = sequences["family_identity"].to_numpy(zero_copy_only=False)
    labels = kmer_groups(sequences["text"].to_pylist())
    together: dict[float, list[bool]] = {}
    for number in np.unique(family):
        rows = np.flatnonzero(family == number)
        pairs = [labels[i] == labels[j] for i, j in itertools.combinations(rows, 2)]
        together.setdefault(float(identity[rows[0]]), []).extend(pairs)
    recall = {level: np.mean(pairs) for level, pairs in together.items() if pairs}
    assert {level for level in recall if level >= CLAIM} == {0.6, 0.75, 0.9}
    assert all(recall[level] >= 0.99 for level in recall if level >= CLAIM), recall
    families_in_group = [len(set(family[labels == label])) for label in np.unique(labels)]
    assert np.mean(np.array(families_in_group) > 1) < 0.002


def test_pairs_around_the_claim() -> None:
    """Recall at 60 %, with an indel and a fifth of the length missing; nothing joins at 20 %."""
    rng = np.random.default_rng(0)
    ancestors = [protein(rng, int(n)) for n in rng.integers(150, 600, 120)]
    near = [mutate(a, CLAIM + 0.02, rng) for a in ancestors]
    near = [t[:70] + protein(rng, 3) + t[70:] if i % 2 else t[: int(0.82 * len(t))] for i, t in enumerate(near)]
    far = [mutate(a, 0.2, rng) for a in ancestors]
    labels = kmer_groups([*ancestors, *near, *far]).reshape(3, -1)
    assert np.mean(labels[0] == labels[1]) >= 0.95
    assert not np.any(labels[0] == labels[2])
    assert len(np.unique(labels)) >= 240


def test_proteins_that_share_one_motif_stay_apart() -> None:
    rng = np.random.default_rng(1)
    motif = protein(rng, 40)
    texts = [protein(rng, 80) + motif + protein(rng, int(n)) for n in rng.integers(80, 200, 30)]
    assert len(np.unique(kmer_groups(texts))) == 30


def test_short_and_odd_sequences() -> None:
    texts = ["M", "MK", "", "Q" * 50, "Q" * 60, "MKVLAXX", "MKVLAXX"[::-1]]
    assert kmer_groups(texts)[:3].tolist() == [0, 1, 2]
    assert kmer_groups([]).tolist() == []


def test_groups_do_not_depend_on_order_or_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = planted_proteome(300, 3).sequences["text"].to_pylist()
    labels = kmer_groups(texts)
    order = np.random.default_rng(0).permutation(len(texts))
    permuted = kmer_groups([texts[i] for i in order])
    assert np.array_equal(kmers.relabel(permuted), permuted)
    assert np.array_equal(kmers.relabel(permuted[np.argsort(order)]), labels)
    monkeypatch.setattr(kmers, "_BLOCK", 500)
    monkeypatch.setattr(kmers, "_CELLS", 2000)
    assert np.array_equal(kmer_groups(texts), labels)


def test_proposed_pairs_against_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    texts = [mutate(t, 0.7, rng) for t in [protein(rng, 60) for _ in range(10)] for _ in range(4)]
    sets = [{t[i : i + K] for i in range(len(t) - K + 1)} for t in texts]
    expected = {
        (i, j): n
        for i, j in itertools.combinations(range(len(texts)), 2)
        if (n := len(sets[i] & sets[j])) >= max(2, MIN_SHARED * min(len(sets[i]), len(sets[j])))
    }
    monkeypatch.setattr(kmers, "_BLOCK", 300)
    codes = [kmers._kmers(t)[0] for t in texts]
    pairs, shared = kmers._proposed(codes, np.array([len(c) for c in codes]), Silent())
    assert dict(zip(map(tuple, pairs.tolist()), shared.tolist(), strict=True)) == expected
    assert expected


def test_matched_residues() -> None:
    rng = np.random.default_rng(3)
    a = protein(rng, 100)
    cases = [(a, a, 0), (a, a[:50] + "WWW" + a[50:], 0), (a, protein(rng, 60) + a, 60), (a, a[30:], -30)]
    expected = [100, 97, 100, 70]
    found = kmers._matched([c[0] for c in cases], [c[1] for c in cases], [c[2] for c in cases])
    assert np.all(np.abs(found - expected) <= 3), found


def test_components_against_flooding() -> None:
    rng = np.random.default_rng(4)
    links = rng.integers(0, 60, (40, 2))
    expected = np.arange(60)
    for _ in range(60):
        for i, j in links:
            expected[[i, j]] = min(expected[i], expected[j])
    assert np.array_equal(components(60, [links]), kmers.relabel(expected))
    assert kmers.relabel(np.array([5, 2, 5, 9, 2])).tolist() == [0, 1, 0, 2, 1]
