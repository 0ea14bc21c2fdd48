"""Encoding one block of sequences: subject states to sparse codes, rows ordered, feature-major."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from autointerp.cache.layout import VALUE_DTYPES
from autointerp.errors import UsageError
from caching.blocks import feature_dtype, feature_major

if TYPE_CHECKING:
    import torch

    from autointerp.coders import SparseCoder
    from autointerp.progress import Observer
    from autointerp.subjects import Subject, Tokens
    from caching.settings import CacheSettings


def encode_block(
    subject: Subject,
    coder: SparseCoder,
    sequences: list[Tokens],
    base: int,
    settings: CacheSettings,
    observer: Observer,
) -> dict[str, np.ndarray]:
    """Codes of consecutive sequences as the tensors of a block.

    Parameters
    ----------
    sequences : tokenised sequences of the block, in corpus order.
    base : flat position (level ``token``) or sequence index (level ``sequence``) of the block's first row.

    Returns
    -------
    ``indptr``, ``token``, ``value`` (feature-major), ``tokens``, ``offsets`` and, for text, ``ends``.

    Raises
    ------
    UsageError : states that are not finite, or an activation beyond the range of the stored type.
    """
    from autointerp.subjects.stream import iter_states

    ids = [tokens.ids for tokens in sequences]
    offsets = np.concatenate([[0], np.cumsum([len(i) for i in ids])]).astype(np.int64)
    n_rows = len(ids) if settings.level == "sequence" else int(offsets[-1])
    value_dtype = VALUE_DTYPES[settings.value_dtype]
    stream = iter_states(subject, ids, [settings.hook], overlap=settings.overlap, batch_tokens=settings.batch_tokens)
    pieces = []
    means = _Means(offsets) if settings.level == "sequence" else None
    for positions, states in stream:
        x = states[settings.hook].float()
        if not x.isfinite().all():
            raise UsageError(f"{subject.name}: states at {settings.hook} are not finite; run it in float32 or bfloat16")
        if means is None:
            pieces.append(_rows(coder.encode(x), positions, value_dtype))
        else:
            means.add(positions, x)
        observer.advance(len(positions))
    if means is not None:
        filled = np.flatnonzero(np.diff(offsets))  # a sequence without tokens has no mean: it is silent
        for rows in (filled[i : i + 4096] for i in range(0, len(filled), 4096)):
            pieces.append(_rows(coder.encode(means.take(rows)), rows, value_dtype))
    rows, features, values = _in_order(pieces, n_rows, value_dtype)
    indptr, token, value = feature_major(rows + np.uint32(base), features, values, coder.n_features)
    block = {"indptr": indptr, "token": token, "value": value, "offsets": offsets}
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


def _rows(codes: Any, positions: np.ndarray, dtype: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(positions, count per position, features, values) of the strictly positive codes, in the smallest types."""
    indptr = codes.indptr.cpu().numpy()
    features = codes.indices.cpu().numpy().astype(feature_dtype(codes.n_features))
    with np.errstate(over="ignore"):
        values = codes.values.cpu().numpy().astype(dtype)
    counts = np.diff(indptr)
    if np.isinf(values).any():
        raise UsageError(
            f"an activation of {codes.values.max():.4g} does not fit {np.dtype(dtype)}: use value_dtype float32"
        )
    if not (keep := values > 0).all():  # a code may underflow to zero in float16: then it is silent
        counts = np.add.reduceat(np.append(keep, 0), indptr[:-1]) * (counts > 0)
        features, values = features[keep], values[keep]
    return positions, counts, features, values


def _in_order(pieces: list[Any], n_rows: int, dtype: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Activations of all pieces with ascending rows; each row stands in one piece at most, its codes together."""
    if not pieces:
        return np.empty(0, np.uint32), np.empty(0, np.uint16), np.empty(0, dtype)
    positions, counts, features, values = (np.concatenate(part) for part in zip(*pieces, strict=True))
    count, begin = np.zeros((2, n_rows), np.int64)
    count[positions], begin[positions] = counts, np.cumsum(counts) - counts
    index = np.int32 if len(features) < 1 << 31 else np.int64  # half the memory traffic of int64
    source = np.repeat((begin - (np.cumsum(count) - count)).astype(index), count)
    source += np.arange(len(features), dtype=index)
    return np.repeat(np.arange(n_rows, dtype=np.uint32), count), features[source], values[source]
