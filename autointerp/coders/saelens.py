"""Coders in the format of SAELens 6: ``cfg.json`` + ``sae_weights.safetensors``, read and written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autointerp.coders.coder import SparseCoder, fold_gate
from autointerp.coders.tensors import Tensors, setting
from autointerp.errors import FormatError, UsageError
from autointerp.files import read_json, write_json, write_tensors

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
ARCHITECTURES = {
    "standard": "relu",
    "topk": "topk",
    "jumprelu": "jumprelu",
    "gated": "gated",
    "transcoder": "relu",
    "skip_transcoder": "relu",
    "jumprelu_transcoder": "jumprelu",
    "jumprelu_skip_transcoder": "jumprelu",
}
NORMS = {None: "none", "none": "none", "constant_norm_rescale": "norm", "layer_norm": "layer_norm"}
WRITTEN_VERSION = "6.0.0"  # SAELens treats a file that names no version from 6 on as its old flat format


def read(folder: Path) -> SparseCoder:
    """Read an inference checkpoint; decoder norms that its TopK selects by are folded into the encoder.

    Raises
    ------
    FormatError : another architecture or normalisation, or tensors that contradict the configuration.
    """
    path = folder / CONFIG
    config = read_json(path)
    architecture = setting(path, config, "architecture", ARCHITECTURES)
    norm = setting(path, config, "normalize_activations", NORMS)
    tensors = Tensors.safe(folder / WEIGHTS)
    b_dec, decoder = tensors.take("b_dec"), tensors.matrix("W_dec", config.get("d_sae"), config.get("d_out"))
    m = len(decoder)
    encoder = tensors.matrix("W_enc", config.get("d_in"), m).T
    threshold = tensors.take("threshold") if architecture == "jumprelu" else None
    if architecture == "gated":
        gate = (tensors.take(name) for name in ("b_gate", "r_mag", "b_mag"))
        encoder, b_enc, threshold = fold_gate(encoder, *gate)
    else:
        b_enc = tensors.take("b_enc")
    if architecture == "topk" and config.get("rescale_acts_by_decoder_norm"):
        norms = decoder.norm(dim=1)
        encoder, b_enc, decoder = encoder * norms[:, None], b_enc * norms, decoder / norms[:, None]
    coder = SparseCoder(
        architecture=architecture,
        encoder=encoder,
        b_enc=b_enc,
        decoder=decoder,
        b_dec=b_dec,
        threshold=threshold,
        skip=tensors.take("W_skip") if "skip" in config["architecture"] else None,
        k=_k(path, config) if architecture == "topk" else None,
        subtract_b_dec="transcoder" not in config["architecture"] and bool(config.get("apply_b_dec_to_input", True)),
        input_norm=norm,
        metadata=_metadata(config),
    )
    tensors.done()
    return coder


def write(coder: SparseCoder, folder: Path) -> None:
    """Write ``coder`` for SAELens.

    Raises
    ------
    UsageError : SAELens has no such architecture (a TopK transcoder).
    """
    kind = "topk" if coder.k is not None else "standard" if coder.threshold is None else "jumprelu"
    if coder.skip is not None or coder.d_in != coder.d_out:
        if kind == "topk" or coder.subtract_b_dec:
            raise UsageError(f"SAELens has no {kind} transcoder with these parts; it cannot be written in its format")
        prefix = {"standard": "", "jumprelu": "jumprelu_"}[kind]
        kind = f"{prefix}{'' if coder.skip is None else 'skip_'}transcoder"
    names = {name: next(k for k, v in NORMS.items() if k and v == name) for name in NORMS.values()}
    known = coder.metadata
    config: dict[str, Any] = {
        "architecture": kind,
        "d_in": coder.d_in,
        "d_sae": coder.n_features,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": coder.subtract_b_dec,
        "normalize_activations": names[coder.input_norm],
        "reshape_activations": "none",
        "metadata": {
            "sae_lens_version": WRITTEN_VERSION,
            "model_name": known.get("subject"),
            "hook_name": known.get("hook"),
        },
    }
    if kind == "topk":
        config |= {"k": coder.k, "rescale_acts_by_decoder_norm": False}
    if "transcoder" in kind:
        config["d_out"] = coder.d_out
    tensors = {
        "W_enc": coder.encoder.T,
        "b_enc": coder.b_enc,
        "W_dec": coder.decoder,
        "b_dec": coder.b_dec,
        "threshold": coder.threshold,
        "W_skip": coder.skip,
    }
    arrays = {name: t.detach().float().cpu().numpy() for name, t in tensors.items() if t is not None}
    write_tensors(folder / WEIGHTS, arrays)
    write_json(folder / CONFIG, config)


def _k(path: Path, config: dict[str, Any]) -> int:
    if not isinstance(config.get("k"), int):
        raise FormatError(path, "k, an integer, for a topk coder", repr(config.get("k")))
    return config["k"]


def _metadata(config: dict[str, Any]) -> dict[str, Any]:
    """What SAELens says of the training; a hook is taken over only where its name means the same to everyone."""
    source = config.get("metadata") or {}
    metadata = {"format": "SAELens", "subject": source.get("model_name"), "source": config}
    hook = source.get("hook_name") or ""
    return metadata | ({"hook": hook} if hook.startswith("blocks.") else {})
