"""Encoding one block of sequences: subject states to sparse codes, rows ordered, feature-major."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_array

from autointerp.cache.layout import VALUE_DTYPES
from autointerp.errors import UsageError
from caching.blocks import count_sequences, feature_major

if TYPE_CHECKING:
    import torch

    from autointerp.coders import Codes, SparseCoder
    from autointerp.progress import Observer
    from autointerp.subjects import Subject, Tokens
    from caching.memory import Resident
    from caching.settings import CacheSettings


def encode_block(
    subject: Subject,
    coder: SparseCoder,
    sequences: list[Tokens],
    base: int,
    settings: CacheSettings,
    observer: Observer,
    resident: Resident,
) -> dict[str, np.ndarray]:
    """Codes of consecutive sequences as the tensors of a block.

    Parameters
    ----------
    sequences : tokenised sequences of the block, in corpus order.
    resident : checked after each batch.
    base : flat position (level ``token``) or sequence index (level ``sequence``) of the block's first row.

    Returns
    -------
    ``indptr``, ``token``, ``value`` (feature-major), ``n_sequences`` of each feature, ``tokens``, ``offsets`` and, for
    text, ``ends``.

    Raises
    ------
    UsageError : states that are not finite, or an activation beyond the range of the stored type.
    """
    from autointerp.subjects.stream import iter_states

    ids = [tokens.ids for tokens in sequences]
    offsets = np.concatenate([[0], np.cumsum([len(i) for i in ids])]).astype(np.int64)
    n_rows = len(ids) if settings.level == "sequence" else int(offsets[-1])
    value_dtype = np.dtype(VALUE_DTYPES[settings.value_dtype])
    assert settings.batch_tokens is not None
    stream = iter_states(subject, ids, [settings.hook], overlap=settings.overlap, batch_tokens=settings.batch_tokens)
    pieces = []
    means = _Means(offsets) if settings.level == "sequence" else None
    for positions, states in stream:
        x = states[settings.hook].float()
        if not x.isfinite().all():
            raise UsageError(f"{subject.name}: states at {settings.hook} are not finite; run it in float32 or bfloat16")
        if means is None:
            pieces.append(_piece(coder.encode(x), positions, value_dtype))
        else:
            means.add(positions, x)
        observer.advance(len(positions))
        resident.check()
    if means is not None:
        filled = np.flatnonzero(np.diff(offsets))  # a sequence without tokens has no mean: it is silent
        for rows in (filled[i : i + 4096] for i in range(0, len(filled), 4096)):
            pieces.append(_piece(coder.encode(means.take(rows)), rows, value_dtype))
    codes = _in_order(pieces, n_rows, coder.n_features, value_dtype)
    indptr, row, value = feature_major(codes)
    block = {
        "indptr": indptr,
        "token": row.astype(np.uint32) + np.uint32(base),
        "value": value.view(value_dtype),
        "offsets": offsets,
        "n_sequences": np.diff(indptr) if means is not None else count_sequences(indptr, row, offsets),
    }
    block["tokens"] = np.concatenate([*ids, np.empty(0, np.int32)]).astype(settings.token_dtype(subject.vocab_size))
    if subject.kind == "text":
        block["ends"] = np.concatenate([*(t.ends for t in sequences), np.empty(0, np.int32)]).astype(np.uint32)
    return block


class _Means:
    """Sums of states by sequence; a sequence's windows may come in different batches."""

    def __init__(self, offsets: np.ndarray) -> None:
        self.offsets = offsets
        self.sums: Any = None
        self.device: Any = None

    def add(self, positions: np.ndarray, states: torch.Tensor) -> None:
        import torch

        sequence = np.searchsorted(self.offsets, positions, "right") - 1
        starts = np.flatnonzero(np.diff(sequence, prepend=-1))
        lengths = torch.from_numpy(np.diff(np.append(starts, len(sequence)))).to(states.device)
        # not index_add_: on a GPU its order, and so the last digit, differs from run to run
        sums = torch.segment_reduce(states, "sum", lengths=lengths).cpu().numpy()
        if self.sums is None:
            self.sums, self.device = np.zeros((len(self.offsets) - 1, states.shape[1])), states.device
        np.add.at(self.sums, sequence[starts], sums)

    def take(self, rows: np.ndarray) -> torch.Tensor:
        import torch

        means = self.sums[rows] / np.diff(self.offsets)[rows, None]
        return torch.from_numpy(means.astype(np.float32)).to(self.device)


def _piece(codes: Codes, positions: np.ndarray, dtype: np.dtype) -> tuple[np.ndarray, ...]:
    """(positions, count per position, features, bits of the values) of the codes of one batch, in small types."""
    import torch

    values = codes.values.to(torch.float16 if dtype == np.float16 else torch.float32)
    arrays = (codes.indptr.diff(), codes.indices.to(torch.int32), values)
    counts, features, stored = (a.cpu().numpy() for a in arrays)
    return positions, counts, features, stored.view(_bits(dtype))


def _bits(dtype: np.dtype) -> np.dtype:
    """The unsigned type of the same size: SciPy moves it, and for positive floats its order is theirs."""
    return np.dtype(f"u{dtype.itemsize}")


def _in_order(pieces: list[tuple[np.ndarray, ...]], n_rows: int, n_features: int, dtype: np.dtype) -> csr_array:
    """All pieces as one matrix (n_rows, n_features) of bits; each row stands in one piece at most.

    Raises
    ------
    UsageError : a value beyond the range of ``dtype``.
    """
    bits = _bits(dtype)
    if not pieces:
        return csr_array((n_rows, n_features), dtype=bits)
    positions, counts, features, values = (np.concatenate(part) for part in zip(*pieces, strict=True))
    pieces.clear()
    if values.max(initial=0) >= np.array(np.inf, dtype).view(bits):
        raise UsageError(f"an activation above {np.finfo(dtype).max:.6g} does not fit {dtype}: use value_dtype float32")
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
