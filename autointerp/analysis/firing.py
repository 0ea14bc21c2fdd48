"""Where each feature fires, sequence by sequence: runs, gaps and peaks of many features at once, from cache slices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from autointerp.cache import ActivationCache

CHUNK = 1 << 19
"""Activations that are worked on at a time."""
FEATURES = 1024
"""Features of a chunk at most."""
STRONGEST = 200
"""Sequences of a feature, each of another group, whose activations give its shape and its logo."""


@dataclass(frozen=True, eq=False)
class Tokens:
    """The sequences that the tokens of a cache lie in.

    Attributes
    ----------
    offsets : (n_sequences + 1,) int64 first token of each. sequence : (n_tokens,) int32. length : (n_sequences,) int64.
    """

    offsets: np.ndarray
    sequence: np.ndarray
    length: np.ndarray

    @classmethod
    def of(cls, cache: ActivationCache) -> Tokens:
        """Those of a cache of level token."""
        length = np.diff(cache.offsets)
        return cls(np.asarray(cache.offsets), np.repeat(np.arange(len(length), dtype=np.int32), length), length)


@dataclass(frozen=True, eq=False)
class Fired:
    """The sequences in which the features of a chunk exceed their floor: rows sorted by feature and sequence.

    Attributes
    ----------
    first, n : first feature of the chunk, and how many.
    feature : (m,) index in the chunk. sequence : (m,) row in the corpus.
    active, runs : (m,) tokens above the floor, and stretches of neighbours among them.
    peak, place, run : (m,) largest activation, the first token that has it, and the length of the run around it.
    gap, gap_row : (g,) tokens from the start of a run to that of the next in the same sequence, and the row it is in.
    mass : (n, 5) sums over all activations of a, a·p, a·p², a in the first fifth and in the last, with p the relative
        position in the sequence, 0 … 1.
    """

    first: int
    n: int
    feature: np.ndarray
    sequence: np.ndarray
    active: np.ndarray
    runs: np.ndarray
    peak: np.ndarray
    place: np.ndarray
    run: np.ndarray
    gap: np.ndarray
    gap_row: np.ndarray
    mass: np.ndarray


def fired(cache: ActivationCache, tokens: Tokens, floor: np.ndarray, chunk: int = CHUNK) -> Iterator[Fired]:
    """Every feature in order, several at a time.

    Parameters
    ----------
    floor : (n_features,) a token is active where the activation exceeds it.
    chunk : activations that are held at a time. A feature with more is read in pieces that no sequence is cut by.
    """
    for first, indptr, token, value in cache.chunks(chunk, FEATURES):
        bounds = floor[first : first + len(indptr) - 1].astype(np.float32)
        if len(token) <= chunk:
            yield _fired(first, indptr, token, value, tokens, bounds)
            continue
        cut = tokens.offsets[tokens.sequence[token[chunk::chunk]]]
        cut = np.unique(np.concatenate([[0], np.searchsorted(token, cut.astype(token.dtype)), [len(token)]]))
        pieces = [
            _fired(first, np.array([0, b - a]), token[a:b], value[a:b], tokens, bounds)
            for a, b in zip(cut[:-1].tolist(), cut[1:].tolist(), strict=True)
        ]
        yield _joined(pieces)


def _joined(pieces: list[Fired]) -> Fired:
    """The pieces of one feature as one."""
    shift = np.cumsum([0, *(len(p.feature) for p in pieces[:-1])])
    names = ("feature", "sequence", "active", "runs", "peak", "place", "run", "gap")
    rows: dict[str, Any] = {name: np.concatenate([getattr(p, name) for p in pieces]) for name in names}
    rows["gap_row"] = np.concatenate([p.gap_row + s for p, s in zip(pieces, shift, strict=True)])
    return Fired(pieces[0].first, 1, mass=np.sum([p.mass for p in pieces], 0), **rows)


def _fired(
    first: int, indptr: np.ndarray, token: np.ndarray, value: np.ndarray, tokens: Tokens, floor: np.ndarray
) -> Fired:
    n = len(indptr) - 1
    feature = np.repeat(np.arange(n, dtype=np.int32), np.diff(indptr))
    token, value, sequence = token.astype(np.int64), value.astype(np.float32), tokens.sequence[token]
    mass = _mass(n, feature, token, value, sequence, tokens)
    above = value > floor[feature]
    if not above.all():
        feature, token, value, sequence = feature[above], token[above], value[above], sequence[above]
    row_starts = _changes(feature, sequence)
    run_starts = _changes(feature, sequence, token - np.arange(len(token)))
    row_of_run = np.searchsorted(row_starts, run_starts, "right") - 1
    run_length = np.diff(np.append(run_starts, len(token)))
    peak = np.maximum.reduceat(value, row_starts) if len(row_starts) else value
    active = np.diff(np.append(row_starts, len(token)))
    top = np.flatnonzero(value == np.repeat(peak, active))
    top = top[np.searchsorted(top, row_starts)]
    same = np.flatnonzero(np.diff(row_of_run) == 0)
    return Fired(
        first,
        n,
        feature[row_starts],
        sequence[row_starts],
        active,
        np.bincount(row_of_run, minlength=len(row_starts)),
        peak,
        token[top],
        run_length[np.searchsorted(run_starts, top, "right") - 1],
        np.diff(token[run_starts])[same],
        row_of_run[same],
        mass,
    )


def _mass(
    n: int, feature: np.ndarray, token: np.ndarray, value: np.ndarray, sequence: np.ndarray, tokens: Tokens
) -> np.ndarray:
    place = (token - tokens.offsets[sequence] + 0.5) / tokens.length[sequence]
    weights = (value, value * place, value * place**2, value * (place < 0.2), value * (place > 0.8))
    return np.stack([np.bincount(feature, w, minlength=n) for w in weights], 1)


def _changes(*columns: np.ndarray) -> np.ndarray:
    """Where a new combination of values begins."""
    new = np.zeros(len(columns[0]), bool)
    new[:1] = True
    for column in columns:
        new[1:] |= column[1:] != column[:-1]
    return np.flatnonzero(new)


def strongest(fired: Fired, group: np.ndarray, most: int = STRONGEST) -> np.ndarray:
    """Rows of the strongest sequence of each group, of each feature the strongest first, at most so many.

    Parameters
    ----------
    group : (n_sequences,) group of each sequence: homologues count once.
    """
    own, row = group[fired.sequence], np.arange(len(fired.feature))
    order = np.lexsort((row, -fired.peak, own, fired.feature))
    best = order[_changes(fired.feature[order], own[order])]
    best = best[np.lexsort((best, -fired.peak[best], fired.feature[best]))]
    sizes = np.bincount(fired.feature[best], minlength=fired.n)
    rank = np.arange(len(best)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return best[rank < most]
