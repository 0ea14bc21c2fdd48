"""Records against the dense matrix that the cache was written from."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autointerp.cache import ActivationCache
from autointerp.corpus import Corpus
from autointerp.errors import NotEnoughExamples, UsageError
from autointerp.features import FeatureLoader
from autointerp.features.contexts import Bins
from autointerp.features.splits import assign_sides
from autointerp.records import Example, FeatureRecord, Skipped
from caching.run import cache_activations
from tests.caching.kill_child import options
from tests.doubles import FakeSubject, fake_coder, make_corpus, random_documents, random_proteins, write_cache
from tests.features.record_child import digest
from tests.features.test_contexts import brute_sites

DENSITY = (0.02, 0.05, 0.2, 0.0, 1.0, 0.001)


class Truth:
    """A corpus, its dense activations and the cache of them; feature ``i`` fires at ``DENSITY[i]`` of the tokens."""

    def __init__(self, folder: Path, kind: str, value_dtype: str = "float16") -> None:
        texts = random_proteins(300, (0, 50)) if kind == "protein" else random_documents(300, (1, 25))
        groups = np.random.default_rng(1).integers(0, 150, 300).tolist()
        names = [f"name {i}" for i in range(300)]
        self.corpus = make_corpus(folder / "corpus", texts, groups, kind=kind, name=names)
        self.tokens = FakeSubject(kind).tokenize(texts)
        self.offsets = np.cumsum([0, *(len(t.ids) for t in self.tokens)])
        rng, n = np.random.default_rng(0), int(self.offsets[-1])
        dense = (rng.random((n, len(DENSITY))) < DENSITY) * rng.lognormal(0, 1, (n, len(DENSITY)))
        self.dense = dense.astype(value_dtype)
        self.cache = write_cache(folder / "cache", self.dense, self.corpus, value_dtype=value_dtype)
        self.groups = np.array(groups)

    def sides(self, shares: tuple[float, float, float] = (0.5, 0.0, 0.5), seed: int = 0) -> np.ndarray:
        return assign_sides(self.groups, shares, seed)

    def sites(
        self, feature: int, side: int, length: int, centred: bool = True
    ) -> dict[tuple[int, int], tuple[int, int]]:
        """Of the sites on a side: (sequence, start in it) to (position, stop)."""
        _, sites = brute_sites(self.dense[:, feature], self.offsets, length, centred)
        sides = self.sides()
        return {(s, a - self.offsets[s]): (p, b) for s, p, a, b in sites if sides[s] == side}


@pytest.fixture(scope="module", params=["protein", "text"])
def truth(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Truth:
    return Truth(tmp_path_factory.mktemp(request.param), request.param)


def check_example(truth: Truth, feature: int, e: Example) -> None:
    """Text, tokens, activations and metadata are those of its place."""
    begin, n = int(truth.offsets[e.sequence]) + e.start, len(e.ends)
    text, tokens = truth.corpus.text(e.sequence), truth.tokens[e.sequence]
    bounds = [0, *(tokens.ends if tokens.ends is not None else range(1, len(text) + 1))]
    pieces = [text[a:b] for a, b in pairwise(bounds)]
    assert e.length == len(pieces)
    assert e.start + n <= e.length
    assert e.tokens == pieces[e.start : e.start + n]
    assert e.text == "".join(e.tokens)
    np.testing.assert_array_equal(e.activations, truth.dense[begin : begin + n, feature])
    assert e.activations.dtype == np.float32
    assert e.group == truth.groups[e.sequence]
    assert dict(e.metadata) == {"name": f"name {e.sequence}"}


@pytest.mark.parametrize("contexts", ["centred", "fixed"])
@pytest.mark.parametrize("feature", [0, 1, 2])
@pytest.mark.parametrize("length", [2, 7, 8, 100])
def test_examples_are_what_stands_in_the_corpus(truth: Truth, contexts: str, feature: int, length: int) -> None:
    loader = FeatureLoader(truth.cache, truth.corpus, context=length, contexts=contexts, n_explain=20, min_examples=2)
    record = loader[feature]
    for code, side in ((0, record.explain), (2, record.test)):
        sites = truth.sites(feature, code, length, contexts == "centred")
        assert len(side.positives) == min(20 if code == 0 else 50, len(sites))
        for e in side.positives:
            check_example(truth, feature, e)
            begin = truth.offsets[e.sequence]
            position, stop = sites[e.sequence, e.start]
            assert begin + e.start + len(e.ends) == stop
            if contexts == "fixed":
                assert e.start % length == 0
            else:
                assert len(e.ends) == min(length, e.length)
                peak = int(e.activations.argmax())
                assert begin + e.start + peak == position
                assert peak == length // 2 or e.at_start or e.at_end
            assert (e.kind, e.peak > 0) == ("activating", True)
        for e in side.negatives:
            check_example(truth, feature, e)
            assert (e.kind, e.quantile, e.peak) == ("random", -1, 0)
        ids = [e.id for e in (*side.positives, *side.negatives)]
        assert len(ids) == len(set(ids))
        assert {truth.sides()[e.sequence] for e in (*side.positives, *side.negatives)} == {code}


@pytest.mark.parametrize("sampler", ["quantiles", "top", "random", "mix", "importance", "even", "blocks"])
def test_quantiles_are_ranks_on_the_side_and_samplers_do_as_they_say(truth: Truth, sampler: str) -> None:
    loader = FeatureLoader(
        truth.cache, truth.corpus, context=8, n_explain=20, n_test=30, sampler=sampler, n_quantiles=5
    )
    record = loader[2]
    for code, side, name in ((0, record.explain, sampler), (2, record.test, "quantiles")):
        sites = truth.sites(2, code, 8)
        peaks = np.sort([truth.dense[p, 2] for p, _ in sites.values()])
        quantiles = np.array([e.quantile for e in side.positives])
        for e in side.positives:  # between the ranks of the first and the last site as strong
            low, high = np.searchsorted(peaks, e.peak, "left"), np.searchsorted(peaks, e.peak, "right") - 1
            assert low * 5 // len(peaks) <= e.quantile <= high * 5 // len(peaks)
        assert (np.diff([e.peak for e in side.positives]) <= 0).all(), "strongest first"
        if name == "quantiles":
            assert np.bincount(quantiles).tolist() == [len(quantiles) // 5] * 5
        if name == "even":
            assert (quantiles[0], quantiles[-1]) == (4, 0)
            assert {e.peak for e in side.positives} >= {peaks[0], peaks[-1]}
        if name in ("top", "mix"):
            n = len(quantiles) if name == "top" else len(quantiles) // 5
            np.testing.assert_array_equal([e.peak for e in side.positives][:n], peaks[::-1][:n])


def test_samplers_get_shares_of_the_maximum_of_the_feature_not_of_the_side(truth: Truth) -> None:
    seen: list[np.ndarray] = []

    def strongest(peaks: np.ndarray, n: int, n_quantiles: int, rng: np.random.Generator) -> np.ndarray:
        seen.append(peaks)
        return np.arange(len(peaks) - n, len(peaks))

    loader = FeatureLoader(truth.cache, truth.corpus, context=8, sampler=strongest, test_sampler=strongest)
    record, whole = loader[2], np.float32(truth.dense[:, 2].max())
    for code, peaks in zip((0, 2), seen, strict=True):
        mine = np.sort([truth.dense[p, 2] for p, _ in truth.sites(2, code, 8).values()]).astype(np.float32)
        np.testing.assert_array_equal(peaks, mine / whole)
    assert sorted(p[-1] for p in seen)[0] < 1 == sorted(p[-1] for p in seen)[1]
    assert len(record.test.positives) == 50
    assert loader.settings["test_sampler"].endswith("strongest")


def test_a_sampler_that_finds_too_few_is_an_outcome(truth: Truth) -> None:
    """InterPLM's rule: few strong contexts, no record."""
    loader = FeatureLoader(truth.cache, truth.corpus, context=8, n_explain=28, sampler="bins", min_examples=3)
    peaks = {f: [truth.dense[p, f] for p, _ in truth.sites(f, 0, 8).values()] for f in range(3)}
    strong = {f: np.sum(np.array(p) / truth.dense[:, f].max() >= 0.7) for f, p in peaks.items()}
    assert max(strong.values()) < 10, "log-normal peaks have few near the maximum"
    for item, f in zip(loader.iterate(range(3)), range(3), strict=True):
        assert item == Skipped(f, "activating contexts drawn on the explain side", 0, 3)


@pytest.mark.parametrize("contexts", ["centred", "fixed"])
def test_a_constructor_that_gives_the_peaks_changes_nothing_but_its_name(truth: Truth, contexts: str) -> None:
    def peaks(tokens: np.ndarray, values: np.ndarray, bins: Bins) -> np.ndarray:
        return bins.active(tokens, values)[1].position[::-1]

    plain, same = (
        FeatureLoader(truth.cache, truth.corpus, context=8, contexts=contexts, constructor=c) for c in (None, peaks)
    )
    assert [digest(plain[f]) for f in range(3)] == [digest(same[f]) for f in range(3)]
    assert plain.settings | {"constructor": same.settings["constructor"]} == same.settings
    assert same.settings["constructor"].endswith("peaks")


def test_a_constructor_of_ones_own(truth: Truth) -> None:
    """Contexts that begin with the activation; samplers, sides and negatives go on as ever."""

    def begin(tokens: np.ndarray, values: np.ndarray, bins: Bins) -> np.ndarray:
        return np.minimum(tokens + bins.length // 2, bins.offsets[-1] - 1)

    loader = FeatureLoader(truth.cache, truth.corpus, context=8, constructor=begin, n_explain=30, sampler="top")
    record, sides = loader[1], truth.sides()
    assert record.statistics == FeatureLoader(truth.cache, truth.corpus, context=8)[1].statistics
    for code, side in ((0, record.explain), (2, record.test)):
        for e in (*side.positives, *side.negatives):
            check_example(truth, 1, e)
            assert sides[e.sequence] == code
        assert all(e.peak > 0 for e in side.positives)
        assert len({e.id for e in side.positives}) == len(side.positives)
    inner = [e for e in record.explain.positives if not (e.at_start or e.at_end)]
    assert inner
    assert all(e.activations[0] > 0 for e in inner)
    wrong: list[Any] = [[-1], [len(truth.dense)], [[1]], [0.5]]
    for given_back in wrong:
        with pytest.raises(UsageError, match="flat positions are needed"):
            FeatureLoader(truth.cache, truth.corpus, context=8, constructor=lambda t, v, b, g=given_back: g)[1]
    with pytest.raises(NotEnoughExamples, match="0 activating contexts on the explain side"):
        FeatureLoader(truth.cache, truth.corpus, context=8, constructor=lambda t, v, b: t[:0])[1]


def test_float32_caches_sample_by_the_same_rule(tmp_path: Path) -> None:
    truth = Truth(tmp_path, "protein", "float32")
    record = FeatureLoader(truth.cache, truth.corpus, context=8, n_test=50)[2]
    assert np.bincount([e.quantile for e in record.test.positives]).tolist() == [5] * 10
    for e in record.test.positives:
        check_example(truth, 2, e)


def test_a_record_depends_on_settings_and_feature_alone(truth: Truth) -> None:
    """Not on order, subset or process."""

    def loader() -> FeatureLoader:
        return FeatureLoader(truth.cache, truth.corpus, context=8, n_explain=20, seed=3)

    features = [0, 1, 2]
    forwards, one = loader(), loader()
    digests = {f: digest(forwards[f]) for f in features}
    assert {f: digest(one[f]) for f in reversed(features)} == digests
    assert [digest(r) for r in loader().iterate([2, 2]) if isinstance(r, FeatureRecord)] == [digests[2]] * 2
    command = [sys.executable, "-m", "tests.features.record_child", truth.corpus.path, truth.cache.path, "2", "0", "1"]
    root = Path(__file__).parents[2]
    child = subprocess.run([*map(str, command)], cwd=root, check=True, capture_output=True, text=True)
    assert child.stdout.split() == [digests[2], digests[0], digests[1]]
    assert len(set(digests.values())) == 3


def test_another_seed_draws_others(truth: Truth) -> None:
    one, two = (FeatureLoader(truth.cache, truth.corpus, context=8, seed=s) for s in (0, 1))
    assert digest(one[2]) != digest(two[2])
    assert one.settings != two.settings


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 12), min_size=60, max_size=60), st.integers(0, 50), st.integers(0, 5))
def test_no_group_is_on_two_sides(
    tmp_path_factory: pytest.TempPathFactory, groups: list[int], seed: int, n_validation: int
) -> None:
    folder = tmp_path_factory.mktemp("groups")
    corpus = make_corpus(folder / "corpus", random_proteins(60, (30, 30)), groups)
    dense = np.random.default_rng(seed).random((1800, 2))
    cache = write_cache(folder / "cache", dense * (dense > 0.97), corpus)
    loader = FeatureLoader(
        cache, corpus, context=6, seed=seed, min_examples=1, n_validation=n_validation, split=(0.4, 0.2, 0.4)
    )
    for record in loader.iterate():
        if isinstance(record, Skipped):
            continue
        found = [side.groups for side in (record.explain, record.validation, record.test)]
        assert sum(map(len, found)) == len(set.union(*found))
        assert bool(record.validation.positives) == bool(n_validation)
        assert len(record.validation.positives) <= n_validation
        for side in (record.explain, record.validation, record.test):
            assert all(e.group == groups[e.sequence] for e in (*side.positives, *side.negatives))


def test_too_few_or_too_many_activations(truth: Truth) -> None:
    loader = FeatureLoader(truth.cache, truth.corpus, context=8)
    with pytest.raises(NotEnoughExamples, match="feature 3: 0 activating contexts, 10 are needed"):
        loader[3]
    with pytest.raises(
        NotEnoughExamples, match="feature 4: 0 non-activating contexts on the explain side, 10 are needed"
    ):
        loader[4]
    with pytest.raises(
        NotEnoughExamples, match=r"feature 5: \d activating contexts on the explain side, 10 are needed"
    ):
        loader[5]
    kinds = [type(item) for item in loader.iterate()]
    assert kinds == [FeatureRecord] * 3 + [Skipped] * 3
    (skipped,) = (i for i in loader.iterate([4]))
    assert skipped == Skipped(4, "non-activating contexts on the explain side", 0, 10)


async def test_a_stream_gives_what_iterate_gives(truth: Truth) -> None:
    loader = FeatureLoader(truth.cache, truth.corpus, context=8)
    for features in (None, [4, 2, 0, 2]):
        streamed = [item async for item in loader.stream(features, ahead=3)]
        for one, two in zip(streamed, loader.iterate(features), strict=True):
            assert (digest(one) == digest(two)) if isinstance(two, FeatureRecord) else one == two
    with pytest.raises(UsageError, match="ahead 0: must be at least 1"):
        loader.stream(ahead=0)
    with pytest.raises(UsageError, match="features 0 … 5"):
        _ = [item async for item in loader.stream([1, 6])]


def test_between_min_examples_and_the_number_asked_what_there_is_is_used(truth: Truth) -> None:
    counts = [len(truth.sites(5, code, 8)) for code in (0, 2)]
    assert min(counts) >= 1
    record = FeatureLoader(truth.cache, truth.corpus, context=8, min_examples=min(counts))[5]
    assert [len(record.explain.positives), len(record.test.positives)] == counts
    assert len(record.explain.negatives) == len(record.test.negatives) == 50
    if counts[0] != counts[1]:
        with pytest.raises(NotEnoughExamples):
            FeatureLoader(truth.cache, truth.corpus, context=8, min_examples=max(counts))[5]


def test_draw_goes_on_until_enough_are_eligible(truth: Truth) -> None:
    loader = FeatureLoader(truth.cache, truth.corpus, context=8)
    for seed in range(5):
        items = list(loader.draw(2, seed))
        records = [i for i in items if isinstance(i, FeatureRecord)]
        assert len(records) == 2
        assert items[-1] is records[-1]
        assert [i.feature for i in items] == [i.feature for i in loader.draw(2, seed)]
    assert len({tuple(i.feature for i in loader.draw(9, seed)) for seed in range(5)}) > 1
    assert sorted(i.feature for i in loader.draw(9)) == list(range(6)), "all are tried when too few are eligible"
    assert list(loader.draw(0)) == []


def test_statistics_count_sequences_and_groups(truth: Truth) -> None:
    loader = FeatureLoader(truth.cache, truth.corpus, context=8)
    sequence = np.repeat(np.arange(300), np.diff(truth.offsets))
    for feature in range(3):
        found, column = loader[feature].statistics, truth.dense[:, feature].astype(float)
        fires = column > 0
        assert (found.count, found.n_sequences) == (fires.sum(), len(set(sequence[fires])))
        assert found.n_groups == len(set(truth.groups[sequence[fires]]))
        np.testing.assert_allclose([found.max, found.mean], [column.max(), column[fires].mean()], rtol=1e-6)
        assert found.frequency == fires.mean()


@pytest.mark.parametrize("kind", ["protein", "text"])
def test_level_sequence_shows_whole_sequences(tmp_path: Path, kind: str) -> None:
    """Each sequence is a context, cut at ``context``; its value stands at all its tokens; empty ones are not shown."""
    texts = random_proteins(120, (1, 20)) if kind == "protein" else random_documents(120, (1, 8))
    texts[5] = texts[77] = ""
    corpus = make_corpus(tmp_path / "corpus", texts, kind=kind)
    rng = np.random.default_rng(0)
    dense = rng.lognormal(0, 1, (120, 3)) * (rng.random((120, 3)) < (0.3, 0.6, 0.05))
    dense[[5, 77]] = 0
    dense[:, 1][[5, 77]] = 0
    cache = write_cache(tmp_path / "cache", dense.astype(np.float32), corpus, level="sequence")
    tokens = FakeSubject(kind).tokenize(texts)
    loader = FeatureLoader(cache, corpus, context=10, n_non_activating=100)
    record = loader[0]
    assert record.level == "sequence"
    assert record.modality == kind
    sides = assign_sides(np.arange(120), (0.5, 0.0, 0.5), 0)
    for code, side in ((0, record.explain), (2, record.test)):
        mine = {i for i in range(120) if sides[i] == code and len(texts[i])}
        assert {e.sequence for e in side.positives} == {i for i in mine if dense[i, 0] > 0}
        assert {e.sequence for e in side.negatives} == {i for i in mine if dense[i, 0] == 0}
        for e in (*side.positives, *side.negatives):
            n = min(10, len(tokens[e.sequence].ids))
            assert (e.start, len(e.ends), e.length) == (0, n, len(tokens[e.sequence].ids))
            assert e.text == "".join(e.tokens)
            assert texts[e.sequence].startswith(e.text)
            assert e.text == texts[e.sequence] or n == 10
            np.testing.assert_array_equal(e.activations, np.full(n, dense[e.sequence, 0], np.float32))
    assert record.statistics.frequency == (dense[:, 0] > 0).mean()
    assert record.statistics.n_sequences == (dense[:, 0] > 0).sum()


def test_an_unfinished_cache_gives_records_of_what_is_there(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "corpus", random_proteins(60, (20, 50)))

    class Stop:
        left = 60

        def start(self, *args: Any) -> None: ...

        def advance(self, n: int, **facts: Any) -> None:
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt

        def finish(self) -> None: ...

    with pytest.raises(KeyboardInterrupt):
        cache_activations(FakeSubject(), fake_coder(bias=-25.0), corpus, tmp_path / "cache", options("token"), Stop())
    part = ActivationCache.open(tmp_path / "cache")
    assert not part.complete
    assert 0 < part.n_sequences < 60
    half = FeatureLoader(part, corpus, context=4, min_examples=2)
    record = next(r for r in half.iterate() if isinstance(r, FeatureRecord))
    sides = (record.explain, record.test)
    assert max(e.sequence for s in sides for e in (*s.positives, *s.negatives)) < part.n_sequences
    finished = cache_activations(FakeSubject(), fake_coder(bias=-25.0), corpus, tmp_path / "cache", options("token"))
    whole = FeatureLoader(finished, corpus, context=4, min_examples=2)
    assert whole.settings != half.settings, "a run on half a cache is not resumed on the whole"


def test_settings_out_of_range(truth: Truth, tmp_path: Path) -> None:
    other: Corpus = make_corpus(tmp_path / "other", ["ACD"])
    with pytest.raises(UsageError, match=f"{truth.corpus.digest[:12]}….* {other.digest[:12]}….*give the corpus"):
        FeatureLoader(truth.cache, other)
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"contexts": "middle"}, "valid are centred, fixed"),
        ({"n_explain": 0}, "n_explain 0"),
        ({"n_test": -1}, "n_test -1"),
        ({"n_non_activating": -1}, "n_non_activating -1"),
        ({"context": 1}, "context 1: must be at least 2"),
        ({"min_examples": 0}, "min_examples 0"),
        ({"n_quantiles": 0}, "n_quantiles 0"),
        ({"sampler": "best"}, "unknown sampler 'best'"),
        ({"split": (0.5, 0.5, 0.5)}, "sum to 1"),
        ({"n_validation": 5}, "no group to the validation side"),
        ({"split": (1.0, 0.0, 0.0)}, "no group to the test side"),
    ]
    for setting, message in wrong:
        with pytest.raises(UsageError, match=message):
            FeatureLoader(truth.cache, truth.corpus, **setting)
    with pytest.raises(UsageError, match="features 0 … 5"):
        FeatureLoader(truth.cache, truth.corpus)[6]


def test_a_record_that_leaks_cannot_be_made(truth: Truth) -> None:
    record = FeatureLoader(truth.cache, truth.corpus, context=8)[2]
    leak = replace(record.test.positives[0], group=record.explain.negatives[0].group)
    with pytest.raises(UsageError, match="stands on both the explain and the test side"):
        replace(record, test=replace(record.test, positives=(leak,)))
