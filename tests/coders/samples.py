"""Small random coders, and the definition of their codes written out feature by feature."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from autointerp.coders import SparseCoder

N, D, M, K = 37, 8, 24, 3


def make(seed: int = 0, d_out: int = D, **parts: Any) -> SparseCoder:
    """A random coder."""
    g = torch.Generator().manual_seed(seed)
    tensors = {
        "encoder": torch.randn(M, D, generator=g),
        "b_enc": torch.randn(M, generator=g),
        "decoder": torch.randn(M, d_out, generator=g),
        "b_dec": torch.randn(d_out, generator=g),
    }
    return SparseCoder("any", **(tensors | parts))


def inputs(n: int = N) -> Tensor:
    return torch.randn(n, D, generator=torch.Generator().manual_seed(9)) * 3 + 1


def dense_codes(coder: SparseCoder, x: Tensor) -> Tensor:
    """The definition, feature by feature and token by token."""
    pre = (x - coder.b_dec if coder.subtract_b_dec else x) @ coder.encoder.T + coder.b_enc
    codes = torch.zeros_like(pre)
    for i, row in enumerate(pre):
        for j, value in enumerate(row.tolist()):
            above = coder.threshold is None or value > coder.threshold[j]
            rank = int((row > value).sum())
            if value > 0 and above and (coder.k is None or rank < coder.k):
                codes[i, j] = value
    return codes


CODERS = {
    "relu": make(),
    "relu without b_dec": make(subtract_b_dec=False),
    "topk": make(k=K),
    "topk of few positives": make(k=20, b_enc=torch.full((M,), -4.0)),
    "jumprelu": make(threshold=torch.linspace(-1, 3, M)),
    "wide": make(d_out=11, subtract_b_dec=False, k=K),
}
