"""Contexts: which stretches of tokens stand for a feature's activations, and which stretches are silent."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from itertools import pairwise
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from autointerp.errors import UsageError
from autointerp.features.sites import Sites, ordinal

if TYPE_CHECKING:
    from autointerp.cache.reader import ActivationCache

PIECE = 1 << 17
"""Activations that are worked on at a time."""
LOOK = np.arange(1, 9)[:, None]
"""Activations next to a site that are looked at together."""
DENSE = 1 << 16
"""Activations of one feature that are worth loading the compiled loops for, which takes 0.6 s."""


def span(tokens: np.ndarray, start: np.ndarray, stop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and last (exclusive) index of the ascending ``tokens`` in ``start`` … ``stop`` − 1, which is not empty."""
    # in the type of the tokens, or NumPy copies them all; 2³² itself is no uint32, hence stop - 1
    first, last = start.astype(tokens.dtype), (stop - 1).astype(tokens.dtype)
    return np.searchsorted(tokens, first), np.searchsorted(tokens, last, "right")


def _highest(ids: np.ndarray, height: np.ndarray) -> np.ndarray:
    """Indices of the first maximum of each id; ``ids`` ascend.

    Of two that share an id the later stays if it is larger, else the earlier: so first of any two up to three places
    apart, all at once, and then again among the few that are left.
    """
    lost = np.zeros(len(ids), bool)
    for apart in (1, 2, 3):
        same = ids[apart:] == ids[:-apart]
        rises = same & (height[apart:] > height[:-apart])
        lost[:-apart] |= rises
        lost[apart:] |= same ^ rises
    kept = np.flatnonzero(~lost)
    ids = ids.take(kept)
    same = ids[1:] == ids[:-1]
    if not same.any():
        return kept
    lost = np.append(False, same)
    lost[:-1] |= same
    rest = np.flatnonzero(lost)
    lost[rest.take(_highest(ids.take(rest), height.take(kept.take(rest))))] = False
    return kept.take(np.flatnonzero(~lost))


class Bins:
    """The tokens of every sequence cut into bins of ``length``; the last bin of a sequence may be shorter.

    Parameters
    ----------
    offsets : (n_sequences + 1,) int64 token offsets. length : tokens of a bin, which is the length of a context.
    centred : contexts are centred on a site (as far as the sequence's ends allow) instead of being its bin.
    """

    def __init__(self, offsets: np.ndarray, length: int, centred: bool) -> None:
        self.offsets, self.length, self.centred = np.asarray(offsets, np.int64), length, centred
        counts, n_tokens = -(-np.diff(self.offsets) // length), int(self.offsets[-1])
        self.base = np.concatenate([[0], np.cumsum(counts)])
        self._sequence = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
        begin = self.offsets[self._sequence] + (np.arange(len(self)) - self.base[self._sequence]) * length
        # half as wide, twice as fast; unsigned, so that what lies before a context is far behind it
        narrow = np.uint32 if n_tokens < 1 << 32 else np.uint64
        self._begin, self._end = np.append(begin, n_tokens).astype(narrow), self.offsets[1:].astype(narrow)
        # of every 2^shift tokens the bin of the first, and after how many another begins: 2^shift if none does, 0 if
        # several do, which is rare. In one number, because each look-up may be a miss in the processor's cache
        self._shift = length.bit_length() - 1
        size, block = 1 << self._shift, np.arange(0, n_tokens, 1 << self._shift)
        first = np.searchsorted(begin, block, "right") - 1
        second, third = (self._begin[np.minimum(first + n, len(self))].astype(np.int64) - block for n in (1, 2))
        packed = first << self._shift + 1 | np.where(third < size, 0, np.minimum(second, size))
        self._blocks: np.ndarray = packed.astype(np.uint32 if len(self) < 1 << 31 - self._shift else np.int64)

    def __len__(self) -> int:
        return int(self.base[-1])

    def sequences_of(self, tokens: np.ndarray) -> np.ndarray:
        """Sequence of each token, int32."""
        return self._sequence.take(self.bins_of(tokens))

    def bins_of(self, tokens: np.ndarray) -> np.ndarray:
        """Bin of each token."""
        size = 1 << self._shift
        block = self._blocks.take((tokens >> self._shift).astype(np.intp))
        other = block & (2 * size - 1)
        bins = (block >> self._shift + 1) + ((tokens & (size - 1)) >= other)
        unsure = np.flatnonzero(other == 0)
        own = bins.take(unsure) - 1
        while len(unsure):
            bins[unsure] = own
            late = np.flatnonzero(tokens.take(unsure) >= self._begin.take(own + 1))
            unsure, own = unsure.take(late), own.take(late) + 1
        return bins

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
        tokens = tokens.astype(self._begin.dtype, copy=False)
        # once they are loaded they serve all features
        compiled = (len(tokens) >= DENSE or "_loops" in self.__dict__) and self._loops is not None
        some = self._compiled if compiled else self._active
        # some whole sequences at a time, or what is made on the way falls out of the processor's cache
        cuts = tokens[PIECE::PIECE]
        if len(cuts):
            cuts = np.searchsorted(tokens, self.offsets[self.sequences_of(cuts)].astype(tokens.dtype))
        bounds = [0, *cuts.tolist(), len(tokens)]
        parts = [some(tokens[a:b], values[a:b]) for a, b in pairwise(bounds) if a < b]
        bins, sites = zip(*parts, strict=True)
        return np.concatenate(bins), sites[0].join(*sites[1:]) if len(sites) > 1 else sites[0]

    @cached_property
    def _loops(self) -> ModuleType | None:
        """The compiled loops; None without the extra ``fast``."""
        try:
            from autointerp.features import compiled
        except (ImportError, RuntimeError):  # without numba, or where it finds no folder to keep what it compiles
            return None
        return compiled

    def _compiled(self, tokens: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, Sites]:
        assert self._loops is not None
        height = ordinal(values)
        bins, sequence, first, index = self._loops.maxima(tokens, height, self.offsets, self.base, self.length)
        if self.centred:
            kept = self._loops.undone(tokens, height, self.offsets, self.length, sequence, first, index)
            sequence, index = sequence.take(kept), index.take(kept)
        return bins, Sites(sequence, tokens.take(index), values.take(index))

    def _active(self, tokens: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, Sites]:
        bins, height = self.bins_of(tokens), ordinal(values)
        index = _highest(bins, height)
        bins = bins.take(index)
        sites = Sites(self._sequence.take(bins), tokens.take(index), values.take(index))
        if self.centred:
            sites = sites.take(np.flatnonzero(~self._outdone(bins, sites, index, tokens, height)))
        return bins, sites

    def _outdone(
        self, bins: np.ndarray, sites: Sites, index: np.ndarray, tokens: np.ndarray, height: np.ndarray
    ) -> np.ndarray:
        """Whether the context around a site holds a larger activation, or as large a one before it.

        ``index`` (n,) is where each site stands in ``tokens``. A context reaches into one neighbouring bin at most, and
        only a neighbour whose maximum is larger, or as large and before it, can outdo it: of two neighbours one.
        """
        sequence, position, peak, half = sites.sequence, sites.position, ordinal(sites.peak), self.length // 2
        pair = np.flatnonzero((bins[1:] - bins[:-1] == 1) & (sequence[1:] == sequence[:-1]))
        rises = peak.take(pair + 1) > peak.take(pair)
        weak, strong = pair + ~rises, pair + rises
        start = np.maximum(position.take(weak), half) - half
        start = np.minimum(start, self._end.take(sequence.take(weak)) - self.length)
        # unsigned: what lies before the context is far beyond its length
        reaches = self._begin.take(bins.take(pair + 1)) - 1 - start < self.length - 1
        inside = position.take(strong) - start < self.length
        result = np.zeros(len(bins), bool)
        result[weak.take(np.flatnonzero(inside))] = True
        # the neighbour's maximum lies beyond the context, which may hold another of the neighbour's all the same
        go = np.flatnonzero(reaches > inside)
        go = go.take(np.flatnonzero(index.take(pair.take(go) + 1) - index.take(pair.take(go)) > 1))
        rises, weak, start = rises.take(go), weak.take(go), start.take(go)
        place, step, least = index.take(weak), 2 * rises.astype(np.intp) - 1, peak.take(weak) + rises
        while len(weak):
            places = place + step * LOOK
            inside = tokens.take(places, mode="clip") - start < self.length
            more = (inside & (height.take(places, mode="clip") >= least)).any(0)
            result[weak.take(np.flatnonzero(more))] = True
            go = np.flatnonzero(inside[-1] > more)
            weak, step, place, start, least = (a.take(go) for a in (weak, step, places[-1], start, least))
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
        return self.bins_of(sites.position)

    def middles(self, bins: np.ndarray) -> Sites:
        """The middle of each of the given bins, with peak 0; whether the feature is silent there is not checked."""
        position = (self._begin[bins].astype(np.int64) + self._begin[bins + 1].astype(np.int64)) // 2
        return Sites(self._sequence[bins].astype(np.int64), position, np.zeros(len(bins), np.float32))


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
