"""Neighbours and duplicates against all pairs; the map against planted clusters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from autointerp.analysis import maps, similar
from autointerp.errors import UsageError
from tests.doubles import make_corpus, random_proteins, write_cache


def test_cosines_are_those_of_the_neighbours() -> None:
    vectors = np.random.default_rng(0).standard_normal((30, 5)).astype(np.float32)
    near, cosine = similar.by_cosine(vectors, 4)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    every = units @ units.T - 2 * np.eye(30)
    np.testing.assert_allclose(cosine, -np.sort(-every, axis=1)[:, :4], atol=1e-6)
    np.testing.assert_allclose(cosine, np.take_along_axis(every, near, 1), atol=1e-6)


@pytest.mark.parametrize("level", ["token", "sequence"])
def test_co_activation_is_intersection_over_union(tmp_path: Path, level: str) -> None:
    rng = np.random.default_rng(0)
    corpus = make_corpus(tmp_path / "corpus", random_proteins(80, (5, 40)))
    n = sum(len(corpus.text(i)) for i in range(80)) if level == "token" else 80
    base = rng.random((n, 1)) < 0.4
    dense = ((rng.random((n, 12)) < 0.3) & base) | (rng.random((n, 12)) < 0.02)
    dense[:, 5] = False
    cache = write_cache(tmp_path / "cache", dense.astype(np.float32), corpus, level=level)
    (near, share), used = similar.by_co_activation(cache, 3)
    assert used == 1
    both = dense.T.astype(int) @ dense.astype(int)
    union = dense.sum(0)[:, None] + dense.sum(0) - both
    every = both / np.maximum(union, 1) * (1 - np.eye(12))
    np.testing.assert_allclose(share, -np.sort(-every, axis=1)[:, :3], atol=1e-6)
    assert (near[5] == -1).all()
    (_, estimate), used = similar.by_co_activation(cache, 3, most=int(dense.sum() * 0.6))
    assert 0.3 < used < 0.9
    assert np.abs(estimate[:, 0] - share[:, 0]).max() < (0.15 if level == "token" else 0.6)
    table = similar.rows({"co-activation": (near, share)}).to_pylist()
    assert [r["neighbour"] for r in table if r["feature"] == 2] == near[2].tolist()
    assert not [r for r in table if r["feature"] == 5]


def test_duplicates_stand_for_the_one_that_fires_most() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((20, 16)).astype(np.float32)
    vectors[[3, 9, 14]] = vectors[3] * np.array([[1], [2], [0.5]]) + 0.01 * rng.standard_normal((3, 16))
    vectors[17] = vectors[6]
    count = np.full(20, 5)
    count[9], count[17] = 7, 0
    found = similar.duplicates(similar.by_cosine(vectors, 5), 0.95, count)
    assert {i: int(d) for i, d in enumerate(found) if d >= 0} == {3: 9, 14: 9}  # 17 never fires: it doubles nothing


@pytest.mark.full
def test_planted_clusters_are_found_again() -> None:
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((8, 32))
    vectors = (np.repeat(centres, 25, 0) + 0.3 * rng.standard_normal((200, 32))).astype(np.float32)
    places, clusters = maps.decoder_map(vectors)
    truth = np.repeat(np.arange(8), 25)
    assert places.shape == (200, 2)
    pure = sum(len(set(truth[clusters == c].tolist())) == 1 for c in set(clusters.tolist()) - {-1})
    assert pure == len(set(clusters.tolist()) - {-1}) >= 8
    again = maps.decoder_map(vectors)
    np.testing.assert_array_equal(places, again[0])


def test_a_map_of_few_features_is_refused() -> None:
    with pytest.raises(UsageError, match="more than 15"):
        maps.decoder_map(np.eye(15, dtype=np.float32))
