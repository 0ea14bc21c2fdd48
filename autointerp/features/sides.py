"""What stands on each side of the split: sequences, windows, and the index of windows by likeness."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from autointerp.features.contexts import Bins
from autointerp.features.similar import NearWindows
from autointerp.features.splits import SIDES

if TYPE_CHECKING:
    from autointerp.cache.reader import ActivationCache


class Sides:
    """The sides of a cache.

    Parameters
    ----------
    of_sequence : (n_sequences,) int8 side of each sequence, as an index into ``SIDES``.
    embeddings : (n_windows, d) of every bin, if there are any.
    """

    def __init__(self, cache: ActivationCache, bins: Bins, of_sequence: np.ndarray, embeddings: np.ndarray | None):
        self._cache, self._bins, self.of_sequence, self._embeddings = cache, bins, of_sequence, embeddings

    def of(self, code: int, known: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Of one side: (n_sequences,) whether a sequence is on it, and the ids of its bins, ascending.

        A sequence without tokens (at level ``sequence``) cannot be shown. Of a capped feature, only sequences that are
        ``known`` (n_sequences,) are on a side: in others, what is not in the cache is not therefore silent.
        """
        if known is None:
            return self._sequences[code], self._ids[code]
        return self._sequences[code] & known, self._ids[code][np.repeat(known, self._counts)[self._ids[code]]]

    @cached_property
    def near(self) -> list[NearWindows | None]:
        """Per side, what finds the windows most like others."""
        return [None if self._embeddings is None else NearWindows(self._embeddings, ids) for ids in self._ids]

    @cached_property
    def _counts(self) -> np.ndarray:
        return np.diff(self._bins.base)

    @cached_property
    def _sequences(self) -> list[np.ndarray]:
        shown = np.diff(self._cache.offsets) > 0
        return [shown & (self.of_sequence == code) for code in range(len(SIDES))]

    @cached_property
    def _ids(self) -> list[np.ndarray]:
        return [np.flatnonzero(np.repeat(on_side, self._counts)) for on_side in self._sequences]
