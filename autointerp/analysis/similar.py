"""Which features are near which, and which of them are there twice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from autointerp.analysis.firing import CHUNK, FEATURES
from autointerp.features.neighbours import nearest_features, overlapping

if TYPE_CHECKING:
    import pyarrow as pa

    from autointerp.cache import ActivationCache

ACTIVATIONS = 1 << 24
"""Activations that co-activation is counted on: all, or those of a random sample of the sequences."""

Near = tuple[np.ndarray, np.ndarray]
"""(n_features, k) neighbours, the nearest first, -1 for none; and (n_features, k) float32 how similar they are."""


def by_cosine(vectors: np.ndarray, k: int) -> Near:
    """The ``k`` features with the largest cosine to each."""
    near = nearest_features(vectors, k)
    units = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    cosine = np.stack([np.einsum("nd,nd->n", units, units[near[:, i]]) for i in range(k)], 1)
    return near, cosine.astype(np.float32)


def by_co_activation(cache: ActivationCache, k: int, seed: int = 0, most: int = ACTIVATIONS) -> tuple[Near, float]:
    """The ``k`` features that fire at the same tokens, by intersection over union; and the share of the sequences used.

    Raises
    ------
    UsageError : activations of some features were left out of the cache.
    """
    cache.check_whole("co-activation")
    n_activations = cache.manifest["n_activations"]
    share = min(1.0, most / max(n_activations, 1))
    at_sequences = cache.level == "sequence"
    n = cache.n_sequences if at_sequences else cache.n_tokens
    if share == 1.0:
        return overlapping(lambda: (tokens for _, tokens, _ in cache.features()), n, k), 1.0
    chosen = np.random.default_rng(seed).random(cache.n_sequences) < share
    kept = chosen if at_sequences else np.repeat(chosen, np.diff(cache.offsets))
    place = np.cumsum(kept) - 1
    lists: list[np.ndarray] = []
    for _, indptr, token, _ in cache.chunks(CHUNK, FEATURES):
        inside = kept[token]
        bounds = np.concatenate([[0], np.cumsum(inside)])[indptr[1:-1]]
        lists += np.split(place[token[inside]].astype(np.uint32), bounds)
    return overlapping(lambda: lists, int(kept.sum()), k), float(chosen.mean())


def rows(near: Mapping[str, Near]) -> pa.Table:
    """Rows of ``neighbours.parquet``, sorted by feature."""
    from autointerp.analysis.tables import table_of

    columns: dict[str, list[np.ndarray]] = {name: [] for name in ("feature", "by", "rank", "neighbour", "similarity")}
    for name, (neighbours, similarity) in near.items():
        feature, rank = np.nonzero(neighbours >= 0)
        columns["feature"].append(feature)
        columns["by"].append(np.full(len(feature), name, object))
        columns["rank"].append(rank)
        columns["neighbour"].append(neighbours[feature, rank])
        columns["similarity"].append(similarity[feature, rank])
    joined = {name: np.concatenate(parts) for name, parts in columns.items()}
    order = np.argsort(joined["feature"], kind="stable")
    return table_of("neighbours", {name: column[order] for name, column in joined.items()})


def duplicates(near: Near, above: float, count: np.ndarray) -> np.ndarray:
    """(n,) the feature that each doubles, -1 for none.

    Features that are linked by similarities of at least ``above`` are one; the one that fires most stands for them.

    Parameters
    ----------
    count : (n,) how often each fires; those that never do double nothing.
    """
    from scipy import sparse

    n = len(count)
    feature, rank = np.nonzero((near[1] >= above) & (near[0] >= 0) & (count[:, None] > 0))
    other = near[0][feature, rank]
    linked = count[other] > 0
    pairs = sparse.coo_array((np.ones(linked.sum()), (feature[linked], other[linked])), (n, n))
    _, label = sparse.csgraph.connected_components(pairs, directed=False)
    order = np.lexsort((np.arange(n), -count, label))
    first = order[np.unique(label[order], return_index=True)[1]]
    original = first[label]
    return np.where(original == np.arange(n), -1, original)
