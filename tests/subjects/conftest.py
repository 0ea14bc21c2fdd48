"""A random ESM-2 by fair-esm itself, and its checkpoint in the official layout."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

RESIDUES = "ACDEFGHIKLMNPQRSTVWY"


@pytest.fixture(scope="session")
def reference() -> Any:
    """fair-esm's own ESM2: 3 layers, 24 wide, 3 heads, all parameters random (LayerNorms too)."""
    import torch
    from esm.model.esm2 import ESM2

    torch.manual_seed(0)
    model = ESM2(num_layers=3, embed_dim=24, attention_heads=3).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


@pytest.fixture(scope="session")
def checkpoint(reference: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model in the layout of the official files, without a contact regression beside it."""
    path = tmp_path_factory.mktemp("esm") / "esm2_t3_random.pt"
    write_checkpoint(path, reference)
    return path


def write_checkpoint(path: Path, model: Any) -> None:
    """Write a fair-esm model as the official files are laid out: prefixed names, an ``argparse.Namespace``."""
    import torch

    facts = Namespace(
        encoder_layers=model.num_layers,
        encoder_embed_dim=model.embed_dim,
        encoder_attention_heads=model.attention_heads,
        token_dropout=model.token_dropout,
    )
    state = {k: v for k, v in model.state_dict().items() if not k.startswith("contact_head")}
    named = {("encoder." if k.startswith("lm_head") else "encoder.sentence_encoder.") + k: v for k, v in state.items()}
    torch.save({"cfg": {"model": facts}, "model": named}, path)


@pytest.fixture
def proteins() -> list[str]:
    """Sequences of different lengths, one of them a single residue."""
    rng = np.random.default_rng(1)
    return ["".join(rng.choice(list(RESIDUES), n)) for n in (17, 40, 1, 33, 40)]
