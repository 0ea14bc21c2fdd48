"""Blocks: where they are cut, and the feature-major order inside them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from autointerp.errors import UsageError
from caching.blocks import count_sequences, feature_major, plan_blocks
from caching.settings import CacheSettings


@given(st.lists(st.integers(0, 30), max_size=50), st.integers(1, 60))
def test_blocks_cover_every_sequence_once_and_are_as_full_as_they_can_be(lengths: list[int], size: int) -> None:
    plan = list(plan_blocks(np.array(lengths, np.int64), size))
    assert [i for first, last in plan for i in range(first, last)] == list(range(len(lengths)))
    for index, (first, last) in enumerate(plan):
        held = [n for n in lengths[first:last] if n]
        assert sum(held) <= size or len(held) == 1
        if index + 1 < len(plan):
            assert sum(held) + lengths[last] > size


@given(st.integers(1, 12), st.integers(0, 40), st.integers(0, 2**32 - 1))
def test_feature_major_is_the_transpose(n_features: int, n_rows: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    dense = np.where(rng.random((n_rows, n_features)) < 0.3, rng.integers(1, 2**16, (n_rows, n_features)), 0)
    rows, features = np.nonzero(dense)
    shuffle = np.lexsort((rng.random(len(rows)), rows))  # a coder lists a row's features in any order
    rows, features = rows[shuffle], features[shuffle]
    starts = np.searchsorted(rows, np.arange(n_rows + 1)).astype(np.int32)
    codes = csr_array((dense[rows, features].astype(np.uint16), features.astype(np.int32), starts), dense.shape)
    indptr, row, value = feature_major(codes)
    assert indptr.dtype == np.int64
    assert (row.dtype, value.dtype) == (np.int32, np.uint16)
    for f in range(n_features):
        mine = slice(indptr[f], indptr[f + 1])
        np.testing.assert_array_equal(row[mine], np.flatnonzero(dense[:, f]))
        np.testing.assert_array_equal(value[mine], dense[row[mine], f])


@given(st.lists(st.integers(0, 5), max_size=12), st.integers(1, 6), st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_sequences_are_counted_once_a_feature(lengths: list[int], n_features: int, share: float, seed: int) -> None:
    offsets = np.cumsum([0, *lengths])
    active = np.random.default_rng(seed).random((offsets[-1], n_features)) < share
    rows = np.nonzero(active.T)[1]
    indptr = np.cumsum([0, *active.sum(0)])
    sequence = np.repeat(np.arange(len(lengths)), lengths)
    expected = [len(set(sequence[active[:, f]].tolist())) for f in range(n_features)]
    assert count_sequences(indptr, rows.astype(np.int32), offsets).tolist() == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [("level", "residue"), ("pooling", "median"), ("pooling", "max"), ("value_dtype", "bfloat16"), ("batch_tokens", 0),
     ("block_size", 0), ("overlap", -1), ("shard_activations", 0), ("max_tokens", 0)],
)  # fmt: skip
def test_settings_out_of_range_are_named(name: str, value: object) -> None:
    with pytest.raises(UsageError, match=name):
        CacheSettings("layer:1", **{name: value})  # type: ignore[arg-type]
