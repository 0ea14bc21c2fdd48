"""Which windows are most like given ones: nearest neighbours by embedding, over the windows of one side."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from autointerp.errors import missing

if TYPE_CHECKING:
    import faiss

log = logging.getLogger(__name__)
EXACT = 200_000
"""Windows of a side up to which every one is compared."""
AT_ONCE = 1 << 16


class NearWindows:
    """Nearest neighbours among some windows, by the cosine of embeddings less their mean.

    The mean is taken off because the states of a language model share a large part, which makes all of them alike (Mu &
    Viswanath 2018, "All-but-the-top"). The index is built once, when first asked for: exact up to ``EXACT`` windows;
    beyond, an inverted file of √n lists in float16 of which 32 are searched, its centroids from an even sample.

    Parameters
    ----------
    embeddings : (n_windows, d) floats, a memory map maybe. members : (m,) windows to search among.
    """

    def __init__(self, embeddings: np.ndarray, members: np.ndarray) -> None:
        self._embeddings, self._members = embeddings, members

    def __call__(self, windows: np.ndarray, k: int) -> np.ndarray:
        """(n, k) windows most like each of ``windows``, the nearest first, equal ones by number; -1 where there are
        fewer. A member is its own nearest."""
        similarity, place = self._index.search(self._units(windows), min(k, len(self._members)))
        order = np.lexsort((place, -similarity))
        place = np.take_along_axis(place, order, 1)
        return np.where(place < 0, -1, self._members[place])

    @cached_property
    def _mean(self) -> np.ndarray:
        total = np.zeros(self._embeddings.shape[1])
        for part in self._parts():
            total += self._embeddings[part].sum(0, dtype=np.float64)
        return (total / max(len(self._members), 1)).astype(np.float32)

    @cached_property
    def _index(self) -> faiss.Index:
        with missing("negatives 'similar'", "similar"):
            import faiss
        n, d = len(self._members), self._embeddings.shape[1]
        index: Any = faiss.IndexFlatIP(d)
        if n > EXACT:
            lists = int(n**0.5)
            index = faiss.IndexIVFScalarQuantizer(
                index, d, lists, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
            )
            index.nprobe = 32
            index.train(self._units(self._members[:: max(n // (64 * lists), 1)]))
        log.info("index of %d windows for negatives 'similar': %s", n, type(index).__name__)
        for part in self._parts():
            index.add(self._units(part))
        return index

    def _parts(self) -> Iterator[np.ndarray]:
        for first in range(0, len(self._members), AT_ONCE):
            yield self._members[first : first + AT_ONCE]

    def _units(self, windows: np.ndarray) -> np.ndarray:
        """(n, d) float32 embeddings less the mean, of length 1."""
        vectors = self._embeddings[windows].astype(np.float32) - self._mean
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)
