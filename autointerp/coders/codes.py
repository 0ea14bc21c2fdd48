"""Sparse codes: what a coder finds in each token, as compressed sparse rows."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Codes:
    """Codes of n tokens in compressed sparse rows; zeros are left out.

    Attributes
    ----------
    indptr : (n + 1,) int64; token i owns ``indices[indptr[i]:indptr[i + 1]]``.
    indices : (n_active,) int64 features, in no particular order inside a token.
    values : (n_active,) their activations, all positive.
    n_features : features of the coder.
    top_indices, top_values : (n, k) of a TopK coder, zeros included; None for the others.
    """

    indptr: Tensor
    indices: Tensor
    values: Tensor
    n_features: int
    top_indices: Tensor | None = None
    top_values: Tensor | None = None

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def dense(self) -> Tensor:
        """The codes as (n, n_features), zeros included; for small n."""
        dense = self.values.new_zeros(len(self), self.n_features)
        rows = torch.repeat_interleave(torch.arange(len(self), device=self.indptr.device), self.indptr.diff())
        dense[rows, self.indices] = self.values
        return dense
