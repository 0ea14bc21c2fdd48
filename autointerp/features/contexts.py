"""Contexts: which stretches of tokens stand for a feature's activations, and which stretches are silent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from autointerp.errors import UsageError


@dataclass(frozen=True)
class Sites:
    """Places that a context is cut around.

    Attributes
    ----------
    sequence : (n,) row of the sequence. position : (n,) flat token position. peak : (n,) float32
        activation there.
    """

    sequence: np.ndarray
    position: np.ndarray
    peak: np.ndarray

    def take(self, index: np.ndarray | slice) -> Sites:
        """The sites at ``index``."""
        return Sites(self.sequence[index], self.position[index], self.peak[index])

    def join(self, other: Sites) -> Sites:
        """These sites, then the others."""
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Sites(*map(np.concatenate, pairs))

    def __len__(self) -> int:
        return len(self.sequence)


def _changes(ids: np.ndarray) -> np.ndarray:
    """Indices at which a run of equal ids begins."""
    return np.flatnonzero(np.append(True, ids[1:] != ids[:-1]))


class Bins:
    """The tokens of every sequence cut into bins of ``length``; the last bin of a sequence may be shorter.

    Parameters
    ----------
    offsets : (n_sequences + 1,) int64 token offsets. length : tokens of a bin, which is the length of a context.
    centred : contexts are centred on a site (as far as the sequence's ends allow) instead of being its bin.
    """

    def __init__(self, offsets: np.ndarray, length: int, centred: bool) -> None:
        self.offsets, self.length, self.centred = np.asarray(offsets, np.int64), length, centred
        self.base = np.concatenate([[0], np.cumsum(-(-np.diff(self.offsets) // length))])
        every = np.arange(0, self.offsets[-1], length)
        self._sequence_at = np.searchsorted(self.offsets, every, "right") - 1  # of every length-th token

    def __len__(self) -> int:
        return int(self.base[-1])

    def sequences_of(self, tokens: np.ndarray) -> np.ndarray:
        """Sequence of each token: looked up for a place shortly before it, then moved on over sequences that end."""
        sequence = self._sequence_at[tokens // self.length]
        late = np.flatnonzero(tokens >= self.offsets[sequence + 1])
        while len(late):
            sequence[late] += 1
            late = late[tokens[late] >= self.offsets[sequence[late] + 1]]
        return sequence

    def active(self, tokens: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, Sites]:
        """Where a feature fires.

        Parameters
        ----------
        tokens : (nnz,) int64, ascending flat positions. values : (nnz,) float32 activations.

        Returns
        -------
        bins : (n_active,) ascending ids of the bins with an activation.
        sites : (n,) the first maximum of every bin, ascending; of centred contexts only those that are the first
            maximum of their whole context too, so that one site is not shown twice, nor off its place.
        """
        sequence = self.sequences_of(tokens)
        bin_of_token = self.base[sequence] + (tokens - self.offsets[sequence]) // self.length
        starts = _changes(bin_of_token)
        peak = np.maximum.reduceat(values, starts)
        hits = np.flatnonzero(values == np.repeat(peak, np.diff(starts, append=len(tokens))))
        index = hits[_changes(bin_of_token[hits])]
        bins, sites = bin_of_token[starts], Sites(sequence[index], tokens[index], peak)
        if self.centred:
            sites = sites.take(np.flatnonzero(~self._outdone(bins, sites, index, tokens, values)))
        return bins, sites

    def _outdone(
        self, bins: np.ndarray, sites: Sites, index: np.ndarray, tokens: np.ndarray, values: np.ndarray
    ) -> np.ndarray:
        """Whether the context around a site holds a larger activation, or as large a one before it.

        ``index`` (n,) is where each site stands in ``tokens``. A context reaches into one neighbouring bin at most.
        """
        peak = sites.peak
        adjacent, rising = bins[1:] - bins[:-1] == 1, peak[1:] > peak[:-1]
        result = np.append(adjacent & rising, False)
        result[1:] |= adjacent & ~rising
        at = np.flatnonzero(result)  # no other can be; look at what their contexts hold
        start, stop = self.extent(sites.sequence[at], sites.position[at])
        first, last = np.searchsorted(tokens, start), np.searchsorted(tokens, stop)
        bounds = np.stack([first, index[at], last], 1).ravel()
        before, after, _ = np.maximum.reduceat(np.append(values, 0), bounds).reshape(-1, 3).T
        result[at] = ((first < index[at]) & (before >= peak[at])) | (after > peak[at])
        return result

    def around(self, positions: np.ndarray, tokens: np.ndarray, values: np.ndarray) -> Sites:
        """Sites at given positions; a context that is silent, or that an earlier position has given, falls out.

        Parameters
        ----------
        positions : flat token positions, in any order. tokens, values : where the feature fires, as for :meth:`active`.

        Returns
        -------
        Sites ascending by their contexts' first token; ``peak`` is the largest activation in the context.
        """
        positions = self.checked(positions)
        sequence = self.sequences_of(positions)
        start, once = np.unique(self.extent(sequence, positions)[0], return_index=True)
        sequence, positions = sequence[once], positions[once]
        first, last = np.searchsorted(tokens, start), np.searchsorted(tokens, self.extent(sequence, positions)[1])
        fires = np.flatnonzero(first < last)
        bounds = np.stack([first[fires], last[fires]], 1).ravel()
        peak = np.maximum.reduceat(np.append(values, 0), bounds)[::2] if len(fires) else values[:0]
        return Sites(sequence[fires], positions[fires], peak)

    def checked(self, positions: np.ndarray) -> np.ndarray:
        """Positions that a user's callable gave, as (n,) int64.

        Raises
        ------
        UsageError : not whole numbers in a (n,) array, or not in the cache.
        """
        positions = np.asarray(positions)
        whole = positions.ndim == 1 and (np.issubdtype(positions.dtype, np.integer) or not len(positions))
        if not whole or (len(positions) and not 0 <= positions.min() <= positions.max() < self.offsets[-1]):
            raise UsageError(
                f"positions of shape {positions.shape}, {positions.dtype}: flat positions are needed, whole numbers "
                f"0 … {self.offsets[-1] - 1} in a (n,) array"
            )
        return positions.astype(np.int64)

    def extent(self, sequence: np.ndarray, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First token of the context of each site, and the first token after it.

        A centred context is of full length: it is moved inside the sequence where it would leave it.
        """
        low, high = self.offsets[sequence], self.offsets[sequence + 1]
        if self.centred:
            start = np.maximum(np.minimum(position - self.length // 2, high - self.length), low)
        else:
            start = position - (position - low) % self.length
        return start, np.minimum(start + self.length, high)

    def middles(self, bins: np.ndarray) -> Sites:
        """The middle of each of the given bins, with peak 0; whether the feature is silent there is not checked."""
        sequence = np.searchsorted(self.base, bins, "right") - 1
        start = self.offsets[sequence] + (bins - self.base[sequence]) * self.length
        stop = np.minimum(start + self.length, self.offsets[sequence + 1])
        return Sites(sequence, (start + stop) // 2, np.zeros(len(bins), np.float32))


Constructor = Callable[[np.ndarray, np.ndarray, Bins], np.ndarray]
"""A user's choice of activating contexts: (tokens, values, bins) -> flat positions that contexts are cut around.

With centred contexts the one that begins at token ``s`` is cut around ``s + bins.length // 2``.
"""
