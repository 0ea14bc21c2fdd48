"""A map of the features: UMAP of their decoder vectors, and the clusters that HDBSCAN finds on it."""

from __future__ import annotations

import warnings

import numpy as np

from autointerp.errors import UsageError, missing
from autointerp.features.neighbours import nearest_features

NEIGHBOURS, DISTANCE = 15, 0.1
"""UMAP's n_neighbors and min_dist; InterPLM's."""
CLUSTER, SAMPLES = 5, 3
"""HDBSCAN's min_cluster_size and min_samples; InterPLM's."""


def decoder_map(vectors: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Places and clusters of features by the cosine of their vectors.

    The neighbours are exact ones, so that nothing but the layout is random; one thread, so that a seed gives one map.
    The first call of a process compiles UMAP: half a minute to a minute.

    Parameters
    ----------
    vectors : (n, d) float32.

    Returns
    -------
    (n, 2) float32 places; (n,) int32 clusters, -1 for none.

    Raises
    ------
    UsageError : too few features.
    MissingDependency : umap-learn or scikit-learn is not installed.
    """
    n = len(vectors)
    if n <= NEIGHBOURS:
        raise UsageError(f"{n} features that fire: a map needs more than {NEIGHBOURS}")
    with missing("a map of the features", "analysis"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tensorflow that is not there
        from sklearn.cluster import HDBSCAN
        from umap import UMAP

    near = nearest_features(vectors, NEIGHBOURS - 1)
    near = np.concatenate([np.arange(n)[:, None], near], 1)  # UMAP counts a point among its own neighbours
    units = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    distance = np.stack([1 - np.einsum("nd,nd->n", units, units[near[:, i]]) for i in range(NEIGHBOURS)], 1)
    distance = np.maximum(distance, 0).astype(np.float32)
    distance[:, 0] = 0
    layout = UMAP(
        n_neighbors=NEIGHBOURS,
        min_dist=DISTANCE,
        metric="cosine",
        random_state=seed,
        n_jobs=1,
        precomputed_knn=(near.astype(np.int64), distance),
        force_approximation_algorithm=True,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that new points cannot be placed later
        places = layout.fit_transform(units).astype(np.float32)
    clusters = HDBSCAN(min_cluster_size=CLUSTER, min_samples=SAMPLES, copy=True).fit_predict(places)
    return places, clusters.astype(np.int32)
