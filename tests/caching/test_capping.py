"""Capped features: against a bottom-k sample in plain Python integers, over order, blocks and shards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from doubles import FakeSubject, fake_coder, make_corpus, random_proteins

from autointerp.cache import ActivationCache
from autointerp.cache.subset import sequence_hash
from autointerp.corpus import Corpus
from autointerp.errors import UsageError
from caching.capping import Capped
from caching.interchange import write_delphi
from caching.run import cache_activations
from caching.settings import CacheSettings

MASK = (1 << 64) - 1


def splitmix(x: int) -> int:
    """The finaliser as published (Steele, Lea & Flood 2014; constants of java.util.SplittableRandom)."""
    x = (x + 0x9E3779B97F4A7C15) & MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def plain_hash(seed: int, feature: int, sequence: int) -> int:
    return splitmix(splitmix(splitmix(seed) ^ feature) ^ sequence)


def bottom(counts: dict[int, int], most: int, seed: int, feature: int) -> tuple[set[int], int | None]:
    """Sequences kept of {sequence: activations}, and the hash of the first one left out."""
    kept, total = set(), 0
    for place, sequence in enumerate(sorted(counts, key=lambda s: plain_hash(seed, feature, s))):
        total += counts[sequence]
        if place and total > most:
            return kept, plain_hash(seed, feature, sequence)
        kept.add(sequence)
        if total > most:  # the first alone is too much: it is kept, and nothing else
            most = 0
    return kept, None


def test_the_hash_is_splitmix64() -> None:
    assert splitmix(0) == 0xE220A8397B1DCDAF  # first output of SplitMix64 with seed 0, as its authors' code gives it
    sequences = np.array([0, 1, 5, 1 << 31, (1 << 32) - 1])
    for seed, feature in [(0, 0), (3, 17), (2**40, 65535)]:
        expected = [plain_hash(seed, feature, s) for s in sequences.tolist()]
        assert sequence_hash(seed, feature, sequences).tolist() == expected


@pytest.mark.parametrize("most", [1, 3, 50, 700, 10**6])
def test_what_is_kept_is_the_bottom_of_the_hashes_in_any_order_of_blocks(most: int) -> None:
    rng = np.random.default_rng(most)
    counts = {s: int(n) for s, n in enumerate(rng.integers(0, 12, 300)) if n}
    sequences = np.repeat(list(counts), list(counts.values()))
    kept, threshold = bottom(counts, most, 5, 9)
    for order in (np.arange(6), rng.permutation(6)):
        capped = Capped(9, most, 5)
        for block in order:
            chosen = sequences // 50 == block
            capped.add(sequences[chosen], np.flatnonzero(chosen).astype(np.uint32), np.flatnonzero(chosen) * 2.0)
        token, value = capped.kept()
        assert set(sequences[token]) == kept
        assert len(token) == sum(counts[s] for s in kept)
        np.testing.assert_array_equal(value, token * 2.0)
        assert int(capped.threshold) == (MASK if threshold is None else threshold)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return make_corpus(tmp_path_factory.mktemp("corpus"), [*random_proteins(120, (1, 60)), ""])


def make(corpus: Corpus, folder: Path, **settings: Any) -> ActivationCache:
    coder = fake_coder(dead=[0, 7], bias=-2.0)
    return cache_activations(
        FakeSubject(), coder, corpus, folder, CacheSettings("layer:1", overlap=5, block_size=300, **settings)
    )


@pytest.mark.parametrize("level", ["token", "sequence"])
@pytest.mark.parametrize("shard_activations", [1, 400, 1 << 20])
def test_a_capped_cache_holds_whole_sequences_and_the_numbers_of_everything(
    tmp_path: Path, corpus: Corpus, level: str, shard_activations: int
) -> None:
    whole = make(corpus, tmp_path / "whole", level=level)
    most = int(np.median(whole.statistics["count"]))
    sizes = {"shard_activations": shard_activations, "max_activations_per_feature": most, "seed": 3}
    cache = make(corpus, tmp_path / "capped", level=level, **sizes)
    assert cache.verify() == []
    n_capped = 0
    for feature, tokens, values in whole.features():
        sequence = tokens if level == "sequence" else np.searchsorted(whole.offsets, tokens, "right") - 1
        counts = dict(zip(*(a.tolist() for a in np.unique(sequence, return_counts=True)), strict=True))
        kept, threshold = set(counts), None
        if len(tokens) > most:
            kept, threshold = bottom(counts, most, 3, feature)
            n_capped += 1
        here = np.isin(sequence, list(kept))
        np.testing.assert_array_equal(cache[feature][0], tokens[here])
        np.testing.assert_array_equal(cache[feature][1], values[here])
        known = cache.known(feature)
        if threshold is None:
            assert known is None
        else:
            assert known.tolist() == [plain_hash(3, feature, s) < threshold for s in range(len(corpus))]
            assert kept == {s for s in counts if known[s]}
    assert n_capped > 5
    for name in ("count", "max", "n_sequences", "log10_frequency"):
        np.testing.assert_array_equal(cache.statistics[name], whole.statistics[name])
    for name in ("mean", "sum_squares"):
        np.testing.assert_allclose(cache.statistics[name], whole.statistics[name], rtol=1e-6)
    np.testing.assert_array_equal(cache.statistics["histogram"].sum(1), [len(t) for _, t, _ in cache.features()])
    assert cache.manifest["n_activations"] == sum(len(t) for _, t, _ in cache.features())


def test_blocks_and_shards_do_not_decide_what_is_kept(tmp_path: Path, corpus: Corpus) -> None:
    sizes = [{"block_size": 1}, {"block_size": 300}, {"block_size": 10**6, "shard_activations": 7}]
    coder, caches = fake_coder(bias=-2.0), []
    for index, size in enumerate(sizes):
        options = CacheSettings("layer:1", overlap=5, max_activations_per_feature=40, **size)  # type: ignore[arg-type]
        caches.append(cache_activations(FakeSubject(), coder, corpus, tmp_path / str(index), options))
    for feature, tokens, values in caches[0].features():
        for other in caches[1:]:
            np.testing.assert_array_equal(other[feature][0], tokens)
            np.testing.assert_array_equal(other[feature][1], values)


def test_what_needs_every_activation_refuses_a_capped_cache(tmp_path: Path, corpus: Corpus) -> None:
    cache = make(corpus, tmp_path / "capped", max_activations_per_feature=10)
    with pytest.raises(UsageError, match=r"features hold 10 activations at most, .*delphi"):
        write_delphi(cache, tmp_path / "delphi")
    make(corpus, tmp_path / "whole", max_activations_per_feature=10**6).check_whole("nothing")
