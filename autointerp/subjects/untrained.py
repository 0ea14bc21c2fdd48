"""Randomly initialised subjects: the control for what a coder finds in an architecture that has learned nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from autointerp.errors import UsageError
from autointerp.subjects.esm2 import ESM2, PAD
from autointerp.subjects.model import ModelSubject, digest_weights
from autointerp.subjects.protocol import Subject


def untrained(subject: Subject, seed: int) -> ModelSubject:
    """``subject`` with the weights that its architecture starts training from; tokens, hooks and limits stay.

    ESM-2 is initialised as fair-esm does it, a Hugging Face model as its own class does it.

    Raises
    ------
    UsageError : a plug-in, whose initialisation is not known.
    """
    if not isinstance(subject, ModelSubject):
        raise UsageError(f"subject {subject.name!r} is a plug-in: only ESM-2 and Hugging Face models can be untrained")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = _fresh(subject.model)
    digest = digest_weights(fresh.named_parameters(), {"untrained": seed, "class": type(fresh).__name__})
    old = next(subject.model.parameters())
    return replace(
        subject,
        name=f"{subject.name}?random={seed}",
        digest=digest,
        model=fresh.to(old.device, old.dtype).eval().requires_grad_(False),
    )


def _fresh(model: Any) -> nn.Module:
    if not isinstance(model, ESM2):
        return type(model)(model.config).float()
    first: Any = model.layers[0]
    fresh = ESM2(len(model.layers), model.embed_tokens.embedding_dim, first.self_attn.n_heads, model.scale != 1)
    with torch.no_grad():
        fresh.embed_tokens.weight[PAD] = 0
    layer: Any
    for layer in fresh.layers:
        attention = layer.self_attn
        for projection in (attention.q_proj, attention.k_proj, attention.v_proj):
            nn.init.xavier_uniform_(projection.weight, gain=2**-0.5)
        nn.init.xavier_uniform_(attention.out_proj.weight)
        nn.init.zeros_(attention.out_proj.bias)
    return fresh
