"""Encoding one block of sequences: subject states to sparse codes, rows ordered, feature-major."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_array

from autointerp.cache.layout import VALUE_DTYPES
from autointerp.errors import UsageError
from caching.aside import Aside, fetch
from caching.blocks import bits_of, checked, count_sequences, feature_major
from caching.pooling import POOLS, Means, pool

if TYPE_CHECKING:
    import torch

    from autointerp.coders import Codes, SparseCoder
    from autointerp.progress import Observer
    from autointerp.subjects import Subject, Tokens
    from caching.memory import Resident
    from caching.settings import CacheSettings


def begin_block(
    subject: Subject,
    targets: Sequence[tuple[SparseCoder, CacheSettings]],
    sequences: list[Tokens],
    base: int,
    observer: Observer,
    resident: Resident,
    aside: Aside,
) -> Callable[[], list[dict[str, np.ndarray]]]:
    """Codes of consecutive sequences as the tensors of a block, for every target from one pass of the subject.

    Parameters
    ----------
    targets : coders, with settings that differ in nothing but the hook.
    sequences : tokenised sequences of the block, in corpus order.
    base : flat position (level ``token``) or sequence index (level ``sequence``) of the block's first row.
    resident : checked after each batch. aside : where states are encoded.

    Returns
    -------
    A call that waits for the codes and gives for each target ``indptr``, ``token``, ``value`` (feature-major),
    ``n_sequences`` of each feature, ``tokens``, ``offsets`` and, for text, ``ends``. Any thread may make it, once.

    Raises
    ------
    UsageError : states that are not finite, or an activation beyond the range of the stored type; here or by the call.
    """
    from autointerp.subjects.stream import iter_states

    settings = targets[0][1]
    ids = [tokens.ids for tokens in sequences]
    offsets = np.concatenate([[0], np.cumsum([len(i) for i in ids])]).astype(np.int64)
    encoders = [_Encoder(coder, of.hook, settings, offsets) for coder, of in targets]
    hooks = list(dict.fromkeys(encoder.hook for encoder in encoders))
    assert settings.batch_tokens is not None
    stream = iter_states(subject, ids, hooks, overlap=settings.overlap, batch_tokens=settings.batch_tokens)
    taken = []
    for positions, states in stream:
        taken.append(aside.encode(partial(_take_in, subject.name, encoders, positions, states)))
        observer.advance(len(positions))
        resident.check()

    def finish() -> list[dict[str, np.ndarray]]:
        for batch in taken:
            batch.result()
        common = {"offsets": offsets}
        joined = np.concatenate([*ids, np.empty(0, np.int32)])
        common["tokens"] = joined.astype(settings.token_dtype(subject.vocab_size))
        if subject.kind == "text":
            ends = np.concatenate([*(t.ends for t in sequences), np.empty(0, np.int32)])
            common["ends"] = ends.astype(np.uint32)
        return [encoder.finish(base) | common for encoder in encoders]

    return finish


def _take_in(
    subject: str, encoders: Sequence[_Encoder], positions: np.ndarray, states: Mapping[str, torch.Tensor]
) -> None:
    """Encode the states of a batch by all encoders."""
    found = {hook: x.float() for hook, x in states.items()}
    for hook, x in found.items():
        if not all(end.isfinite() for end in x.aminmax()):  # one pass; NaN is an end of everything
            raise UsageError(f"{subject}: states at {hook} are not finite; run it in float32 or bfloat16")
    for encoder in encoders:
        encoder.add(positions, found[encoder.hook])


class _Encoder:
    """One coder on one hook: takes the states of a block batch by batch, gives its activations feature by feature."""

    def __init__(self, coder: SparseCoder, hook: str, settings: CacheSettings, offsets: np.ndarray) -> None:
        self.coder, self.hook, self.offsets = coder, hook, offsets
        self.pooling = settings.pooling if settings.level == "sequence" else None
        self.dtype = np.dtype(VALUE_DTYPES[settings.value_dtype])
        self.means = Means(offsets) if self.pooling == "states" else None
        self.kept = np.dtype(np.float32) if self.pooling in POOLS else self.dtype  # codes are rounded after pooling
        self.pieces: list[tuple[np.ndarray, ...]] = []

    def add(self, positions: np.ndarray, states: torch.Tensor) -> None:
        """Take in the states (n, d) at flat ``positions`` (n,)."""
        if self.means is not None:
            self.means.add(positions, states)
        else:
            self.pieces.append(_piece(self.coder.encode(states), positions, self.kept))

    def finish(self, base: int) -> dict[str, np.ndarray]:
        """``indptr``, ``token``, ``value`` and ``n_sequences``; rows are numbered from ``base`` on."""
        n_rows = int(self.offsets[-1])
        if self.means is not None:
            n_rows = len(self.offsets) - 1
            filled = np.flatnonzero(np.diff(self.offsets))  # a sequence without tokens has no mean: it is silent
            for rows in (filled[i : i + 4096] for i in range(0, len(filled), 4096)):
                self.pieces.append(_piece(self.coder.encode(self.means.take(rows)), rows, self.dtype))
        codes = _in_order(self.pieces, n_rows, self.coder.n_features, self.kept)
        if self.pooling in POOLS:
            codes = pool(codes, self.offsets, self.pooling, self.dtype)
        indptr, row, value = feature_major(codes)
        by_row = self.pooling is not None  # a row is a sequence
        return {
            "indptr": indptr,
            "token": np.add(row, base, dtype=np.uint32, casting="unsafe"),
            "value": value.view(self.dtype),
            "n_sequences": np.diff(indptr) if by_row else count_sequences(indptr, row, self.offsets),
        }


def _piece(codes: Codes, positions: np.ndarray, dtype: np.dtype) -> tuple[np.ndarray, ...]:
    """(positions, count per position, features, bits of the values) of the codes of one batch, in small types."""
    import torch

    values = codes.values.to(torch.float16 if dtype == np.float16 else torch.float32)
    arrays = (codes.indptr.diff(), codes.indices.to(torch.int32), values)
    counts, features, stored = fetch(*arrays)
    return positions, counts, features, stored.view(bits_of(dtype))


def _in_order(pieces: list[tuple[np.ndarray, ...]], n_rows: int, n_features: int, dtype: np.dtype) -> csr_array:
    """All pieces as one matrix (n_rows, n_features) of bits; each row stands in one piece at most.

    Raises
    ------
    UsageError : a value beyond the range of ``dtype``.
    """
    bits = bits_of(dtype)
    if not pieces:
        return csr_array((n_rows, n_features), dtype=bits)
    positions, counts, features, values = (np.concatenate(part) for part in zip(*pieces, strict=True))
    pieces.clear()
    checked(values, dtype)
    indptr = np.zeros(len(positions) + 1, np.int32 if len(values) < 1 << 31 else np.int64)
    np.cumsum(counts, out=indptr[1:])
    codes = csr_array((values, features, indptr), (len(positions), n_features))
    if not values.min(initial=1):
        codes.eliminate_zeros()  # a code may underflow to zero in float16: then it is silent
    place = np.full(n_rows, len(positions))
    place[positions] = np.arange(len(positions))
    if len(positions) < n_rows:  # rows in no piece (sequences without tokens) are the empty one at the end
        codes.resize(len(positions) + 1, n_features)
    return codes[place]
