"""ESM-2 with scaled-dot-product attention, on fair-esm's parameter names.

The architecture is that of Lin et al. 2023 (doi:10.1126/science.ade2574) as fair-esm 2.0 computes it; modules and
parameters carry fair-esm's names, so its checkpoints load as they are and module paths mean the same in both.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TOKENS = ("<cls>", "<pad>", "<eos>", "<unk>", *"LAGVSERTIDPKQNFYMHWCXBUZO.-", "<null_1>", "<mask>")
PAD = TOKENS.index("<pad>")
KEPT_IN_TRAINING = 1 - 0.15 * 0.8  # share of tokens not zeroed by masking; the embeddings are scaled to it


class Attention(nn.Module):
    """Self-attention with rotary positions."""

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.q_proj, self.k_proj = nn.Linear(d_model, d_model), nn.Linear(d_model, d_model)
        self.v_proj, self.out_proj = nn.Linear(d_model, d_model), nn.Linear(d_model, d_model)

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor], mask: Tensor | None) -> Tensor:
        """Attend; ``x`` (batch, length, d), ``mask`` (batch, 1, 1, length) True where there is a token."""
        q, k, v = (
            p(x).unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for p in (self.q_proj, self.k_proj, self.v_proj)
        )
        mixed = F.scaled_dot_product_attention(_rotate(q, *rotary), _rotate(k, *rotary), v, attn_mask=mask)
        return self.out_proj(mixed.transpose(1, 2).flatten(-2))


class Block(nn.Module):
    """One transformer block, normalised before each part."""

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.self_attn = Attention(d_model, n_heads)
        self.self_attn_layer_norm = nn.LayerNorm(d_model)
        self.fc1, self.fc2 = nn.Linear(d_model, 4 * d_model), nn.Linear(4 * d_model, d_model)
        self.final_layer_norm = nn.LayerNorm(d_model)

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor], mask: Tensor | None) -> Tensor:
        """Add attention and MLP to the residual stream ``x`` (batch, length, d)."""
        x = x + self.self_attn(self.self_attn_layer_norm(x), rotary, mask)
        return x + self.fc2(F.gelu(self.fc1(self.final_layer_norm(x))))


class Head(nn.Module):
    """The masked-token head, which reads out with the embedding matrix."""

    def __init__(self, d_model: int, n_tokens: int) -> None:
        super().__init__()
        self.dense, self.layer_norm = nn.Linear(d_model, d_model), nn.LayerNorm(d_model)
        self.bias = nn.Parameter(torch.zeros(n_tokens))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Logits (batch, length, n_tokens)."""
        return F.linear(self.layer_norm(F.gelu(self.dense(x))), embedding, self.bias)


class ESM2(nn.Module):
    """The model, for reading states: inputs hold no mask tokens, and nothing is dropped out.

    Parameters
    ----------
    inverse_frequencies : (d_model / n_heads / 2,) float32 of the rotary embedding. Checkpoints carry them, some
        rounded to half precision as in training; None computes them.
    """

    def __init__(
        self,
        n_layers: int,
        d_model: int,
        n_heads: int,
        token_dropout: bool = True,
        inverse_frequencies: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.scale = KEPT_IN_TRAINING if token_dropout else 1.0
        self.embed_tokens = nn.Embedding(len(TOKENS), d_model)
        self.layers = nn.ModuleList(Block(d_model, n_heads) for _ in range(n_layers))
        self.emb_layer_norm_after = nn.LayerNorm(d_model)
        self.lm_head = Head(d_model, len(TOKENS))
        if inverse_frequencies is None:
            d_head = d_model // n_heads
            inverse_frequencies = 10000.0 ** (-torch.arange(0, d_head, 2, device="cpu").float() / d_head)
        self.inverse_frequencies = (
            inverse_frequencies  # not a buffer: a cast of the model to bfloat16 must not round it
        )

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Logits (batch, length, 33) for ids and bool mask (batch, length); no mask when there is no padding."""
        x = self.embed_tokens(input_ids) * self.scale
        mask = None
        if attention_mask is not None:
            x = x * attention_mask[..., None]
            mask = attention_mask[:, None, None, :]
        rotary = self._rotary(x)
        for layer in self.layers:
            x = layer(x, rotary, mask)
        return self.lm_head(self.emb_layer_norm_after(x), self.embed_tokens.weight)

    def _rotary(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines (length, d_head / 2), computed in float32."""
        position = torch.arange(x.shape[1], device=x.device, dtype=torch.float32)
        angle = torch.outer(position, self.inverse_frequencies.to(x.device))
        return angle.cos().to(x.dtype), angle.sin().to(x.dtype)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate each pair (i, i + d/2) of the last axis (Su et al. 2021, arXiv:2104.09864)."""
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)
