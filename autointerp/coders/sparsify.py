"""Coders written by sparsify (EleutherAI, 1.x): ``cfg.json`` + ``sae.safetensors``."""

from __future__ import annotations

from pathlib import Path

from autointerp.coders.coder import SparseCoder
from autointerp.coders.tensors import Tensors, setting
from autointerp.errors import FormatError
from autointerp.files import read_json

CONFIG, WEIGHTS = "cfg.json", "sae.safetensors"


def read(folder: Path) -> SparseCoder:
    """Read a TopK autoencoder or (skip) transcoder.

    Raises
    ------
    FormatError : another activation (``groupmax``, signed), or tensors that contradict the configuration.
    """
    config = read_json(folder / CONFIG)
    setting(folder / CONFIG, {"activation": "topk", **config}, "activation", {"topk": "topk"})
    if config.get("signed"):
        raise FormatError(folder / CONFIG, "signed = false: features are never negative here", "signed = true")
    tensors = Tensors.safe(folder / WEIGHTS)
    b_enc, b_dec = tensors.take("encoder.bias"), tensors.take("b_dec")
    coder = SparseCoder(
        architecture="topk",
        encoder=tensors.matrix("encoder.weight", len(b_enc), config.get("d_in")),
        b_enc=b_enc,
        decoder=tensors.matrix("W_dec", len(b_enc), len(b_dec)),
        b_dec=b_dec,
        skip=tensors.matrix("W_skip", len(b_dec), config.get("d_in")) if "W_skip" in tensors else None,
        k=config.get("k", 32),
        subtract_b_dec=not config.get("transcode", False),
        metadata={"format": "sparsify", "source": config},
    )
    tensors.done()
    return coder
