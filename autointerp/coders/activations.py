"""Activations: from pre-activations, made chunk by chunk, to the few that are kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

CHUNK_BYTES = {"cpu": 1 << 24}  # measured: 8–16 MB is fastest on CPU, where pages are touched for the first time
CHUNK_BYTES_ELSEWHERE = 1 << 26


@dataclass(slots=True)
class Kept:
    """What an activation keeps: (n,) counts, then features and values, token by token."""

    counts: Tensor
    indices: Tensor
    values: Tensor
    top_indices: Tensor | None = None
    top_values: Tensor | None = None


def top_k(pre: Tensor, k: int) -> Kept:
    """Keep the k largest of ReLU(pre) in each row of (n, n_features); fewer where fewer are positive."""
    values, indices = pre.topk(k, dim=1, sorted=False)
    values.clamp_(min=0)
    active = values > 0
    return Kept(active.sum(1), indices[active], values[active], indices, values)


def above(pre: Tensor, floor: Tensor | float) -> Kept:
    """Keep ``pre`` where it exceeds ``floor`` (0, or (n_features,) thresholds ≥ 0): ReLU and JumpReLU."""
    n, n_features = pre.shape
    flat = (pre > floor).view(-1).nonzero().squeeze(1)
    rows = flat.div(n_features, rounding_mode="floor")
    return Kept(torch.bincount(rows, minlength=n), flat - rows * n_features, pre.view(-1)[flat])


def encode_chunks(x: Tensor, weight: Tensor, bias: Tensor, keep: Callable[[Tensor], Kept]) -> Kept:
    """``keep(x @ weight.T + bias)`` for x (n, d_in) and weight (n_features, d_in), without all of it at one time.

    No more than a chunk of the dense pre-activations exists at once.
    """
    rows = max(1, CHUNK_BYTES.get(x.device.type, CHUNK_BYTES_ELSEWHERE) // (len(weight) * weight.element_size()))
    buffer = x.new_empty(min(rows, len(x)), len(weight))
    parts = [keep(torch.addmm(bias, chunk, weight.T, out=buffer[: len(chunk)])) for chunk in x.split(rows)]
    if len(parts) == 1:
        return parts[0]
    columns: list[Any] = [[getattr(part, name) for part in parts] for name in Kept.__slots__]
    return Kept(*(torch.cat(column) if column[0] is not None else None for column in columns))
