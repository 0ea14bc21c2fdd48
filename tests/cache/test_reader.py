"""Opening, indexing and verifying a cache; what a damaged one says."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from autointerp.cache import ActivationCache
from autointerp.errors import FormatError, UsageError
from tests.doubles import brute_statistics, make_corpus, random_documents, random_proteins, write_cache


def sparse(n: int, n_features: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    dense = rng.random((n, n_features)) * (rng.random((n, n_features)) < 0.1)
    dense[:, 3] = 0
    return dense


@pytest.mark.parametrize("value_dtype", ["float16", "float32"])
@pytest.mark.parametrize("kind", ["protein", "text"])
@pytest.mark.parametrize("level", ["token", "sequence"])
@pytest.mark.parametrize("n_shards", [1, 4])
def test_slices_equal_the_dense_columns(tmp_path: Path, value_dtype: str, kind: str, level: str, n_shards: int) -> None:
    """A cache written with the safetensors library alone, by the documented layout, reads as its dense matrix."""
    texts = random_proteins(20) if kind == "protein" else random_documents(20)
    corpus = make_corpus(tmp_path / "corpus", texts, kind=kind)
    n = 20 if level == "sequence" else write_cache(tmp_path / "0", sparse(20, 4), corpus, level="sequence").n_tokens
    dense = sparse(n, 9).astype(value_dtype)
    cache = write_cache(tmp_path / "c", dense, corpus, level=level, value_dtype=value_dtype, n_shards=n_shards)
    assert len(cache) == 9
    for f, tokens, values in cache.features():
        np.testing.assert_array_equal(tokens, np.flatnonzero(dense[:, f]))
        np.testing.assert_array_equal(values, dense[tokens, f])
        assert (tokens.dtype, values.dtype) == (np.uint32, dense.dtype)
        assert not tokens.flags.writeable
    for name, expected in brute_statistics(dense, cache.offsets, level).items():
        np.testing.assert_array_equal(cache.statistics[name], expected)
    assert (cache.ends is None) == (kind == "protein")
    if kind == "text":
        lengths = [len(t) for t in texts]
        assert cache.ends is not None
        assert cache.ends[cache.offsets[1:] - 1].tolist() == lengths
    assert cache.verify() == []


def test_a_slice_is_a_view_of_the_file(tmp_path: Path) -> None:
    """Reading a feature copies nothing: 80 kB of activations cost no memory."""
    corpus = make_corpus(tmp_path / "corpus", random_proteins(40, (250, 250)))
    cache = write_cache(tmp_path / "c", np.ones((10_000, 2)), corpus)
    cache[0]
    tracemalloc.start()
    tokens, _ = cache[1]
    assert tracemalloc.get_traced_memory()[0] < 5_000
    tracemalloc.stop()
    assert len(tokens) == 10_000


@pytest.fixture
def cache(tmp_path: Path) -> ActivationCache:
    corpus = make_corpus(tmp_path / "corpus", random_proteins(20, (50, 50)))
    return write_cache(tmp_path / "c", sparse(1000, 9), corpus)


@pytest.mark.parametrize("feature", [-1, 9, 10**6])
def test_a_feature_that_is_not_there(cache: ActivationCache, feature: int) -> None:
    with pytest.raises(UsageError, match="features 0 … 8"):
        cache[feature]


def test_verify_finds_a_flipped_bit_anywhere(cache: ActivationCache) -> None:
    files = [p for p in cache.path.rglob("*.safetensors")]
    assert len(files) == 4
    for path in files:
        content = path.read_bytes()
        for position in (0, len(content) // 2, len(content) - 1):
            path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
            (problem,) = ActivationCache(cache.path, cache.manifest).verify()
            assert path.name in problem
            assert "checksum" in problem
        path.write_bytes(content)
    assert cache.verify() == []
    files[0].unlink()
    assert cache.verify() == [f"{files[0]}: missing"]


@pytest.mark.parametrize("size", [0, 7, 100, -1])
@pytest.mark.parametrize("name", ["shards/*", "tokens*", "features*"])
def test_a_truncated_file_is_named(cache: ActivationCache, name: str, size: int) -> None:
    (path, *_) = sorted(cache.path.glob(name))
    path.write_bytes(path.read_bytes()[:size])
    again = ActivationCache.open(cache.path)
    with pytest.raises(FormatError, match=path.name):
        _ = again[0], again.offsets, again.statistics


def test_what_is_no_cache(tmp_path: Path, cache: ActivationCache) -> None:
    with pytest.raises(FormatError, match="no such folder"):
        ActivationCache.open(tmp_path / "nothing")
    with pytest.raises(FormatError, match=r"a folder without cache\.json"):
        ActivationCache.open(tmp_path / "corpus")
    path = cache.path / "cache.json"
    for change, message in (({"version": 2}, "version 2"), ({"format": "delphi"}, "format 'delphi'")):
        path.write_text(json.dumps({**cache.manifest, **change}))
        with pytest.raises(FormatError, match=message):
            ActivationCache.open(cache.path)
    path.write_text('{"format": ')
    with pytest.raises(FormatError, match="not JSON"):
        ActivationCache.open(cache.path)


def test_an_unfinished_cache_without_blocks_and_its_statistics(cache: ActivationCache) -> None:
    (cache.path / "cache.json").write_text(json.dumps({**cache.manifest, "complete": False}))
    with pytest.raises(FormatError, match="none yet"):
        ActivationCache.open(cache.path)
    with pytest.raises(FormatError, match="a finished cache"):
        _ = ActivationCache(cache.path, {**cache.manifest, "complete": False}).statistics
