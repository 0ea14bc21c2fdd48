"""Hook names resolve to the right place, and the forward pass stops there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from autointerp.errors import UsageError
from autointerp.subjects import Hook, load_subject
from autointerp.subjects.model import ModelSubject

IDS = [np.arange(4, 20), np.arange(6, 11)]


@pytest.fixture
def subject(checkpoint: Path) -> ModelSubject:
    loaded = load_subject(checkpoint)
    assert isinstance(loaded, ModelSubject)
    return loaded


@pytest.mark.parametrize(
    ("name", "hook"),
    [
        ("layer:0", Hook("layer:0", 24, 0)),
        ("layer:2", Hook("layer:2", 24, 2)),
        ("layer:2.raw", Hook("layer:2", 24, 2)),
        ("layer:-1", Hook("layer:3", 24, 3)),
        ("layer:-1.raw", Hook("layer:3.raw", 24, 3)),
        ("layer:-4", Hook("layer:0", 24, 0)),
        ("blocks.0.hook_resid_pre", Hook("layer:0", 24, 0)),
        ("blocks.1.hook_resid_post", Hook("layer:2", 24, 2)),
        ("blocks.2.hook_resid_post", Hook("layer:3.raw", 24, 3)),
        ("blocks.-1.hook_resid_pre", Hook("layer:2", 24, 2)),
        ("blocks.1.hook_attn_out", Hook("layers.1.self_attn", 24, 2)),
        ("blocks.1.hook_mlp_out", Hook("layers.1.fc2", 24, 2)),
        ("layers.0.fc1", Hook("layers.0.fc1", 96, 1)),
        ("layers.1", Hook("layer:2", 24, 2)),
        ("emb_layer_norm_after", Hook("layer:3", 24, 3)),
        ("lm_head.dense", Hook("lm_head.dense", 24, None)),
    ],
)
def test_names_of_places(subject: ModelSubject, name: str, hook: Hook) -> None:
    assert subject.hook(name) == hook
    states = subject.states(IDS, [name, hook.name])
    assert states[name].shape == (21, hook.d)
    assert torch.equal(states[name], states[hook.name])


def test_the_residual_stream_adds_up(subject: ModelSubject) -> None:
    names = [f"blocks.2.hook_{part}" for part in ("resid_pre", "attn_out", "mlp_out", "resid_post")]
    before, attention, mlp, after = (subject.states(IDS, names)[n] for n in names)
    torch.testing.assert_close(before + attention + mlp, after)
    normed = subject.model.emb_layer_norm_after(after)
    torch.testing.assert_close(normed, subject.states(IDS, ["layer:3"])["layer:3"])
    assert not torch.allclose(after, normed)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("layer:4", "layer:3"),
        ("layer:-5", "layer:"),
        ("layer3", "near: layer:3"),
        ("blocks.3.hook_resid_post", "blocks.2.hook_resid_post"),
        ("blocks.0.hook_mlp_oot", "blocks.0.hook_mlp_out"),
        ("layers.0.fc3", "layers.0.fc2"),
        ("", "valid: layer:0 … layer:3"),
    ],
)
def test_unknown_names_list_the_near_ones(subject: ModelSubject, name: str, near: str) -> None:
    with pytest.raises(UsageError) as error:
        subject.hook(name)
    assert near in str(error.value)
    assert "valid: layer:0 … layer:3, layer:3.raw" in str(error.value)


def test_no_hook_and_modules_without_states_are_refused(subject: ModelSubject) -> None:
    with pytest.raises(UsageError, match="no hook"):
        subject.states(IDS, [])
    with pytest.raises(UsageError, match="does not run"):
        subject.hook("layers")


@pytest.mark.parametrize(
    ("hook", "unused", "further"),
    [
        ("layer:0", ["layers.0.self_attn_layer_norm", "layers.1", "layers.2"], "layer:1"),
        ("layer:1", ["layers.1", "layers.2"], "layer:2"),
        ("blocks.1.hook_resid_pre", ["layers.1", "layers.2"], "blocks.1.hook_resid_post"),
        ("layers.1.fc1", ["layers.1.fc2", "layers.2"], "layers.1.fc2"),
        ("layer:3.raw", ["emb_layer_norm_after", "lm_head"], "layer:3"),
        ("layer:3", ["lm_head"], "lm_head"),
    ],
)
def test_nothing_runs_after_the_last_hook(subject: ModelSubject, hook: str, unused: list[str], further: str) -> None:
    for name in (hook, "layer:0", further):
        subject.hook(name)

    def fail(*_: Any) -> None:
        raise AssertionError("ran past the last hook")

    for name in unused:
        subject.model.get_submodule(name).register_forward_pre_hook(fail)
    assert subject.states(IDS, [hook, "layer:0"])[hook].shape[0] == 21
    with pytest.raises(AssertionError, match="ran past"):
        subject.states(IDS, [hook, further])


def test_hooks_are_removed_after_use(subject: ModelSubject) -> None:
    subject.states(IDS, ["layer:1", "layer:3"])
    with pytest.raises(UsageError):
        subject.hook("layers")
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in subject.model.modules())


def test_states_can_train_a_coder(subject: ModelSubject) -> None:
    x = subject.states(IDS, ["layer:2"])["layer:2"]
    layer = torch.nn.Linear(24, 8)
    layer(x).square().sum().backward()
    assert layer.weight.grad is not None
    assert not x.is_inference()
