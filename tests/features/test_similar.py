"""Negatives ``similar`` against a search over all windows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autointerp.errors import NotEnoughExamples
from autointerp.features import FeatureLoader, similar
from autointerp.features.similar import NearWindows
from autointerp.records import FeatureRecord
from tests.doubles import make_corpus, random_proteins, write_cache
from tests.features.record_child import digest
from tests.features.test_loader import Truth, check_example
from tests.features.test_negatives import place, sides_of, silent_bins


@pytest.fixture(scope="module", params=["protein", "text"])
def truth(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Truth:
    return Truth(tmp_path_factory.mktemp(request.param), request.param)


def windows_of(truth: Truth, length: int) -> list[tuple[int, int, int]]:
    """(sequence, first token, token after the last) of every window, in order."""
    bounds = zip(truth.offsets[:-1].tolist(), truth.offsets[1:].tolist(), strict=True)
    return [(s, a, min(a + length, high)) for s, (low, high) in enumerate(bounds) for a in range(low, high, length)]


def embeddings_of(truth: Truth, length: int) -> np.ndarray:
    """Far from the origin, so that cosines without the mean would all be near 1."""
    rng = np.random.default_rng(5)
    return (rng.normal(size=(len(windows_of(truth, length)), 6)) + 9).astype(np.float16)


def loader_of(truth: Truth, **more: Any) -> FeatureLoader:
    fixed = {"context": 8, "negatives": "similar", "embeddings": embeddings_of(truth, 8), "min_examples": 5}
    return FeatureLoader(truth.cache, truth.corpus, **(fixed | more))


@pytest.mark.parametrize("contexts", ["centred", "fixed"])
@pytest.mark.parametrize("n", [7, 50, 10_000])
def test_the_nearest_silent_windows_of_the_side_in_turn(truth: Truth, contexts: str, n: int) -> None:
    loader = loader_of(truth, contexts=contexts, n_non_activating=n, n_explain=20)
    windows, vectors = windows_of(truth, 8), embeddings_of(truth, 8).astype(np.float64)
    number = {(s, a - int(truth.offsets[s])): i for i, (s, a, _) in enumerate(windows)}
    for feature in (1, 2):
        for code, side in sides_of(loader[feature]):
            mine = [i for i, (s, *_) in enumerate(windows) if truth.sides()[s] == code]
            units = vectors - vectors[mine].mean(0)
            units /= np.linalg.norm(units, axis=1, keepdims=True)
            peaks = [e.start + int(e.activations.argmax()) for e in side.positives[:10]]
            queries = {number[e.sequence, p - p % 8] for e, p in zip(side.positives, peaks, strict=False)}
            lists = [sorted(mine, key=lambda i: -(units[i] @ units[q])) for q in sorted(queries)]
            turns = dict.fromkeys(i for rank in zip(*lists, strict=True) for i in rank)
            silent = silent_bins(truth, feature, code, 8) if contexts == "centred" else None
            expected = []
            for i in turns:
                s, a, b = windows[i]
                start = a - int(truth.offsets[s])
                if silent is not None:  # the context of the window's middle, moved left where the window is short
                    start = max(min((a + b) // 2 - 4, int(truth.offsets[s + 1]) - 8), int(truth.offsets[s]))
                    start -= int(truth.offsets[s])
                if (s, start) in silent if silent is not None else not truth.dense[a:b, feature].any():
                    expected.append((s, start))
            assert [place(e) for e in side.negatives] == expected[:n]
            for e in side.negatives:
                check_example(truth, feature, e)
                assert (e.kind, e.peak, e.quantile) == ("similar", 0, -1)


def test_what_is_drawn_depends_on_nothing_else(truth: Truth) -> None:
    one, two = loader_of(truth), loader_of(truth)
    forwards = {f: digest(one[f]) for f in (0, 1, 2)}
    assert {f: digest(two[f]) for f in (2, 0, 1)} == forwards
    assert one.settings == two.settings
    other = loader_of(truth, embeddings=embeddings_of(truth, 8)[::-1])
    assert other.settings["embeddings"] != one.settings["embeddings"]
    assert digest(other[2]) != forwards[2]
    assert "embeddings" not in FeatureLoader(truth.cache, truth.corpus).settings


def test_too_few_is_an_outcome(truth: Truth, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotEnoughExamples, match="feature 4: 0 similar contexts on the explain side, 5 are needed"):
        loader_of(truth)[4]  # fires everywhere
    monkeypatch.setattr("autointerp.features.negatives.FARTHEST", 1)
    with pytest.raises(NotEnoughExamples, match="similar contexts on the explain side, 30 are needed"):
        loader_of(truth, min_examples=30)[2]


def test_mixed_with_others_no_context_comes_twice(truth: Truth) -> None:
    record = loader_of(truth, negatives=["random", "similar"], n_non_activating=60)[1]
    for _, side in sides_of(record):
        assert [e.kind for e in side.negatives] == ["random"] * 30 + ["similar"] * 30
        assert len({place(e) for e in side.negatives}) == 60


def test_level_sequence(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    dense = rng.lognormal(0, 1, (300, 1)) * (rng.random((300, 1)) < 0.3)
    corpus = make_corpus(tmp_path / "corpus", random_proteins(300, (5, 20)))
    cache = write_cache(tmp_path / "cache", dense, corpus, level="sequence", n_shards=1)
    embeddings = rng.normal(size=(300, 3)).astype(np.float32)
    record = FeatureLoader(cache, corpus, negatives="similar", embeddings=embeddings, n_non_activating=12)[0]
    assert isinstance(record, FeatureRecord)
    for side in (record.explain, record.test):
        assert len({e.sequence for e in side.negatives}) == 12
        assert not dense[[e.sequence for e in side.negatives], 0].any()


@pytest.mark.parametrize("n", [1, 300])
def test_many_windows_are_searched_by_lists(monkeypatch: pytest.MonkeyPatch, n: int) -> None:
    """Of clusters far apart, the nearest are found as by the exact search; members alone are, and each finds itself."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(20, 8)) * 10
    vectors = (centres[rng.integers(0, 20, 4000)] + rng.normal(size=(4000, 8))).astype(np.float16)
    members = np.flatnonzero(rng.random(4000) < 0.6)
    exact = NearWindows(vectors, members)(members[:40], n)
    monkeypatch.setattr(similar, "EXACT", 100)
    lists = NearWindows(vectors, members)
    found = lists(members[:40], n)
    assert type(lists._index).__name__ == "IndexIVFScalarQuantizer"
    assert (found[:, 0] == members[:40]).all()
    if n > 1:
        common = [len({*a} & {*b}) / n for a, b in zip(found.tolist(), exact.tolist(), strict=True)]
        assert np.mean(common) > 0.9
    assert set(found.ravel()) <= {*members.tolist(), -1}
    np.testing.assert_array_equal(NearWindows(vectors, members)(members[:40], n), found)


def test_there_are_no_more_than_all() -> None:
    near = NearWindows(np.eye(5, dtype=np.float32), np.array([1, 3, 4]))
    assert near(np.array([3]), 9).tolist() == [[3, 1, 4]], "equal ones by number"
