"""Concept F1 against a loop over labels, features and thresholds, residue by residue and instance by instance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autointerp.biology import ConceptMatch, match_concepts
from autointerp.biology.concepts import THRESHOLDS
from autointerp.errors import UsageError
from autointerp.features.splits import assign_sides
from caching.run import cache_activations
from caching.settings import CacheSettings
from tests.doubles import FakeSubject, fake_coder, make_corpus, random_documents, random_proteins, write_cache

Annotation = tuple[int, int, int, str, str, int]


def brute_match(
    dense: np.ndarray, lengths: list[int], groups: list[int], annotations: list[Annotation], least: int, seed: int
) -> dict[str, tuple[float, list[tuple[int, float, float, float, float, int]]]]:
    """Label to (best F1 on the fit half, the (feature, threshold, F1, precision, recall, instances) that reach it)."""
    offsets, sides = np.cumsum([0, *lengths]), assign_sides(np.array(groups), (0.5, 0.0, 0.5), seed)
    halves = [
        [t for s, n in enumerate(lengths) if sides[s] == side for t in range(offsets[s], offsets[s] + n)]
        for side in (0, 2)
    ]
    result = {}
    for label in {f"{a[3]}: {a[4]}" for a in annotations}:
        regions: dict[int, set[int]] = {}
        for s, start, end, kind, name, instance in annotations:
            if f"{kind}: {name}" == label:
                regions.setdefault(instance, set()).update(range(offsets[s] + start, offsets[s] + end))
        in_half = [[i for i, r in regions.items() if min(r) in set(half)] for half in halves]
        if min(map(len, in_half)) < least:
            continue
        labelled = set().union(*regions.values())
        tried = []
        for threshold in THRESHOLDS:
            for f in range(dense.shape[1]):
                top = np.float32(dense[halves[0], f].max(initial=0))
                if threshold and not top:
                    fires: set[int] = set()
                else:
                    fires = {
                        t for t in range(len(dense)) if np.float32(dense[t, f]) > np.float32(threshold * float(top))
                    }
                scores = []
                for half, instances in zip(halves, in_half, strict=True):
                    fired = fires & set(half)
                    precision = len(fired & labelled) / len(fired) if fired else 0.0
                    recall = sum(bool(regions[i] & fired) for i in instances) / len(instances)
                    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
                    scores.append((f1, precision, recall))
                tried.append((scores[0][0], (f, threshold, *scores[1], len(in_half[1]))))
        best = max(t[0] for t in tried)
        result[label] = (best, [t[1] for t in tried if t[0] > best - 1e-9])
    return result


def check(found: list[ConceptMatch], expected: dict) -> None:
    assert {m.label for m in found} == expected.keys()
    assert [m.f1 for m in found] == sorted((m.f1 for m in found), reverse=True)
    for m in found:
        best, ways = expected[m.label]
        assert m.fit_f1 == pytest.approx(best)
        reached = [w for w in ways if w[:2] == (m.feature, m.threshold)]
        assert reached, f"{m} is not the best on the fit half"
        assert (m.f1, m.precision, m.recall) == pytest.approx(reached[0][2:5])
        assert m.n_instances == reached[0][5]


def random_annotations(rng: np.random.Generator, lengths: list[int], n: int) -> list[Annotation]:
    """Overlapping regions of three labels; some instances have two regions."""
    rows: list[Annotation] = []
    for instance in range(n):
        s = int(rng.choice([i for i, length in enumerate(lengths) if length > 3]))
        kind, name = [("Domain", "SH3"), ("Domain", "PH"), ("Disulfide bond", "")][rng.integers(3)]
        for _ in range(rng.integers(1, 3)):
            start = int(rng.integers(0, lengths[s] - 1))
            rows.append((s, start, int(rng.integers(start + 1, min(lengths[s], start + 9) + 1)), kind, name, instance))
    return rows


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32 - 1), st.sampled_from(["float16", "float32"]), st.integers(1, 4))
def test_matches_equal_the_loop(
    tmp_path_factory: pytest.TempPathFactory, seed: int, value_dtype: str, least: int
) -> None:
    folder, rng = tmp_path_factory.mktemp("concepts"), np.random.default_rng(seed)
    texts = random_proteins(40, (0, 25), seed)
    lengths = [len(t) for t in texts]
    groups = rng.integers(0, 20, 40).tolist()
    annotations = random_annotations(rng, lengths, 30)
    corpus = make_corpus(folder / "corpus", texts, groups, annotations=annotations)
    n = sum(lengths)
    dense = (rng.integers(1, 11, (n, 6)) / 10 * (rng.random((n, 6)) < [0.5, 0.2, 0.05, 0.01, 1, 0])).astype(value_dtype)
    for s, start, end, _, name, _ in annotations:  # feature 1 knows something
        if name == "SH3":
            begin = sum(lengths[:s])
            dense[begin + start : begin + end, 1] = 1
    cache = write_cache(folder / "cache", dense, corpus, value_dtype=value_dtype)
    found = match_concepts(cache, corpus, min_instances=least, seed=seed % 5)
    check(found, brute_match(dense, lengths, groups, annotations, least, seed % 5))


def planted(folder: Path, groups: list[int] | None = None) -> tuple:
    """One hundred proteins with a zinc finger at 5:15; feature 2 fires on it, feature 0 on one residue of it."""
    texts = random_proteins(100, (40, 40))
    corpus = make_corpus(
        folder / "corpus", texts, groups, annotations=[(i, 5, 15, "Zinc finger", "C2H2", i) for i in range(100)]
    )
    dense = np.zeros((4000, 3), np.float32)
    position = np.arange(4000) % 40
    dense[(position >= 5) & (position < 15), 2] = 1.0
    dense[position == 20, 2] = 0.1  # weak elsewhere: the threshold cuts it off
    dense[position == 6, 0] = 1.0
    dense[position == 30, 0] = 1.0
    return write_cache(folder / "cache", dense, corpus), corpus


def test_a_planted_element_is_found(tmp_path: Path) -> None:
    (match,) = match_concepts(*planted(tmp_path))
    assert (match.label, match.feature, match.threshold) == ("Zinc finger: C2H2", 2, 0.15)
    assert (match.fit_f1, match.f1, match.precision, match.recall) == (1.0, 1.0, 1.0, 1.0)
    assert 0 < match.n_instances < 100


def test_a_choice_on_the_fit_half_is_reported_on_the_other(tmp_path: Path) -> None:
    """A feature that is perfect on the fit half and silent on the test half is chosen, and scores 0."""
    _, corpus = planted(tmp_path)
    sides = np.repeat(assign_sides(np.arange(100), (0.5, 0.0, 0.5), 0), 40)
    dense = np.zeros((4000, 2), np.float32)
    position = np.arange(4000) % 40
    dense[(position >= 5) & (position < 15) & (sides == 0), 0] = 1
    dense[position == 6, 1] = 1
    dense[position == 30, 1] = 1
    (match,) = match_concepts(write_cache(tmp_path / "other", dense, corpus), corpus)
    assert (match.feature, match.fit_f1, match.f1) == (0, 1.0, 0.0)


def test_labels_with_too_few_instances_on_a_half_are_left_out(tmp_path: Path) -> None:
    cache, corpus = planted(tmp_path, [0] * 100)  # one group: all on one half
    assert match_concepts(cache, corpus, min_instances=1) == []


def test_annotations_beyond_a_cut_cache_are_ignored(tmp_path: Path) -> None:
    """A cache of the leading sequences (``max_tokens``) with annotations only behind them."""
    texts = random_proteins(10, (20, 20))
    corpus = make_corpus(tmp_path / "corpus", texts, annotations=[(9, 2, 5, "Domain", "PH", 0)])
    options = CacheSettings("layer:1", overlap=4, max_tokens=100)
    cache = cache_activations(FakeSubject(), fake_coder(), corpus, tmp_path / "cache", options)
    assert cache.n_sequences == 5
    assert match_concepts(cache, corpus, min_instances=1) == []
    assert match_concepts(cache, corpus, min_instances=0) == []


def test_what_cannot_be_matched(tmp_path: Path) -> None:
    bare = make_corpus(tmp_path / "bare", ["ACD", "AAA"])
    with pytest.raises(UsageError, match="no annotations"):
        match_concepts(write_cache(tmp_path / "1", np.ones((6, 2)), bare), bare)
    corpus = make_corpus(tmp_path / "c", ["ACD"], annotations=[(0, 0, 2, "Domain", "PH", 0)])
    with pytest.raises(UsageError, match="level token"):
        match_concepts(write_cache(tmp_path / "2", np.ones((1, 2)), corpus, level="sequence"), corpus)
    text = make_corpus(tmp_path / "t", random_documents(1), kind="text", annotations=[(0, 0, 1, "Topic", "cats", 0)])
    n = write_cache(tmp_path / "3", np.ones((1, 2)), text, level="sequence").n_tokens
    with pytest.raises(UsageError, match="of proteins"):
        match_concepts(write_cache(tmp_path / "4", np.ones((n, 2)), text), text)
