"""What a FeatureLoader is given, checked before anything is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from autointerp.errors import UsageError

if TYPE_CHECKING:
    from autointerp.cache.reader import ActivationCache
    from autointerp.corpus import Corpus


def check_corpus(cache: ActivationCache, corpus: Corpus) -> None:
    """Refuse a corpus that the cache was not made from."""
    if (made_from := cache.manifest["corpus"]["digest"]) != corpus.digest:
        raise UsageError(
            f"the cache was made from corpus {made_from[:12]}…, this corpus is {corpus.digest[:12]}…: "
            "give the corpus that was cached"
        )


def at_least(least: int, **settings: int) -> None:
    """Refuse a setting below ``least``."""
    for name, value in settings.items():
        if value < least:
            raise UsageError(f"{name} {value}: must be at least {least}")


def name_of(choice: str | Callable[..., Any]) -> str:
    """What the settings call a choice: its name, or where a user's own callable is defined."""
    if isinstance(choice, str):
        return choice
    named = choice if hasattr(choice, "__qualname__") else type(choice)  # an object that can be called has no name
    return f"{named.__module__}.{named.__qualname__}"


def checked_neighbours(neighbours: np.ndarray | None, n_features: int, needed: bool) -> np.ndarray | None:
    """(n_features, k) int64; None where none are given and none needed."""
    if neighbours is None:
        if needed:
            raise UsageError("negatives 'neighbour' need neighbours=, e.g. nearest_features(decoder vectors, k=10)")
        return None
    neighbours = np.asarray(neighbours)
    right = neighbours.ndim == 2 and len(neighbours) == n_features and np.issubdtype(neighbours.dtype, np.integer)
    if not right or not neighbours.size or neighbours.max() >= n_features:
        raise UsageError(
            f"neighbours of shape {neighbours.shape}, {neighbours.dtype}: ({n_features}, k) features are needed"
        )
    return neighbours.astype(np.int64)


def checked_embeddings(embeddings: np.ndarray | None, n_windows: int, needed: bool) -> np.ndarray | None:
    """(n_windows, d) floats, as they are; None where none are given and none needed."""
    if embeddings is None:
        if needed:
            raise UsageError("negatives 'similar' need embeddings=, e.g. embed_windows(cache, corpus, 'windows.emb')")
        return None
    if embeddings.ndim != 2 or len(embeddings) != n_windows or not np.issubdtype(embeddings.dtype, np.floating):
        raise UsageError(
            f"embeddings of shape {embeddings.shape}, {embeddings.dtype}: floats ({n_windows}, d) are needed, "
            "one row for each window of this context length"
        )
    return embeddings


def family_numbers(corpus: Corpus, column: str, n: int) -> np.ndarray:
    """(n,) number of the value that a metadata column has for each sequence; -1 where it is empty."""
    values = corpus.column(column).to_pylist()[:n]
    if any(isinstance(v, list) for v in values):
        raise UsageError(f"family {column!r}: its values are lists; a column with one family a sequence is needed")
    number = {v: i for i, v in enumerate(dict.fromkeys(v for v in values if v not in (None, "")))}
    return np.array([number.get(v, -1) for v in values])
