"""The TopK autoencoder in training: parameters, sparse gradients, losses, the unit-norm decoder."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from autointerp.coders.activations import encode_chunks, top_k

MAX_DEAD = 4096  # dead features that the auxiliary loss looks at in one step: bounds its cost
TINY = 1e-12  # keeps a batch without variance from dividing by zero


@dataclass
class TopK:
    """Parameters, as in :class:`autointerp.coders.SparseCoder`: encoder and decoder are (n_features, d)."""

    encoder: Tensor
    b_enc: Tensor
    decoder: Tensor
    b_dec: Tensor

    @classmethod
    def initial(cls, first: Tensor, n_features: int, seed: int) -> TopK:
        """Random unit decoder rows, the encoder their copy, ``b_dec`` the mean of the first batch (n, d)."""
        generator = torch.Generator().manual_seed(seed)
        decoder = F.normalize(torch.randn(n_features, first.shape[1], generator=generator), dim=1).to(first)
        return cls(decoder.clone(), first.new_zeros(n_features), decoder, first.mean(0)).requiring()

    def requiring(self) -> TopK:
        """The same parameters, ready to receive gradients."""
        return TopK(**{name: tensor.requires_grad_() for name, tensor in vars(self).items()})

    @torch.no_grad()
    def project_gradient(self) -> None:
        """Remove from the decoder's gradient the part along each row, which only changes its length."""
        gradient = self.decoder.grad
        assert gradient is not None
        gradient -= (gradient * self.decoder).sum(1, keepdim=True) * self.decoder

    @torch.no_grad()
    def normalise(self) -> None:
        """Give each decoder row unit length."""
        self.decoder /= self.decoder.norm(dim=1, keepdim=True)


def losses(model: TopK, x: Tensor, k: int, dead: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Fraction of variance unexplained, auxiliary loss, and which features fired, for a batch ``x`` (n, d).

    The first is Σ‖x − x̂‖² / Σ‖x − x̄‖², free of the scale of x. ``dead`` holds indices of dead features.
    """
    out, indices, values = _Autoencode.apply(x, model.encoder, model.b_enc, model.decoder, model.b_dec, k)
    residual = x - out
    unexplained = residual.square().sum() / (x - x.mean(0)).square().sum().clamp(min=TINY)
    auxiliary = aux_loss(model, x, residual.detach(), dead) if len(dead) else unexplained.new_zeros(())
    return unexplained, auxiliary, indices[values > 0]


def aux_loss(model: TopK, x: Tensor, residual: Tensor, dead: Tensor) -> Tensor:
    """How badly the d/2 strongest dead features explain the residual: Σ‖e − ê‖² / Σ‖e − ē‖².

    The residual is detached and ê has no bias, so the gradient reaches the dead features alone (Gao et al. 2024,
    arXiv:2406.04093, appendix A.2). The dead are few: dense products on their rows are cheapest.
    """
    pre = torch.addmm(model.b_enc[dead], (x - model.b_dec).detach(), model.encoder[dead].T)
    values, indices = pre.topk(min(x.shape[1] // 2, len(dead)), dim=1, sorted=False)
    codes = torch.zeros_like(pre).scatter(1, indices, values.relu())
    error = residual - codes @ model.decoder[dead]
    return error.square().sum() / (residual - residual.mean(0)).square().sum().clamp(min=TINY)


class _Autoencode(torch.autograd.Function):
    """x̂ of a TopK autoencoder, whose gradients touch only the k active features of each token."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, x: Tensor, encoder: Tensor, b_enc: Tensor, decoder: Tensor, b_dec: Tensor, k: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        centred = x - b_dec
        indices, values = encode_chunks(centred, encoder, b_enc, partial(top_k, k=k))
        ctx.save_for_backward(centred, encoder, decoder, indices, values)
        ctx.mark_non_differentiable(indices, values)
        return F.embedding_bag(indices, decoder, per_sample_weights=values, mode="sum") + b_dec, indices, values

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        centred, encoder, decoder, indices, values = ctx.saved_tensors
        n, k = indices.shape
        flat, tokens = indices.flatten(), torch.arange(n, device=indices.device)
        d_values = torch.ops.aten._embedding_bag_per_sample_weights_backward(
            gradient, decoder, flat, tokens * k, tokens.repeat_interleave(k), 0
        )
        d_values = d_values * (values.flatten() > 0)
        # Feature by feature, both weight gradients are weighted sums of token rows: an embedding bag each.
        order = flat.argsort(stable=True)
        bags = F.pad(torch.bincount(flat, minlength=len(encoder)).cumsum(0), (1, 0))
        by_feature = partial(F.embedding_bag, order // k, offsets=bags, mode="sum", include_last_offset=True)
        d_encoder = by_feature(centred, per_sample_weights=d_values[order])
        d_decoder = by_feature(gradient, per_sample_weights=values.flatten()[order])
        d_b_enc = torch.zeros_like(encoder[:, 0]).index_add_(0, flat, d_values)
        d_b_dec = gradient.sum(0) - d_b_enc @ encoder  # through the output, and through x − b_dec
        return None, d_encoder, d_b_enc, d_decoder, d_b_dec, None
