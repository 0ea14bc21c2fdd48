"""Blocks: where they are cut, and the feature-major order inside them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autointerp.errors import UsageError
from caching.blocks import feature_major, plan_blocks
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
    dense = np.where(rng.random((n_rows, n_features)) < 0.3, rng.random((n_rows, n_features)), 0)
    rows, features = np.nonzero(dense)
    shuffle = np.lexsort((rng.random(len(rows)), rows))  # a coder lists a row's features in any order
    rows, features = rows[shuffle].astype(np.uint32), features[shuffle]
    indptr, token, value = feature_major(rows, features, dense[rows, features], n_features)
    assert indptr.dtype == np.int64
    for f in range(n_features):
        mine = slice(indptr[f], indptr[f + 1])
        np.testing.assert_array_equal(token[mine], np.flatnonzero(dense[:, f]))
        np.testing.assert_array_equal(value[mine], dense[token[mine], f])


@pytest.mark.parametrize("n_features", [1 << 16, (1 << 16) + 1, 70_000])
def test_feature_major_beyond_sixteen_bits(n_features: int) -> None:
    """The last features of a wide coder keep their numbers when ids are narrowed for sorting."""
    rows = np.arange(5, dtype=np.uint32)
    features = np.array([n_features - 1, 0, n_features - 1, n_features - 2, 0])
    indptr, token, value = feature_major(rows, features, np.arange(5.0), n_features)
    assert indptr[-3:].tolist() == [2, 3, 5]
    assert token.tolist() == [1, 4, 3, 0, 2]
    assert value.tolist() == [1, 4, 3, 0, 2]


@pytest.mark.parametrize(
    ("name", "value"),
    [("level", "residue"), ("value_dtype", "bfloat16"), ("batch_tokens", 0), ("block_size", 0), ("overlap", -1),
     ("shard_activations", 0), ("max_tokens", 0)],
)  # fmt: skip
def test_settings_out_of_range_are_named(name: str, value: object) -> None:
    with pytest.raises(UsageError, match=name):
        CacheSettings("layer:1", **{name: value})  # type: ignore[arg-type]
