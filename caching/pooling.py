"""Level ``sequence``: means of states, or codes pooled over a sequence's tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_array

from caching.blocks import bits_of, checked

if TYPE_CHECKING:
    import torch

POOLS = ("mean", "max")


def pool(codes: csr_array, offsets: np.ndarray, how: str, dtype: np.dtype) -> csr_array:
    """Codes of tokens to codes of sequences.

    Parameters
    ----------
    codes : (n_tokens, n_features), bits of float32. offsets : (n_sequences + 1,) first token of each sequence.
    how : ``mean`` over the sequence's tokens, silent ones included, or ``max``. dtype : of the result.

    Returns
    -------
    (n_sequences, n_features), bits of ``dtype``.
    """
    shape = (len(offsets) - 1, codes.shape[1])
    by_feature = csr_array((codes.data, codes.indices, codes.indptr[offsets]), shape).tocsc()
    row, values = by_feature.indices, by_feature.data.view(np.float32)
    if not len(row):
        return csr_array(shape, dtype=bits_of(dtype))
    feature = np.repeat(np.arange(shape[1], dtype=np.int32), np.diff(by_feature.indptr))
    starts = np.flatnonzero(np.append(True, (row[1:] != row[:-1]) | (feature[1:] != feature[:-1])))
    row, feature = row[starts], feature[starts]
    if how == "max":
        pooled = np.maximum.reduceat(values, starts)
    else:
        pooled = np.add.reduceat(values, starts, dtype=np.float64) / np.diff(offsets)[row]
    with np.errstate(over="ignore"):
        bits = checked(pooled.astype(dtype).view(bits_of(dtype)), dtype)
    result = csr_array((bits, (row, feature)), shape)
    result.eliminate_zeros()
    return result


class Means:
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
