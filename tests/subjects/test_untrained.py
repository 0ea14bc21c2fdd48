"""Untrained subjects: fair-esm's and transformers' own initialisation, seeded, with everything else as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from autointerp.errors import UsageError
from autointerp.subjects import load_subject
from tests.doubles import FakeSubject


def test_esm2_is_initialised_as_fair_esm_does_it() -> None:
    from esm.model.esm2 import ESM2

    subject: Any = load_subject("planted-esm?random=5")
    base: Any = load_subject("planted-esm")
    torch.manual_seed(0)
    heads = base.model.layers[0].self_attn.n_heads
    reference = dict(ESM2(base.n_layers, base.d_model, heads).named_parameters())
    for name, parameter in subject.model.named_parameters():
        expected = reference[name].detach()
        assert parameter.shape == expected.shape
        if expected.std() == 0:  # LayerNorms, and biases that begin at zero
            assert torch.equal(parameter, expected), name
        else:
            spread = 4 / expected.numel() ** 0.5  # of a sample's deviation: two draws of one distribution
            assert parameter.std() / expected.std() == pytest.approx(1, abs=max(spread, 0.02)), name
            assert abs(parameter).max() / abs(expected).max() == pytest.approx(1, abs=0.35), name


def test_the_seed_decides_and_the_rest_stays() -> None:
    base = load_subject("planted-esm", context_length=30)
    before = torch.random.get_rng_state()
    one, same, other = (load_subject(f"planted-esm?random={seed}", context_length=30) for seed in (1, 1, 2))
    assert torch.equal(before, torch.random.get_rng_state())
    assert one.digest == same.digest
    assert len({one.digest, other.digest, base.digest}) == 3
    assert (one.name, one.context_length, one.kind) == ("planted-esm?random=1", 30, "protein")
    ids = [np.arange(4, 20)]
    states = [s.states(ids, ["layer:2"])["layer:2"] for s in (one, same, other)]
    assert torch.equal(states[0], states[1])
    assert not torch.allclose(states[0], states[2])


def test_a_hugging_face_model_is_initialised_by_its_class(data: Path) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    folder = data / "models/stories260K"
    subject: Any = load_subject(f"{folder}?random=7")
    torch.manual_seed(7)
    expected = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder)).float()
    for (name, a), b in zip(subject.model.named_parameters(), expected.parameters(), strict=True):
        assert torch.equal(a, b), name
    assert subject.digest != load_subject(folder).digest


def test_what_cannot_be_untrained() -> None:
    from autointerp.subjects.untrained import untrained

    with pytest.raises(UsageError, match="a plug-in"):
        untrained(FakeSubject(), 0)
    for name in ("planted-esm?random=", "planted-esm?random=x"):
        with pytest.raises(UsageError, match="whole number"):
            load_subject(name)
