"""Neighbours against a search over all pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autointerp.errors import UsageError
from autointerp.features.neighbours import co_occurring, nearest_features
from tests.doubles import make_corpus, random_proteins, write_cache


@given(st.integers(2, 30), st.integers(1, 6), st.integers(0, 2**32 - 1), st.integers(1, 200))
def test_nearest_equal_a_search_over_pairs_however_they_are_cut(n: int, d: int, seed: int, at_once: int) -> None:
    vectors = np.random.default_rng(seed).normal(size=(n, d)) * np.random.default_rng(seed).lognormal(0, 3, (n, 1))
    vectors[0] = 0
    k = min(4, n - 1)
    found = nearest_features(vectors, k, at_once=at_once)
    assert found.shape == (n, k)
    norms = np.array([np.sqrt((v**2).sum()) or 1.0 for v in vectors])
    for i in range(n):
        cosines = {j: vectors[i] @ vectors[j] / norms[i] / norms[j] for j in range(n) if j != i}
        best = sorted(cosines.values(), reverse=True)[:k]
        assert len({*found[i].tolist()}) == k
        np.testing.assert_allclose([cosines[j] for j in found[i].tolist()], best, atol=1e-5)


def test_ties_go_by_index_and_wrong_requests_are_refused() -> None:
    assert nearest_features(np.ones((4, 2)), 3).tolist() == [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]]
    for vectors, k in ((np.ones((4, 2)), 4), (np.ones((4, 2)), 0), (np.ones(4), 1)):
        with pytest.raises(UsageError, match="neighbours of vectors of shape"):
            nearest_features(vectors, k)
    with pytest.raises(UsageError, match="NaN"):
        nearest_features(np.array([[1.0], [np.nan]]), 1)


def test_co_occurring_equals_sets_of_tokens(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "corpus", random_proteins(30, (20, 20)))
    rng = np.random.default_rng(0)
    dense = rng.random((600, 12)) < rng.uniform(0, 0.2, 12)
    dense[:, 3] = 0
    dense[:, 7] = dense[:, 1] & (rng.random(600) < 0.7)
    dense[:, 8], dense[300:, 9] = False, False
    dense[599, 8] = True  # beyond the last token of most
    cache = write_cache(tmp_path / "cache", dense.astype(np.float16), corpus)
    sets = [set(np.flatnonzero(column).tolist()) for column in dense.T]
    for at_once in (1 << 24, 40, 1):
        found = co_occurring(cache, 4, at_once=at_once)
        for feature in range(12):
            shares = {
                j: len(sets[feature] & s) / max(len(sets[feature] | s), 1) for j, s in enumerate(sets) if j != feature
            }
            expected = sorted((j for j in shares if shares[j] > 0), key=lambda j: (-shares[j], j))[:4]
            assert found[feature].tolist() == expected + [-1] * (4 - len(expected))
    assert found[1, 0] == 7
    assert (found[3] == -1).all()
    assert co_occurring(cache, 20).shape == (12, 20)
