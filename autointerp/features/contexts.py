"""Contexts: which stretches of tokens stand for a feature's activations, and which stretches are silent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from autointerp.errors import UsageError

if TYPE_CHECKING:
    from autointerp.cache.reader import ActivationCache


@dataclass(frozen=True)
class Sites:
    """Places that a context is cut around.

    Attributes
    ----------
    sequence : (n,) row of the sequence. position : (n,) flat token position. peak : (n,) activation there.
        The widths of the numbers are the cache's (uint32, float16) as long as there may be many; see :meth:`wide`.
    """

    sequence: np.ndarray
    position: np.ndarray
    peak: np.ndarray

    def take(self, index: np.ndarray | slice) -> Sites:
        """The sites at ``index``."""
        return Sites(self.sequence[index], self.position[index], self.peak[index])

    def wide(self) -> Sites:
        """The same with int64 and float32, which can be reckoned with: a uint32 less 1 may be 2³² − 1."""
        return Sites(
            self.sequence.astype(np.int64, copy=False),
            self.position.astype(np.int64, copy=False),
            self.peak.astype(np.float32, copy=False),
        )

    def join(self, *others: Sites) -> Sites:
        """These sites, then the others."""
        every = (self, *others)
        return Sites(*(np.concatenate([getattr(s, name) for s in every]) for name in ("sequence", "position", "peak")))

    def __len__(self) -> int:
        return len(self.sequence)


@dataclass(frozen=True)
class Ranked:
    """Sites in the order of their peaks; ``order[rank]`` is the index in ``sites`` of the one with that rank."""

    sites: Sites
    order: np.ndarray

    def take(self, ranks: np.ndarray | slice) -> Sites:
        """The sites with these ranks, 0 the weakest."""
        return self.sites.take(self.order[ranks]).wide()

    @cached_property
    def peaks(self) -> np.ndarray:
        """(n,) float32, ascending."""
        return self.sites.peak[self.order].astype(np.float32)

    def __len__(self) -> int:
        return len(self.order)


def ordinal(values: np.ndarray) -> np.ndarray:
    """The bits of positive floats, which order as they do: NumPy is slow at comparing float16."""
    return values.view(np.uint16 if values.dtype == np.float16 else np.uint32)


def span(tokens: np.ndarray, start: np.ndarray, stop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and last (exclusive) index of the ascending ``tokens`` in ``start`` … ``stop`` − 1, which is not empty."""
    # in the type of the tokens, or NumPy copies them all; 2³² itself is no uint32, hence stop - 1
    first, last = start.astype(tokens.dtype), (stop - 1).astype(tokens.dtype)
    return np.searchsorted(tokens, first), np.searchsorted(tokens, last, "right")


def _highest(ids: np.ndarray, height: np.ndarray) -> np.ndarray:
    """Indices of the first maximum of each id; ``ids`` ascend.

    Of every two that follow each other the later stays if it is larger, else the earlier, until no two share an id: at
    most half of those that share one are left every time.
    """
    same, rises = ids[1:] == ids[:-1], height[1:] > height[:-1]
    stays = np.ones(len(ids), bool)
    stays[:-1] = ~(same & rises)
    stays[1:] &= ~same | rises
    kept = np.flatnonzero(stays)
    ids = ids[kept]
    same = ids[1:] == ids[:-1]
    if not same.any():
        return kept
    shared = np.append(False, same)
    shared[:-1] |= same
    rest = np.flatnonzero(shared)
    shared[rest[_highest(ids[rest], height[kept[rest]])]] = False
    return kept[~shared]


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
        mean = self.offsets[-1] // max(len(self.offsets) - 1, 1)
        self._shift = min(max(int(mean).bit_length() - 3, 0), 6)  # few sequences begin in 2^shift tokens
        every = np.arange(0, self.offsets[-1], 1 << self._shift)
        self._sequence_at = (np.searchsorted(self.offsets, every, "right") - 1).astype(np.int32)
        # half as wide, twice as fast; filled up with `_padding`, every sequence would begin with a bin
        narrow = np.uint32 if len(self) * length < 1 << 32 else np.int64
        self._after = self.offsets[1:].astype(narrow)
        self._padding = (self.base[:-1] * length - self.offsets[:-1]).astype(narrow)

    def __len__(self) -> int:
        return int(self.base[-1])

    def sequences_of(self, tokens: np.ndarray) -> np.ndarray:
        """Sequence of each token, int32: looked up for a place shortly before it, then moved on over those that end."""
        sequence = self._sequence_at.take(tokens >> self._shift)
        late = np.flatnonzero(tokens >= self._after.take(sequence))
        while len(late):
            sequence[late] += 1
            late = late[tokens[late] >= self._after[sequence[late]]]
        return sequence

    def active(self, tokens: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, Sites]:
        """Where a feature fires.

        Parameters
        ----------
        tokens : (nnz,) ascending flat positions. values : (nnz,) positive float16 or float32 activations.

        Returns
        -------
        bins : (n_active,) ascending ids of the bins with an activation.
        sites : (n,) the first maximum of every bin, ascending; of centred contexts only those that are the first
            maximum of their whole context too, so that one site is not shown twice, nor off its place.
        """
        if not len(tokens):
            return np.zeros(0, np.int64), Sites(np.zeros(0, np.int32), tokens, values)
        sequence = self._sequences_of_ascending(tokens)
        bins, height = (tokens + self._padding.take(sequence)) // self.length, ordinal(values)
        index = _highest(bins, height)
        bins, sites = bins[index], Sites(sequence[index], tokens[index], values[index])
        if self.centred:
            sites = sites.take(np.flatnonzero(~self._outdone(bins, sites, index, tokens, height)))
        return bins, sites

    def _sequences_of_ascending(self, tokens: np.ndarray) -> np.ndarray:
        """As :meth:`sequences_of`; where most sequences hold many of the tokens, it is quicker to look for those."""
        if len(tokens) < 8 * len(self._after):
            return self.sequences_of(tokens)
        bounds = np.searchsorted(tokens, self._after[:-1].astype(tokens.dtype))
        return np.repeat(np.arange(len(self._after)), np.diff(bounds, prepend=0, append=len(tokens)))

    def _outdone(
        self, bins: np.ndarray, sites: Sites, index: np.ndarray, tokens: np.ndarray, height: np.ndarray
    ) -> np.ndarray:
        """Whether the context around a site holds a larger activation, or as large a one before it.

        ``index`` (n,) is where each site stands in ``tokens``. A context reaches into one neighbouring bin at most, and
        only a neighbour whose maximum is larger, or as large and before it, can outdo it.
        """
        sequence, position, peak, half = sites.sequence, sites.position, height[index], self.length // 2
        edge = bins * self.length - self._padding.take(sequence)  # where the bin begins
        # not below 0, uint32 has no such number; a context at the sequence's begin reaches no other bin anyway
        start = np.minimum(np.maximum(position, half) - half, self._after.take(sequence) - self.length)
        stop, rises = start + self.length, peak[1:] > peak[:-1]
        adjacent = (bins[1:] - bins[:-1] == 1) & (sequence[1:] == sequence[:-1])
        right, left = adjacent & rises & (stop[:-1] > edge[1:]), adjacent & ~rises & (start[1:] < edge[1:])
        ahead, behind = position[1:] < stop[:-1], position[:-1] >= start[1:]
        result = np.append(right & ahead, False)
        result[1:] |= left & behind
        # the neighbour's maximum lies beyond the context, which may hold another of the neighbour's all the same
        gap = index[1:] - index[:-1] > 1
        right, left = np.flatnonzero(right & ~ahead & gap), np.flatnonzero(left & ~behind & gap) + 1
        weak, step = np.concatenate([right, left]), np.repeat([1, -1], [len(right), len(left)])
        place, start, stop, least = index[weak], start[weak], stop[weak], peak[weak] + (step > 0)
        while len(weak):
            place = place + step
            inside = (tokens[place] >= start) & (tokens[place] < stop)
            more = inside & (height[place] >= least)
            result[weak[more]] = True
            go = np.flatnonzero(inside & ~more)
            weak, step, place, start, stop, least = (a[go] for a in (weak, step, place, start, stop, least))
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
        first, last = span(tokens, start, self.extent(sequence, positions)[1])
        fires = np.flatnonzero(first < last)
        bounds = np.stack([first[fires], last[fires]], 1).ravel()
        peak = np.maximum.reduceat(np.append(values, values[:1]), bounds)[::2] if len(fires) else values[:0]
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

    def holding(self, sites: Sites) -> np.ndarray:
        """The bin of each site."""
        return self.base[sites.sequence] + (sites.position - self.offsets[sites.sequence]) // self.length

    def middles(self, bins: np.ndarray) -> Sites:
        """The middle of each of the given bins, with peak 0; whether the feature is silent there is not checked."""
        sequence = np.searchsorted(self.base, bins, "right") - 1
        start = self.offsets[sequence] + (bins - self.base[sequence]) * self.length
        stop = np.minimum(start + self.length, self.offsets[sequence + 1])
        return Sites(sequence, (start + stop) // 2, np.zeros(len(bins), np.float32))


def default_context(level: str) -> int:
    """Tokens of a context; at level ``sequence`` the most tokens of a sequence that are shown."""
    return 512 if level == "sequence" else 32


def bins_of(cache: ActivationCache, context: int, centred: bool) -> Bins:
    """How the sequences of a cache are cut; at level ``sequence`` each is one bin of one "token"."""
    if cache.level == "sequence":
        return Bins(np.arange(cache.n_sequences + 1), 1, centred=False)
    return Bins(cache.offsets, context, centred)


Constructor = Callable[[np.ndarray, np.ndarray, Bins], np.ndarray]
"""A user's choice of activating contexts: (tokens, values, bins) -> flat positions that contexts are cut around.

With centred contexts the one that begins at token ``s`` is cut around ``s + bins.length // 2``.
"""
