"""The activation stream: states of sequences in a seeded order, shuffled across sequences, resumable anywhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from autointerp.errors import AutointerpError, UsageError
from autointerp.progress import Observer, Silent
from autointerp.subjects import Subject, iter_states, tokenize_rows

CHUNK = 64  # sequences tokenised at a time


class Sequences(Protocol):
    """What training asks of a corpus."""

    @property
    def digest(self) -> str:
        """Hash of the content."""
        ...

    @property
    def groups(self) -> np.ndarray:
        """(n_sequences,) cluster of each sequence."""
        ...

    def __len__(self) -> int: ...

    def texts(self, rows: Sequence[int]) -> list[str]:
        """Texts of some sequences."""
        ...


@dataclass(frozen=True, slots=True)
class Position:
    """Where a stream stands: the epoch, the place in its order at which the buffer begins, batches taken from it."""

    epoch: int = 0
    start: int = 0
    batch: int = 0


@dataclass
class ActivationStream:
    """Batches of states of some sequences of a corpus, without end.

    The sequences come in a permutation of their own for each epoch. A buffer takes as many as fit (the first goes in
    whatever its length), is shuffled and cut into batches; a remainder below a batch is left to a later epoch. A
    buffer follows from (epoch, start) alone, so a position is all that a checkpoint needs to know.

    Attributes
    ----------
    rows : sequences of the corpus to read.
    capacity : tokens (sequences at level ``sequence``) in a buffer.
    """

    subject: Subject
    corpus: Sequences
    hook: str
    rows: np.ndarray
    level: str
    batch_size: int
    capacity: int
    seed: int
    observer: Observer = field(default_factory=Silent)
    _whole: Tensor | None = field(default=None, init=False, repr=False)

    def batches(self, at: Position) -> Iterator[tuple[Tensor, Position]]:
        """(batch_size, d) float32 states from ``at`` on, each with the position after it.

        Raises
        ------
        UsageError : the sequences hold fewer tokens than a batch.
        AutointerpError : states that are not finite.
        """
        while True:
            states, following = self._fill(at)
            rng = np.random.default_rng([self.seed, 1, at.epoch, at.start])
            order = torch.from_numpy(rng.permutation(len(states))).to(states.device)
            for batch in range(at.batch, len(states) // self.batch_size):
                chosen = order[batch * self.batch_size : (batch + 1) * self.batch_size]
                yield states[chosen], Position(at.epoch, at.start, batch + 1)
            at = following

    def _fill(self, at: Position) -> tuple[Tensor, Position]:
        """The buffer that begins at ``at``, and where the next one begins."""
        if self._whole is not None:
            return self._whole, Position(at.epoch + 1)
        sequences: list[tuple[int, np.ndarray]] = []
        epoch, start, size = at.epoch, at.start, 0
        while size < self.capacity:
            if start == len(self.rows):
                if at.start == 0:
                    break
                epoch, start = epoch + 1, 0
            chunk = self._order(epoch)[start : start + CHUNK]
            for row, tokens in zip(chunk, tokenize_rows(self.subject, self.corpus, chunk.tolist()), strict=True):
                if size >= self.capacity:
                    break
                start += 1
                sequences.append((int(row), tokens.ids))
                size += len(tokens.ids) if self.level == "token" else len(tokens.ids) > 0
        if size < self.batch_size and at.start == 0:
            raise UsageError(
                f"the corpus holds {size} {self.level}s to train on, fewer than a batch: batch_size {self.batch_size}"
            )
        sequences.sort(key=lambda item: item[0])  # so that a buffer of all sequences is the same in every epoch
        states = states_of(self.subject, [ids for _, ids in sequences], self.hook, self.level, self.observer)
        if at.start == 0 and start == len(self.rows):
            self._whole = states
            return states, Position(epoch + 1)
        return states, Position(epoch, start)

    def _order(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([self.seed, 0, epoch]).permutation(self.rows)


def states_of(
    subject: Subject, sequences: list[np.ndarray], hook: str, level: str, observer: Observer | None = None
) -> Tensor:
    """States (n, d) in float32 of all tokens of ``sequences``, or their means over each sequence that is not empty.

    Raises
    ------
    AutointerpError : states that are not finite.
    """
    sequences = [ids for ids in sequences if len(ids)]
    offsets = np.cumsum([0, *(len(ids) for ids in sequences)])
    n = int(offsets[-1]) if level == "token" else len(sequences)
    states, done = torch.empty(0), 0
    overlap = min(64, subject.context_length // 4)
    for positions, found in iter_states(subject, sequences, [hook], overlap=overlap):
        batch = found[hook].float()
        if not torch.isfinite(batch).all():
            raise AutointerpError(f"{subject.name} {hook}: states are not finite (NaN or infinite); try dtype float32")
        if not done:
            states = batch.new_zeros(n, batch.shape[1])
        if level == "token":
            states[torch.from_numpy(positions).to(batch.device)] = batch
        else:
            owners = torch.from_numpy(np.searchsorted(offsets, positions, "right") - 1).to(batch.device)
            states.index_add_(0, owners, batch)
        done += len(positions)
        if observer is not None:
            observer.advance(0, states=f"{done / offsets[-1]:.0%}")
    if level == "sequence" and n:
        states /= torch.from_numpy(np.diff(offsets)).to(states)[:, None]
    return states
