"""Every kind of negative against a search of the dense matrix."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autointerp.errors import NotEnoughExamples, UsageError
from autointerp.features import FeatureLoader
from autointerp.features.negatives import NEGATIVES, Scene
from autointerp.features.splits import assign_sides
from autointerp.records import Example, Explanation, FeatureRecord, Response, Side, Skipped
from autointerp.scorers import DetectionScorer
from tests.doubles import make_corpus, random_proteins, write_cache
from tests.features.record_child import digest
from tests.features.test_loader import Truth, check_example

NEIGHBOURS = np.array([[1, 5], [2, 3], [0, 1], [-1, -1], [0, 1], [0, 2]])  # 3 is dead


@pytest.fixture(scope="module", params=["protein", "text"])
def truth(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Truth:
    return Truth(tmp_path_factory.mktemp(request.param), request.param)


def sides_of(record: FeatureRecord) -> Iterator[tuple[int, Side]]:
    return zip((0, 2), (record.explain, record.test), strict=True)


def place(e: Example) -> tuple[int, int]:
    return e.sequence, e.start


def silent_bins(truth: Truth, feature: int, side: int, length: int) -> set[tuple[int, int]]:
    """(sequence, start) of the centred contexts of every bin whose bin and context are silent."""
    found = set()
    for s in np.flatnonzero(truth.sides() == side):
        low, high = int(truth.offsets[s]), int(truth.offsets[s + 1])
        for begin in range(low, high, length):
            end = min(begin + length, high)
            start = max(min((begin + end) // 2 - length // 2, high - length), low)
            if not (
                truth.dense[begin:end, feature].any()
                or truth.dense[start : start + length, feature][: high - start].any()
            ):
                found.add((int(s), start - low))
    return found


@pytest.mark.parametrize("n_explain", [20, 60])
def test_near_misses_are_the_weakest_tenth_less_what_is_shown(truth: Truth, n_explain: int) -> None:
    loader = FeatureLoader(
        truth.cache,
        truth.corpus,
        context=8,
        n_explain=n_explain,
        negatives="near-miss",
        n_non_activating=10,
        min_examples=1,
    )
    for code, side in sides_of(loader[2]):
        sites = truth.sites(2, code, 8)
        peaks = sorted(truth.dense[p, 2] for p, _ in sites.values())
        decile = -(-len(peaks) // 10)
        shown = sum(e.quantile == 0 for e in side.positives)  # of the lowest of ten quantiles
        assert len(side.negatives) == min(10, decile - shown)
        assert not {place(e) for e in side.negatives} & {place(e) for e in side.positives}
        for e in side.negatives:
            check_example(truth, 2, e)
            assert (e.kind, e.quantile) == ("near-miss", -1)
            assert place(e) in sites
            assert 0 < e.peak <= peaks[decile - 1]


def test_no_near_miss_left_is_an_outcome(truth: Truth) -> None:
    loader = FeatureLoader(truth.cache, truth.corpus, context=8, n_explain=10_000, negatives="near-miss")
    with pytest.raises(NotEnoughExamples, match="feature 2: 0 near-miss contexts on the explain side, 10 are needed"):
        loader[2]


@pytest.mark.parametrize("n", [7, 10_000])
def test_neighbours_give_their_strongest_silent_contexts_in_turn(truth: Truth, n: int) -> None:
    loader = FeatureLoader(
        truth.cache,
        truth.corpus,
        context=8,
        negatives="neighbour",
        neighbours=NEIGHBOURS,
        n_non_activating=n,
        min_examples=5,
    )
    for code, side in sides_of(loader[2]):
        lists = []
        for other in NEIGHBOURS[2].tolist():
            sites = sorted(truth.sites(other, code, 8).items(), key=lambda s: (-truth.dense[s[1][0], other], s[1][0]))
            start = [int(truth.offsets[s]) + a for (s, a), _ in sites]
            lists.append([w for (w, (_, b)), a in zip(sites, start, strict=True) if not truth.dense[a:b, 2].any()])
        turns = [part[i] for i in range(max(map(len, lists))) for part in lists if i < len(part)]
        assert [place(e) for e in side.negatives] == list(dict.fromkeys(turns))[:n]
        for e in side.negatives:
            check_example(truth, 2, e)
            assert (e.kind, e.peak, e.quantile) == ("neighbour", 0, -1)
    with pytest.raises(NotEnoughExamples, match="0 neighbour contexts on the explain side, 5 are needed"):
        FeatureLoader(
            truth.cache, truth.corpus, context=8, negatives="neighbour", neighbours=NEIGHBOURS * 0 - 1, min_examples=5
        )[2]


def test_family_draws_from_relatives_of_firing_sequences(truth: Truth) -> None:
    """All of them where as many are asked for, and nothing else."""
    loader = FeatureLoader(truth.cache, truth.corpus, context=8, negatives="family", n_non_activating=10_000)
    for code, side in sides_of(loader[0]):
        fires = [truth.dense[a:b, 0].any() for a, b in zip(truth.offsets[:-1], truth.offsets[1:], strict=True)]
        related = {
            i for i in range(300) for j in range(300) if i != j and fires[j] and truth.groups[i] == truth.groups[j]
        }
        expected = {w for w in silent_bins(truth, 0, code, 8) if w[0] in related}
        assert {place(e) for e in side.negatives} == expected
        assert len(side.negatives) == len(expected) >= 10
        for e in side.negatives:
            check_example(truth, 0, e)
            assert (e.kind, e.peak) == ("family", 0)


def test_family_by_a_metadata_column_stays_on_the_side(tmp_path: Path) -> None:
    """Families that span groups; a sequence without one has no relatives, a column of unique names neither."""
    rng = np.random.default_rng(0)
    families = [None if i % 7 == 0 else f"F{i % 11}" for i in range(300)]
    names = [f"n{i}" for i in range(300)]
    corpus = make_corpus(
        tmp_path / "corpus", random_proteins(300, (20, 30)), fam=families, name=names, tags=[["a"]] * 300
    )
    dense = rng.random((int(corpus.lengths.sum()), 2)) * (rng.random((int(corpus.lengths.sum()), 2)) < 0.01)
    cache = write_cache(tmp_path / "cache", dense, corpus)
    offsets, sides = np.cumsum([0, *corpus.lengths]), assign_sides(np.arange(300), (0.5, 0.0, 0.5), 0)
    fires = {i for i in range(300) if dense[offsets[i] : offsets[i + 1], 0].any()}
    record = FeatureLoader(cache, corpus, context=8, negatives="family", family="fam", min_examples=5)[0]
    for code, side in sides_of(record):
        for e in side.negatives:
            assert sides[e.sequence] == code
            assert families[e.sequence] is not None
            assert any(families[j] == families[e.sequence] and sides[j] == code for j in fires - {e.sequence})
    with pytest.raises(NotEnoughExamples, match="0 family contexts"):
        FeatureLoader(cache, corpus, context=8, negatives="family", family="name", min_examples=5)[0]
    with pytest.raises(UsageError, match="'tags': its values are lists"):
        FeatureLoader(cache, corpus, negatives="family", family="tags")
    with pytest.raises(UsageError, match="no metadata column 'famili'"):
        FeatureLoader(cache, corpus, negatives="family", family="famili")


def test_a_mixture_has_equal_shares_and_no_context_twice(truth: Truth) -> None:
    kinds = ("random", "near-miss", "family", "neighbour")
    loader = FeatureLoader(
        truth.cache,
        truth.corpus,
        context=8,
        negatives=kinds,
        neighbours=NEIGHBOURS,
        n_explain=10,
        n_test=10,
        n_non_activating=30,
        min_examples=4,
    )
    record = loader[1]
    for _, side in sides_of(record):
        assert Counter(e.kind for e in side.negatives) == dict(zip(kinds, (8, 8, 7, 7), strict=True))
        places = [place(e) for e in (*side.positives, *side.negatives)]
        assert len(places) == len(set(places))
    assert loader.settings["negatives"] == list(kinds)
    assert digest(record) == digest(loader[1])


def test_random_alone_is_what_it_was_and_other_choices_are_other_settings(truth: Truth) -> None:
    choices: list[dict[str, Any]] = [
        {},
        {"negatives": "near-miss"},
        {"negatives": ["random", "near-miss"]},
        {"negatives": "family"},
        {"negatives": "neighbour", "neighbours": NEIGHBOURS},
        {"negatives": "neighbour", "neighbours": NEIGHBOURS[:, ::-1]},
    ]
    found = [repr(FeatureLoader(truth.cache, truth.corpus, **c).settings) for c in choices]
    assert len(set(found)) == len(found)
    one, two = (FeatureLoader(truth.cache, truth.corpus, context=8, **c) for c in ({}, {"negatives": ["random"]}))
    assert (digest(one[2]), one.settings) == (digest(two[2]), two.settings)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 12), min_size=60, max_size=60), st.integers(0, 50), st.sampled_from(sorted(NEGATIVES)))
def test_no_group_is_on_two_sides(
    tmp_path_factory: pytest.TempPathFactory, groups: list[int], seed: int, kind: str
) -> None:
    folder = tmp_path_factory.mktemp("groups")
    fam = np.random.default_rng(seed).integers(0, 4, 60).tolist()
    corpus = make_corpus(folder / "corpus", random_proteins(60, (30, 30)), groups, fam=fam)
    dense = np.random.default_rng(seed).random((1800, 3))
    cache = write_cache(folder / "cache", dense * (dense > 0.95), corpus)
    loader = FeatureLoader(
        cache,
        corpus,
        context=6,
        seed=seed,
        n_explain=10,
        min_examples=1,
        negatives=kind,
        family="fam",
        neighbours=np.array([[1, 2], [0, 2], [0, 1]]),
        embeddings=np.random.default_rng(seed).normal(size=(300, 4)),
    )
    sides = assign_sides(np.array(groups), (0.5, 0.0, 0.5), seed)
    for record in loader.iterate():
        if not isinstance(record, Skipped):
            for code, side in sides_of(record):
                assert {e.kind for e in side.negatives} == {kind}
                assert {sides[e.sequence] for e in (*side.positives, *side.negatives)} == {code}


@pytest.mark.parametrize("kind", ["near-miss", "neighbour", "family"])
def test_level_sequence(tmp_path: Path, kind: str) -> None:
    """A near miss shows its own weak value, the others are silent sequences."""
    rng, groups = np.random.default_rng(0), np.arange(300) // 3
    dense = rng.lognormal(0, 1, (300, 2)) * (rng.random((300, 2)) < 0.5)
    corpus = make_corpus(tmp_path / "corpus", random_proteins(300, (5, 20)), groups.tolist())
    cache = write_cache(tmp_path / "cache", dense, corpus, level="sequence")
    loader = FeatureLoader(
        cache, corpus, negatives=kind, neighbours=np.array([[1], [0]]), n_explain=20, n_test=20, min_examples=3
    )
    for _, side in sides_of(loader[0]):
        for e in side.negatives:
            assert e.kind == kind
            assert (e.activations == np.float32(dense[e.sequence, 0])).all()
            assert (e.peak > 0) == (kind == "near-miss")
            if kind == "neighbour":
                assert dense[e.sequence, 1] > 0
            if kind == "family":
                assert dense[groups == groups[e.sequence], 0].any()


def test_a_callable_gives_positions_under_the_rules_of_all(truth: Truth) -> None:
    def from_the_left(scene: Scene, n: int, rng: np.random.Generator) -> np.ndarray:
        """The side's strongest contexts: those that are shown must fall out, and one given twice counts once."""
        return np.repeat(scene.sites.position[::-1], 2)

    loader = FeatureLoader(
        truth.cache, truth.corpus, context=8, negatives=from_the_left, n_explain=20, n_non_activating=15
    )
    assert loader.settings["negatives"][0].endswith("from_the_left")
    for _, side in sides_of(loader[2]):
        assert len(side.negatives) == 15
        places = [place(e) for e in (*side.positives, *side.negatives)]
        assert len(places) == len(set(places))
        for e in side.negatives:
            check_example(truth, 2, e)
            assert e.kind == "from_the_left"

    wrong: list[tuple[Callable[[Scene], Any], str]] = [
        (
            lambda scene: scene.bins.offsets[:-1][~scene.on_side & (np.diff(scene.bins.offsets) > 0)][:3],
            "not on the side",
        ),
        (lambda scene: [-1], "flat positions"),
        (lambda scene: [int(scene.bins.offsets[-1])], "flat positions"),
        (lambda scene: [[0]], "flat positions"),
    ]
    for give, message in wrong:
        with pytest.raises(UsageError, match=message):
            FeatureLoader(truth.cache, truth.corpus, context=8, negatives=lambda scene, n, rng, give=give: give(scene))[
                2
            ]
    nothing = FeatureLoader(truth.cache, truth.corpus, context=8, negatives=lambda scene, n, rng: [])
    with pytest.raises(NotEnoughExamples, match="0 <lambda> contexts"):
        nothing[2]


def test_wrong_settings(truth: Truth) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"negatives": "near_miss"}, "unknown negatives 'near_miss'; .*did you mean 'near-miss'"),
        ({"negatives": []}, "no negatives"),
        ({"negatives": ["random", "random"]}, "'random' are given twice"),
        ({"negatives": "neighbour"}, "need neighbours="),
        ({"neighbours": NEIGHBOURS[:4]}, r"neighbours of shape \(4, 2\).*\(6, k\)"),
        ({"neighbours": NEIGHBOURS + 1}, "neighbours"),
        ({"neighbours": NEIGHBOURS + 0.5}, "neighbours .*float64"),
        ({"negatives": "similar"}, "need embeddings="),
        ({"embeddings": np.zeros((7, 3))}, r"embeddings of shape \(7, 3\).*floats \(\d+, d\)"),
    ]
    for setting, message in wrong:
        with pytest.raises(UsageError, match=message):
            FeatureLoader(truth.cache, truth.corpus, **setting)


def test_scores_tell_the_kinds_apart(truth: Truth) -> None:
    """A judge who says "fires" to everything is wrong on every negative, weakly active or not, and by kind."""
    record = FeatureLoader(
        truth.cache,
        truth.corpus,
        context=8,
        negatives=("random", "near-miss"),
        n_non_activating=20,
        n_explain=9,
        n_test=10,
        min_examples=5,
    )[2]
    plan = DetectionScorer().score(record, Explanation(2, "anything", "test"))
    requests = next(plan)
    with pytest.raises(StopIteration) as stop:
        plan.send([Response('{"answers": [1, 1, 1, 1, 1]}') for _ in requests])
    score = stop.value.value
    assert score.metrics["by_kind"] == {"activating": [10, 10], "random": [0, 10], "near-miss": [0, 10]}
    assert score.value == 0.5
