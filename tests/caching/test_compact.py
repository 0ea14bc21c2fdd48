"""Compaction: shards of the size asked for, from slices of blocks, in memory that many blocks do not raise."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array

from autointerp.errors import FormatError
from caching.blocks import count_sequences, feature_major, write_block
from caching.compact import compact

N_FEATURES, TOKENS, PER_TOKEN = 64, 4000, 10


def write_blocks(folder: Path, n_blocks: int) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Blocks of ten random features a token, four sequences each; also their (token, feature, value) rows."""
    entries, dense = [], []
    for index in range(n_blocks):
        rng = np.random.default_rng(index)
        features = rng.random((TOKENS, N_FEATURES)).argpartition(PER_TOKEN, 1)[:, :PER_TOKEN].ravel()
        values = rng.random(len(features)).astype(np.float16) + np.float16(0.5)
        rows = np.repeat(np.arange(TOKENS), PER_TOKEN)
        starts = np.arange(0, len(features) + 1, PER_TOKEN)
        offsets = np.linspace(0, TOKENS, 5).astype(np.int64)
        indptr, row, value = feature_major(csr_array((values.view(np.uint16), features, starts), (TOKENS, N_FEATURES)))
        block = {
            "indptr": indptr,
            "token": (row + index * TOKENS).astype(np.uint32),
            "value": value.view(np.float16),
            "offsets": offsets,
            "n_sequences": count_sequences(indptr, row, offsets),
        }
        block["tokens"] = rng.integers(0, 24, TOKENS).astype(np.uint8)
        entries.append(write_block(folder, index, block, 4 * index, 4 * index + 4))
        dense.append(np.zeros((TOKENS, N_FEATURES), np.float16))
        dense[-1][rows, features] = values
    n = sum(e["n_activations"] for e in entries)
    manifest = {
        "n_features": N_FEATURES,
        "level": "token",
        "value_dtype": "float16",
        "blocks": entries,
        "n_activations": n,
    }
    return manifest, dense


def peak(folder: Path, n_blocks: int, shard_activations: int) -> int:
    manifest, _ = write_blocks(folder, n_blocks)
    tracemalloc.start()
    compact(folder, manifest, shard_activations, None)
    result = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return result


def test_memory_follows_the_shard_not_the_number_of_blocks(tmp_path: Path) -> None:
    compact(tmp_path / "warm", write_blocks(tmp_path / "warm", 1)[0], 1000, None)
    many = peak(tmp_path / "many", 40, 30_000)
    # 40 blocks hold 1.6 M activations (9.6 MB on disk); a shard is 30,000 of them; two int64 a feature and block
    assert many < 30 * 30_000 + 16 * (N_FEATURES + 1) * 40 + 500_000
    # 48 blocks in one piece: at 40 the factor is 7.9 or 8.1, by what ran before
    assert peak(tmp_path / "whole", 48, 10**9) > 8 * many, "the measurement sees what a merge in one piece costs"


def test_shards_hold_whole_features_up_to_their_size(tmp_path: Path) -> None:
    manifest, dense = write_blocks(tmp_path, 3)
    counts = np.count_nonzero(np.concatenate(dense), axis=0)
    for size in (1, int(counts[:3].sum()), 10**9):
        shards = compact(tmp_path, manifest, size, None)["shards"]
        assert [f for s in shards for f in range(s["first"], s["last"] + 1)] == list(range(N_FEATURES))
        for shard, following in zip(shards, [*shards[1:], None], strict=True):
            held = counts[shard["first"] : shard["last"] + 1]
            assert shard["n_activations"] == held.sum()
            assert held.sum() <= size or len(held) == 1
            assert following is None or held.sum() + counts[following["first"]] > size


def test_a_block_that_ends_early_is_named(tmp_path: Path) -> None:
    manifest, _ = write_blocks(tmp_path, 2)
    path = tmp_path / manifest["blocks"][1]["file"]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(FormatError, match=r"000001\.safetensors.*truncated"):
        compact(tmp_path, manifest, 1000, None)
    with pytest.raises(FormatError, match="a block of 65 features"):
        compact(tmp_path, {**manifest, "n_features": 65, "blocks": manifest["blocks"][:1]}, 1000, None)
