"""New sequences through subject and coder: every activation of every feature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from autointerp.errors import UsageError

if TYPE_CHECKING:
    import torch

    from autointerp.coders import SparseCoder
    from autointerp.subjects import Subject

POOLINGS = ("states", "mean", "max")
OVERLAP = 64
"""Tokens that the windows of a long sequence share, as caching has it."""


@dataclass(frozen=True, slots=True, eq=False)
class Activations:
    """All activations on some sequences, by sequence, then feature, then position.

    Attributes
    ----------
    sequence, feature, position : (n,) int64; ``position`` is −1 at level ``sequence``. value : (n,) float32.
    """

    sequence: np.ndarray
    feature: np.ndarray
    position: np.ndarray
    value: np.ndarray

    def only(self, keep: np.ndarray) -> Activations:
        """Those where ``keep``, (n,) booleans."""
        return Activations(self.sequence[keep], self.feature[keep], self.position[keep], self.value[keep])


def encode(
    subject: Subject, coder: SparseCoder, ids: Sequence[np.ndarray], hook: str, level: str, pooling: str
) -> Activations:
    """Run ``subject`` over the tokens of some sequences and ``coder`` over its states at ``hook``.

    Parameters
    ----------
    ids : content tokens of each sequence. pooling : at level ``sequence``: ``states``, the mean state is encoded, or
        ``mean`` or ``max`` over the codes of its tokens.

    Raises
    ------
    UsageError : an unknown level or pooling.
    """
    from autointerp.subjects import iter_states

    if level not in ("token", "sequence") or pooling not in POOLINGS:
        raise UsageError(f"level {level!r}, pooling {pooling!r}: valid are token, sequence; {', '.join(POOLINGS)}")
    offsets = np.concatenate([[0], np.cumsum([len(i) for i in ids])]).astype(np.int64)
    means = level == "sequence" and pooling == "states"
    sums = np.zeros((len(ids), coder.d_in if means else 0))
    pieces: list[tuple[np.ndarray, ...]] = []
    overlap = min(OVERLAP, subject.context_length // 4)
    for positions, states in iter_states(subject, ids, [hook], overlap=overlap):
        if means:
            owner = np.searchsorted(offsets, positions, "right") - 1
            np.add.at(sums, owner, states[hook].float().cpu().numpy())
        else:
            pieces.append(_codes(coder, states[hook].float(), positions))
    if means:
        import torch

        filled = np.flatnonzero(np.diff(offsets))
        mean = (sums[filled] / np.diff(offsets)[filled, None]).astype(np.float32)
        row, feature, value = _codes(coder, torch.from_numpy(mean).to(coder.b_dec.device), filled)
        return _sorted(row, feature, np.full(len(row), -1), value)
    row, feature, value = (np.concatenate(part) for part in zip(*pieces, strict=True)) if pieces else _nothing()
    sequence = np.searchsorted(offsets, row, "right") - 1
    found = _sorted(sequence, feature, row - offsets[sequence], value)
    return found if level == "token" else _pooled(found, np.diff(offsets), pooling)


def _codes(coder: SparseCoder, states: torch.Tensor, rows: np.ndarray) -> tuple[np.ndarray, ...]:
    """Rows, features and values of the codes of ``states`` (n, d)."""
    codes = coder.encode(states)
    counts = codes.indptr.diff().cpu().numpy()
    return np.repeat(rows, counts), codes.indices.cpu().numpy(), codes.values.float().cpu().numpy()


def _nothing() -> tuple[np.ndarray, ...]:
    return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32)


def _sorted(sequence: np.ndarray, feature: np.ndarray, position: np.ndarray, value: np.ndarray) -> Activations:
    order = np.lexsort((position, feature, sequence))
    return Activations(sequence[order], feature[order], position[order], value[order])


def _pooled(found: Activations, lengths: np.ndarray, pooling: str) -> Activations:
    """One activation for each sequence and feature: the mean over all tokens, silent ones included, or the maximum."""
    starts = begins(found)
    if not len(starts):
        return found
    sequence = found.sequence[starts]
    if pooling == "max":
        value = np.maximum.reduceat(found.value, starts)
    else:
        value = (np.add.reduceat(found.value, starts, dtype=np.float64) / lengths[sequence]).astype(np.float32)
    return Activations(sequence, found.feature[starts], np.full(len(starts), -1), value)


def begins(found: Activations) -> np.ndarray:
    """Where each sequence and feature begins."""
    if not len(found.value):
        return np.empty(0, np.int64)
    changes = (np.diff(found.sequence) != 0) | (np.diff(found.feature) != 0)
    return np.flatnonzero(np.concatenate([[True], changes]))
