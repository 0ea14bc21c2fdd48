"""The sparse coder: one class for every architecture, made of data rather than of subclasses."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from autointerp.coders.activations import above, encode_chunks, top_k
from autointerp.coders.codes import Codes
from autointerp.errors import UsageError, nearest

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16, "float64": torch.float64}
NORMS = ("none", "norm", "layer_norm")


@dataclass(frozen=True, eq=False)
class SparseCoder:
    """A sparse autoencoder or transcoder: ``decode(encode(x))``.

    ``pre = (norm(x) − b_dec) @ encoder.T + b_enc``, without ``b_dec`` if not ``subtract_b_dec``. The codes are the k
    largest of ReLU(pre) if ``k`` is given, else ReLU(pre), zeroed where pre ≤ ``threshold`` if there is one. The
    reconstruction is ``codes @ decoder + b_dec``, with the norm undone and ``x @ skip.T`` added.

    Attributes
    ----------
    encoder : (n_features, d_in). b_enc : (n_features,). decoder : (n_features, d_out). b_dec : (d_out,).
    threshold : (n_features,) or None. skip : (d_out, d_in) or None.
    architecture : ``relu``, ``topk``, ``jumprelu``, or ``gated`` (a gate is a threshold: :func:`fold_gate`).
    input_norm : ``none``, ``norm`` (scale each input to length √d_in) or ``layer_norm`` (standardise each input).
    digest : 32 hex digits over the float32 tensors and the settings that change the codes.
    metadata : what the checkpoint says of its training: ``subject``, ``subject_digest``, ``hook``, ``level``, …
    """

    architecture: str
    encoder: Tensor
    b_enc: Tensor
    decoder: Tensor
    b_dec: Tensor
    threshold: Tensor | None = None
    skip: Tensor | None = None
    k: int | None = None
    subtract_b_dec: bool = True
    input_norm: str = "none"
    metadata: Mapping[str, Any] = field(default_factory=dict)
    digest: str = ""

    def __post_init__(self) -> None:
        m, (d_in, d_out) = self.n_features, (self.d_in, self.d_out)
        expected = {"b_enc": (m,), "decoder": (m, d_out), "b_dec": (d_out,), "threshold": (m,), "skip": (d_out, d_in)}
        for name, shape in expected.items():
            if (tensor := getattr(self, name)) is not None and tuple(tensor.shape) != shape:
                raise UsageError(
                    f"coder: {name} is {tuple(tensor.shape)}, with an encoder of {m} × {d_in} it is {shape}"
                )
        if self.k is not None and not 1 <= self.k <= m:
            raise UsageError(f"coder: k is {self.k}; valid is 1 to n_features = {m}")
        if self.subtract_b_dec and d_in != d_out:
            raise UsageError(f"coder: b_dec of {d_out} cannot be subtracted from inputs of {d_in}")
        if self.input_norm not in NORMS:
            raise UsageError(f"coder: unknown input_norm {self.input_norm!r}; {nearest(self.input_norm, NORMS)}")
        if not self.digest:
            object.__setattr__(self, "digest", _digest(self))

    @property
    def d_in(self) -> int:
        """Width of the inputs."""
        return self.encoder.shape[1]

    @property
    def d_out(self) -> int:
        """Width of the reconstructions."""
        return self.decoder.shape[1]

    @property
    def n_features(self) -> int:
        """Number of features."""
        return self.encoder.shape[0]

    def tensors(self) -> dict[str, Tensor]:
        """The coder's tensors by name."""
        names = ("encoder", "b_enc", "decoder", "b_dec", "threshold", "skip")
        return {name: t for name in names if (t := getattr(self, name)) is not None}

    def to(self, device: str | torch.device = "cpu", dtype: str = "float32") -> SparseCoder:
        """The coder on ``device`` in ``dtype``, with the same digest."""
        if dtype not in DTYPES:
            raise UsageError(f"unknown dtype {dtype!r}; {nearest(dtype, DTYPES)}")
        moved = {name: tensor.to(device, DTYPES[dtype]).contiguous() for name, tensor in self.tensors().items()}
        return SparseCoder(**{**self.__dict__, **moved})

    @torch.no_grad()
    def encode(self, x: Tensor) -> Codes:
        """Sparse codes of ``x`` (n, d_in); the dense pre-activations never exist for more than a chunk of rows."""
        x = self._normalise(x)[0]
        if self.subtract_b_dec:  # here and not folded into the bias: it keeps the digits of inputs far from zero
            x = x - self.b_dec
        if self.k is not None:
            top = encode_chunks(x, self.encoder, self.b_enc, partial(top_k, k=self.k))
            active = top[1] > 0
            return Codes(_indptr(active.sum(1)), top[0][active], top[1][active], self.n_features, *top)
        floor = 0.0 if self.threshold is None else self.threshold.clamp(min=0)  # ReLU and threshold in one comparison
        counts, indices, values = encode_chunks(x, self.encoder, self.b_enc, partial(above, floor=floor))
        return Codes(_indptr(counts), indices, values, self.n_features)

    @torch.no_grad()
    def decode(self, codes: Codes) -> Tensor:
        """Reconstruction (n, d_out) from codes alone, in the space that the decoder writes to."""
        summed = F.embedding_bag(
            codes.indices,
            self.decoder,
            codes.indptr,
            per_sample_weights=codes.values,
            mode="sum",
            include_last_offset=True,
        )
        return summed + self.b_dec

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """Full forward (n, d_out): input normalisation undone on the output, skip connection added."""
        _, shift, scale = self._normalise(x)
        out = self.decode(self.encode(x)) * scale + shift
        return out if self.skip is None else out + x.to(self.skip) @ self.skip.T

    def _normalise(self, x: Tensor) -> tuple[Tensor, Tensor | float, Tensor | float]:
        """Inputs as the encoder wants them, and the shift and scale that undo it on outputs."""
        if x.ndim != 2 or x.shape[1] != self.d_in:
            raise UsageError(f"x is {tuple(x.shape)}; this coder reads (n, {self.d_in})")
        x = x.to(self.encoder)
        if self.input_norm == "norm":
            scale = (x.norm(dim=1, keepdim=True) / self.d_in**0.5).clamp(min=1e-12)
            return x / scale, 0.0, scale
        if self.input_norm == "layer_norm":  # as SAELens: unbiased deviation, epsilon on the way in only
            shift = x.mean(dim=1, keepdim=True)
            scale = x.std(dim=1, keepdim=True)
            return (x - shift) / (scale + 1e-5), shift, scale
        return x, 0.0, 1.0


def fold_gate(encoder: Tensor, b_gate: Tensor, r_mag: Tensor, b_mag: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A gated encoder as (encoder, b_enc, threshold) of a JumpReLU one, exactly equal at inference.

    With u = exp(r_mag) · (x @ encoder.T), the gate u > −exp(r_mag) · b_gate is pre > b_mag − exp(r_mag) · b_gate for
    pre = u + b_mag (Rajamanoharan et al. 2024, arXiv:2404.16014, appendix H).
    """
    scale = r_mag.exp()
    return encoder * scale[:, None], b_mag, b_mag - scale * b_gate


def _indptr(counts: Tensor) -> Tensor:
    return F.pad(counts.cumsum(0), (1, 0))


def _digest(coder: SparseCoder) -> str:
    """BLAKE2b-128 over everything that changes the codes or the reconstruction."""
    state = hashlib.blake2b(digest_size=16)
    state.update(repr((coder.k, coder.subtract_b_dec, coder.input_norm)).encode())
    for name, tensor in sorted(coder.tensors().items()):
        state.update(f"{name}{tuple(tensor.shape)}".encode())
        state.update(tensor.detach().float().cpu().contiguous().numpy().data)
    return state.hexdigest()
