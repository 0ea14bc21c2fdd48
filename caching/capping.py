"""Keeping a bounded number of a dense feature's activations, whatever the order in which they come."""

from __future__ import annotations

import numpy as np

from autointerp.cache.subset import ALL, sequence_hash

CAPPED_BYTES = 80
"""Bytes an activation that may be kept takes: hash, position and value, of twice as many, in two copies."""


class Capped:
    """The activations of one feature, of whole sequences in the order of their hash, at most ``most`` of them.

    At least one sequence is kept. No more than twice ``most`` and what is added at once are held.

    Attributes
    ----------
    threshold : hash of the first sequence left out, uint64; see :mod:`autointerp.cache.subset`.
    """

    def __init__(self, feature: int, most: int, seed: int) -> None:
        self.feature, self.most, self.seed = feature, most, seed
        self.threshold = ALL
        self._held: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._n = 0

    def add(self, sequence: np.ndarray, token: np.ndarray, value: np.ndarray) -> None:
        """Take in activations (n,), those of one sequence side by side and all at once."""
        hashes = sequence_hash(self.seed, self.feature, sequence)
        below = hashes < self.threshold
        self._held.append((hashes[below], token[below], value[below]))
        self._n += int(below.sum())
        if self._n > 2 * self.most:
            self._prune()

    def kept(self) -> tuple[np.ndarray, np.ndarray]:
        """``token`` and ``value`` of what is kept, in the order in which they came."""
        self._prune()
        return self._held[0][1:]

    def _prune(self) -> None:
        hashes, token, value = (np.concatenate(part) for part in zip(*self._held, strict=True))
        starts = np.flatnonzero(np.append(True, hashes[1:] != hashes[:-1]))[: len(hashes)]
        order = np.argsort(hashes[starts], kind="stable")
        total = np.cumsum(np.diff(np.append(starts, len(hashes)))[order])
        n_kept = max(int(np.searchsorted(total, self.most, "right")), 1)
        if n_kept < len(order):
            self.threshold = hashes[starts[order[n_kept]]]
            below = hashes < self.threshold
            hashes, token, value = hashes[below], token[below], value[below]
        self._held, self._n = [(hashes, token, value)], len(hashes)
