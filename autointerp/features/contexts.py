"""Contexts: which stretches of tokens stand for a feature's activations, and which stretches are silent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Windows:
    """Half-open stretches of tokens, each inside one sequence.

    Attributes
    ----------
    sequence : (n,) row of the sequence. start, stop : (n,) flat token positions. peak : (n,) float32 largest activation.
    """

    sequence: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    peak: np.ndarray

    def take(self, index: np.ndarray) -> Windows:
        """The windows at ``index``."""
        return Windows(self.sequence[index], self.start[index], self.stop[index], self.peak[index])

    def __len__(self) -> int:
        return len(self.sequence)


class Bins:
    """The tokens of every sequence cut into bins of ``length``; the last bin of a sequence may be shorter.

    Parameters
    ----------
    offsets : (n_sequences + 1,) int64 token offsets. length : tokens of a bin, which is the length of a context.
    centred : contexts are centred on the bin's peak (as far as the sequence's ends allow) instead of being the bin.
    """

    def __init__(self, offsets: np.ndarray, length: int, centred: bool) -> None:
        self.offsets, self.length, self.centred = np.asarray(offsets, np.int64), length, centred
        lengths = np.diff(self.offsets)
        self.base = np.concatenate([[0], np.cumsum(-(-lengths // length))])

    def __len__(self) -> int:
        return int(self.base[-1])

    def sequences_of(self, tokens: np.ndarray) -> np.ndarray:
        """Sequence of each token of an ascending array; linear when the array is dense, logarithmic when sparse."""
        if len(tokens) < len(self.offsets):
            return np.searchsorted(self.offsets, tokens, "right") - 1
        bounds = np.searchsorted(tokens, self.offsets)
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(bounds))

    def active(self, tokens: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, Windows]:
        """Contexts in which a feature fires.

        Parameters
        ----------
        tokens : (nnz,) ascending flat positions. values : (nnz,) activations.

        Returns
        -------
        bins : (n_active,) ascending ids of the bins with an activation.
        windows : (n,) contexts. Centred contexts keep local peaks only: of two peaks nearer than half a context the
            stronger stays (the earlier one in a tie), so that one site is not shown twice.
        """
        tokens = tokens.astype(np.int64)
        sequence = self.sequences_of(tokens)
        bin_of_token = self.base[sequence] + (tokens - self.offsets[sequence]) // self.length
        starts = np.concatenate([[0], np.flatnonzero(np.diff(bin_of_token)) + 1])
        peak = np.maximum.reduceat(values, starts)
        bins, sequence = bin_of_token[starts], sequence[starts]
        if not self.centred:
            return bins, self._fixed(bins, sequence, peak.astype(np.float32))
        counts = np.diff(np.append(starts, len(values)))
        hits = np.flatnonzero(values == np.repeat(peak, counts))
        position = tokens[hits[np.searchsorted(hits, starts)]]
        near = (np.diff(position) < self.length // 2) & (np.diff(sequence) == 0)
        weaker_left = near & (peak[:-1] < peak[1:])
        keep = ~(np.append(weaker_left, False) | np.append(False, near & ~weaker_left))
        return bins, self.centre(sequence[keep], position[keep], peak[keep].astype(np.float32))

    def centre(self, sequence: np.ndarray, position: np.ndarray, peak: np.ndarray) -> Windows:
        """Contexts of full length around ``position``, moved inside the sequence where they would leave it."""
        low, high = self.offsets[sequence], self.offsets[sequence + 1]
        start = np.maximum(np.minimum(position - self.length // 2, high - self.length), low)
        return Windows(sequence, start, np.minimum(start + self.length, high), peak)

    def _fixed(self, bins: np.ndarray, sequence: np.ndarray, peak: np.ndarray) -> Windows:
        start = self.offsets[sequence] + (bins - self.base[sequence]) * self.length
        return Windows(sequence, start, np.minimum(start + self.length, self.offsets[sequence + 1]), peak)

    def silent(self, bins: np.ndarray) -> Windows:
        """Contexts at the given bins with the same extent as activating ones; whether they are silent is not checked."""
        sequence = np.searchsorted(self.base, bins, "right") - 1
        peak = np.zeros(len(bins), np.float32)
        windows = self._fixed(bins, sequence, peak)
        return self.centre(sequence, (windows.start + windows.stop) // 2, peak) if self.centred else windows
