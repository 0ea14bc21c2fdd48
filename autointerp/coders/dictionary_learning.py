"""Coders written by dictionary_learning (2023–2025): ``config.json`` + ``ae.pt``."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from autointerp.coders.coder import SparseCoder, fold_gate
from autointerp.coders.tensors import Tensors, setting
from autointerp.errors import FormatError
from autointerp.files import read_json

CONFIG, WEIGHTS = "config.json", "ae.pt"


def read(folder: Path) -> SparseCoder:
    """Read any of the library's dictionary classes; the pickle is opened for tensors only.

    Raises
    ------
    FormatError : an unknown ``dict_class``, a resume backup, or tensors that contradict the class.
    """
    trainer = read_json(folder / CONFIG).get("trainer") or {}
    parts = setting(folder / CONFIG, trainer, "dict_class", CLASSES)
    tensors = _open(folder / WEIGHTS)
    coder = SparseCoder(**parts(tensors), metadata={"format": "dictionary_learning", "source": trainer})
    tensors.drop("k", "threshold", "group_sizes")
    tensors.done()
    return coder


def _open(path: Path) -> Tensors:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise FormatError(path, "a torch file of tensors only", str(error).splitlines()[0]) from None
    if not isinstance(state, dict) or "ae" in state:
        raise FormatError(
            path, "final weights", "a training backup, whose activations may be scaled by its norm_factor"
        )
    return Tensors(path, state)


def _linear(tensors: Tensors, bias: str = "b_dec") -> dict[str, Any]:
    """Encoder and decoder as ``nn.Linear`` stores them: (out, in)."""
    b_enc, b_dec = tensors.take("encoder.bias"), tensors.take(bias)
    m, d = len(b_enc), len(b_dec)
    encoder, decoder = tensors.matrix("encoder.weight", m, d), tensors.matrix("decoder.weight", d, m).T
    return {"architecture": "relu", "encoder": encoder, "b_enc": b_enc, "decoder": decoder, "b_dec": b_dec}


def _plain(tensors: Tensors) -> dict[str, Any]:
    """Encoder (d, m) and decoder (m, d), called ``W_enc`` and ``W_dec``."""
    b_enc, b_dec = tensors.take("b_enc"), tensors.take("b_dec")
    m, d = len(b_enc), len(b_dec)
    encoder, decoder = tensors.matrix("W_enc", d, m).T, tensors.matrix("W_dec", m, d)
    return {"architecture": "relu", "encoder": encoder, "b_enc": b_enc, "decoder": decoder, "b_dec": b_dec}


def _topk(tensors: Tensors) -> dict[str, Any]:
    return _linear(tensors) | {"architecture": "topk", "k": int(tensors.take("k"))}


def _thresholded(parts: dict[str, Any], tensors: Tensors) -> dict[str, Any]:
    """BatchTopK at inference: one threshold for all features; −1 says that training never set it."""
    threshold = tensors.take("threshold")
    if threshold.ndim == 0 and threshold < 0:
        return parts
    return parts | {"architecture": "jumprelu", "threshold": threshold.expand(len(parts["b_enc"]))}


def _gated(tensors: Tensors) -> dict[str, Any]:
    b_dec, b_mag = tensors.take("decoder_bias"), tensors.take("mag_bias")
    encoder = tensors.matrix("encoder.weight", len(b_mag), len(b_dec))
    encoder, b_enc, threshold = fold_gate(encoder, tensors.take("gate_bias"), tensors.take("r_mag"), b_mag)
    decoder = tensors.matrix("decoder.weight", len(b_dec), len(b_mag)).T
    parts = {"encoder": encoder, "b_enc": b_enc, "threshold": threshold, "decoder": decoder, "b_dec": b_dec}
    return parts | {"architecture": "gated"}


CLASSES: dict[str, Callable[[Tensors], dict[str, Any]]] = {
    "AutoEncoder": lambda t: _linear(t, "bias"),
    "AutoEncoderNew": lambda t: _linear(t, "decoder.bias") | {"subtract_b_dec": False},
    "GatedAutoEncoder": _gated,
    "AutoEncoderTopK": _topk,
    "BatchTopKSAE": lambda t: _thresholded(_linear(t), t),
    "MatryoshkaBatchTopKSAE": lambda t: _thresholded(_plain(t), t),
    "JumpReluAutoEncoder": lambda t: _thresholded(_plain(t), t) | {"subtract_b_dec": False},
}
"""The library's classes; each function takes a file's tensors and returns the parts of a coder."""
