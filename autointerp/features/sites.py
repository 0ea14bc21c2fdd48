"""Places that contexts are cut around, and which of them are the strongest."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

FEW = 100
"""Ranks that are asked for are few if there are so many times more."""


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
    """Some sites by rank of their peaks, ties by position.

    Positive floats sort as their bits do, and NumPy's stable sort of 16-bit integers is a radix sort.

    Attributes
    ----------
    sites : more than those. index : (n,) which of them, ascending.
    """

    sites: Sites
    index: np.ndarray

    def take(self, ranks: np.ndarray | slice) -> Sites:
        """The sites with these ranks, 0 the weakest."""
        if isinstance(ranks, slice) or len(ranks) * FEW >= len(self):
            return self.sites.take(self.index.take(self._order[ranks])).wide()
        return self.sites.take(self.index.take(self._find(ranks))).wide()

    @cached_property
    def peaks(self) -> np.ndarray:
        """(n,) float32, ascending."""
        return self._ascending.view(self.sites.peak.dtype).astype(np.float32)

    def _find(self, ranks: np.ndarray) -> np.ndarray:
        """``_order[ranks]``: to sort numbers and look for a few is quicker than to sort the places of all."""
        height, shift = self._height, 8 * self._height.itemsize - 16
        wanted = self._ascending[ranks]
        nth = ranks - np.searchsorted(self._ascending, wanted)  # among equal ones
        marked = np.zeros(1 << 16, bool)
        marked[wanted >> shift] = True
        some = np.flatnonzero(marked.take(height >> shift))
        alike = height.take(some)
        order = np.argsort(alike, kind="stable")
        return some.take(order.take(np.searchsorted(alike.take(order), wanted) + nth))

    @cached_property
    def _height(self) -> np.ndarray:
        return ordinal(self.sites.peak.take(self.index))

    @cached_property
    def _ascending(self) -> np.ndarray:
        return np.sort(self._height, kind="stable" if self._height.itemsize == 2 else None)

    @cached_property
    def _order(self) -> np.ndarray:
        return np.argsort(self._height, kind="stable")

    def __len__(self) -> int:
        return len(self.index)


def ordinal(values: np.ndarray) -> np.ndarray:
    """The bits of positive floats, which order as they do: NumPy is slow at comparing float16."""
    return values.view(np.uint16 if values.dtype == np.float16 else np.uint32)
