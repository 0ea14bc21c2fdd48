"""ESM-2 from fair-esm's checkpoints: by name, from a file, or the tiny model of the package."""

from __future__ import annotations

import argparse
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from torch import Tensor

from autointerp.errors import AutointerpError, FormatError
from autointerp.subjects.esm2 import ESM2, PAD, TOKENS
from autointerp.subjects.framing import Frame, ProteinTokenizer
from autointerp.subjects.hooks import Layout
from autointerp.subjects.model import ModelSubject, digest_weights, pick_device, pick_dtype

URL = "https://dl.fbaipublicfiles.com/fair-esm/models/{}.pt"
CONTEXT_LENGTH = 1022  # ESM-2 was trained on crops of 1,024 tokens, CLS and EOS among them
PLANTED = Path(__file__).with_name("planted_esm.safetensors")
UNUSED = re.compile(
    r"contact_head\.|lm_head\.weight$|.*\.rot_emb\.inv_freq$"
)  # no contacts here; a tied copy; see ESM2
EXPECTED = "a fair-esm ESM-2 checkpoint"


def load_named(name: str, device: str, dtype: str) -> ModelSubject:
    """Load a published ESM-2; the first use downloads it to where fair-esm keeps it (torch.hub's checkpoints).

    Raises
    ------
    AutointerpError : it cannot be downloaded.
    """
    url = URL.format(name)
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            checkpoint = torch.hub.load_state_dict_from_url(url, map_location="cpu", progress=False, weights_only=True)
    except (URLError, ConnectionError, TimeoutError) as error:
        raise AutointerpError(
            f"cannot download {url} ({error}); put that file into {Path(torch.hub.get_dir(), 'checkpoints')} or give "
            "the path of a local .pt"
        ) from error
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise FormatError(
            Path(torch.hub.get_dir(), "checkpoints", f"{name}.pt"), EXPECTED, _first_line(error)
        ) from error
    return _from_checkpoint(name, name, checkpoint, device, dtype)


def load_file(path: Path, name: str, device: str, dtype: str) -> ModelSubject:
    """Load a checkpoint in fair-esm's layout. Nothing but tensors and ``argparse.Namespace`` is unpickled.

    The contact regression beside it is not needed: nothing here predicts contacts.

    Raises
    ------
    FormatError : not such a file.
    """
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise FormatError(path, EXPECTED, "no such file") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise FormatError(path, EXPECTED, _first_line(error)) from error
    return _from_checkpoint(name, path, checkpoint, device, dtype)


def load_planted(device: str, dtype: str) -> ModelSubject:
    """Load the package's own tiny ESM-2, trained on the planted-motif proteome."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(PLANTED, "pt") as file:
            facts = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
    except FileNotFoundError:
        raise FormatError(PLANTED, "the package's planted ESM-2", "no such file") from None
    except SafetensorError as error:
        raise FormatError(PLANTED, "the package's planted ESM-2", _first_line(error)) from error
    try:
        n_layers, d_model, n_heads = (int(facts[key]) for key in ("num_layers", "embed_dim", "attention_heads"))
    except (KeyError, ValueError) as error:
        raise FormatError(PLANTED, "num_layers, embed_dim, attention_heads in its metadata", str(facts)) from error
    dropout = facts.get("token_dropout", "true").lower() in ("true", "1")
    return _build("planted-esm", PLANTED, state, (n_layers, d_model, n_heads, dropout), device, dtype)


def _from_checkpoint(name: str, path: Any, checkpoint: Any, device: str, dtype: str) -> ModelSubject:
    try:
        facts, state = checkpoint["cfg"]["model"], checkpoint["model"]
        shape = (
            facts.encoder_layers, facts.encoder_embed_dim, facts.encoder_attention_heads, bool(facts.token_dropout)
        )  # fmt: skip
    except (KeyError, TypeError, AttributeError) as error:
        keys = ", ".join(checkpoint) if isinstance(checkpoint, dict) else type(checkpoint).__name__
        raise FormatError(path, f"{EXPECTED} (cfg.model and model)", f"{keys} (without {error})") from None
    state = {re.sub(r"^encoder\.(sentence_encoder\.)?", "", key): value for key, value in state.items()}
    return _build(name, path, state, shape, device, dtype)


def _build(
    name: str, path: Any, state: Mapping[str, Tensor], shape: tuple[int, int, int, bool], device: str, dtype: str
) -> ModelSubject:
    n_layers, d_model, n_heads, dropout = shape
    frequencies = [value.float() for key, value in state.items() if key.endswith(".rot_emb.inv_freq")]
    if any(not torch.equal(frequencies[0], other) for other in frequencies[1:]):
        raise FormatError(path, "one set of rotary frequencies for all layers", "different ones")
    weights = {key: value.float() for key, value in state.items() if not UNUSED.match(key)}
    target, precision = pick_device(device), pick_dtype(dtype)
    with torch.device("meta"):
        model = ESM2(n_layers, d_model, n_heads, dropout, frequencies[0] if frequencies else None)
    try:
        model.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        found = " ".join(str(error).split())
        raise FormatError(path, f"the weights of {n_layers} ESM-2 layers of width {d_model}", found[:300]) from None
    facts = {"architecture": "esm2", "n_layers": n_layers, "d_model": d_model, "n_heads": n_heads, "dropout": dropout}
    return ModelSubject(
        name=name,
        digest=digest_weights(weights.items(), facts),
        kind="protein",
        causal=False,
        n_layers=n_layers,
        d_model=d_model,
        vocab_size=len(TOKENS),
        context_length=CONTEXT_LENGTH,
        special_tokens={t.strip("<>"): i for i, t in enumerate(TOKENS) if len(t) > 1},
        layout=Layout(tuple(f"layers.{i}" for i in range(n_layers)), "emb_layer_norm_after"),
        frame=Frame((TOKENS.index("<cls>"),), (TOKENS.index("<eos>"),), PAD),
        tokenizer=ProteinTokenizer({token: i for i, token in enumerate(TOKENS)}),
        model=model.to(target, precision).eval().requires_grad_(False),
        packs=True,
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
