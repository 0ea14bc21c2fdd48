"""Hugging Face models: states equal ``output_hidden_states``, and ESM equals fair-esm's checkpoint of its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM

from autointerp.errors import FormatError, UsageError
from autointerp.subjects import load_subject
from autointerp.subjects.framing import Frame
from autointerp.subjects.huggingface import find_layout
from autointerp.subjects.model import ModelSubject

SIZES = {"vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}
GPT2 = {"vocab_size": 60, "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 64}
GROUPED = {"num_key_value_heads": 2, "head_dim": 8}
FAMILIES: list[tuple[str, bool, dict[str, Any], tuple[str, str] | None]] = [
    ("gpt2", True, GPT2, ("attn", "mlp")),
    ("opt", True, SIZES | {"ffn_dim": 48, "word_embed_proj_dim": 16}, ("self_attn", "fc2")),
    ("gpt_neox", True, SIZES, ("attention", "mlp")),
    ("gemma2", True, SIZES | GROUPED, ("post_attention_layernorm", "post_feedforward_layernorm")),
    ("qwen3", True, SIZES | GROUPED, ("self_attn", "mlp")),
    ("bert", False, SIZES, None),
    ("roberta", False, SIZES, None),
    ("esm", False, SIZES | {"position_embedding_type": "rotary", "token_dropout": True, "mask_token_id": 3},
     ("attention.output.dense", "output.dense")),
]  # fmt: skip


@pytest.mark.parametrize(("family", "causal", "sizes", "parts"), FAMILIES, ids=[f[0] for f in FAMILIES])
def test_layers_of_many_families(
    family: str, causal: bool, sizes: dict[str, Any], parts: tuple[str, str] | None
) -> None:
    config = AutoConfig.for_model(family, **sizes, pad_token_id=1, bos_token_id=0, eos_token_id=2)
    torch.manual_seed(0)
    model = (AutoModelForCausalLM if causal else AutoModelForMaskedLM).from_config(config).eval()
    layout = find_layout(family, model, 3, causal)
    subject = ModelSubject(
        name=family, digest="", kind="text", causal=causal, n_layers=3, d_model=32, vocab_size=60, context_length=40,
        special_tokens={"bos": 0, "pad": 1, "eos": 2, "mask": 3}, layout=layout, frame=Frame((0,), (), 1),
        tokenizer=lambda texts: [], model=model,
    )  # fmt: skip
    windows = [np.arange(4, 20), np.arange(9, 14)]
    names = [f"layer:{i}" for i in range(4)]
    states = subject.states(windows, names)
    hidden = [model(input_ids=torch.tensor([[0, *w]]), output_hidden_states=True).hidden_states for w in windows]
    for i, name in enumerate(names):
        expected = torch.cat([h[i][0, 1:] for h in hidden])
        torch.testing.assert_close(states[name], expected.detach(), atol=1e-5, rtol=1e-4)
    for name, part in zip(("attn_out", "mlp_out"), parts or (), strict=False):
        assert subject.hook(f"blocks.1.hook_{name}").name == f"{layout.blocks[1]}.{part}"
    if parts is None:  # BERT normalises after adding: nothing is added to a residual stream
        with pytest.raises(UsageError, match="give a module path"):
            subject.hook("blocks.1.hook_attn_out")


def test_stories_equal_output_hidden_states(data: Path) -> None:
    subject = load_subject(data / "models/stories260K")
    assert isinstance(subject, ModelSubject)
    assert (subject.kind, subject.causal, subject.n_layers, subject.d_model) == ("text", True, 5, 64)
    assert (subject.context_length, subject.frame.prefix, subject.frame.suffix) == (511, (1,), ())
    assert subject.special_tokens == {"bos": 1, "eos": 2}
    windows = [t.ids for t in subject.tokenize(["Once upon a time, there was a dog.", "Lily smiled", "é"])]
    names = [f"layer:{i}" for i in range(6)]
    states = subject.states(windows, [*names, "layer:5.raw"])
    model = AutoModelForCausalLM.from_pretrained(data / "models/stories260K")
    out = [model(input_ids=torch.tensor([[1, *w.tolist()]]), output_hidden_states=True) for w in windows]
    for i, name in enumerate(names):
        expected = torch.cat([o.hidden_states[i][0, 1:] for o in out]).detach()
        torch.testing.assert_close(states[name], expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(model.model.norm(states["layer:5.raw"]), states["layer:5"])


def test_later_blocks_of_a_hugging_face_model_do_not_run(data: Path) -> None:
    subject = load_subject(data / "models/stories260K")
    assert isinstance(subject, ModelSubject)
    subject.hook("layer:2")

    def fail(*_: Any) -> None:
        raise AssertionError("ran past the last hook")

    for module in (subject.model.model.layers[2], subject.model.model.norm, subject.model.lm_head):
        module.register_forward_pre_hook(fail)
    assert subject.states([np.arange(5, 9)], ["layer:1", "layer:2"])["layer:2"].shape == (4, 64)
    with pytest.raises(AssertionError, match="ran past"):
        subject.states([np.arange(5, 9)], ["layer:3"])


def test_esm_agrees_with_fair_esm(data: Path, proteins: list[str]) -> None:
    theirs = load_subject(data / "models/esm_tiny")
    ours = load_subject(data / "models/esm_tiny/fair-esm/esm2_t4_tiny.pt")
    assert isinstance(theirs, ModelSubject)
    assert theirs.model.config._attn_implementation == "sdpa"
    assert (theirs.kind, theirs.causal, theirs.context_length) == (ours.kind, ours.causal, ours.context_length)
    assert (theirs.kind, theirs.context_length, theirs.special_tokens["mask"]) == ("protein", 1022, 32)
    tokens, same = theirs.tokenize(proteins), ours.tokenize(proteins)
    assert all(np.array_equal(a.ids, b.ids) for a, b in zip(tokens, same, strict=True))
    names = ["layer:0", "layer:2", "layer:4", "layer:4.raw", "blocks.1.hook_mlp_out", "blocks.1.hook_attn_out"]
    a, b = (s.states([t.ids for t in tokens], names) for s in (theirs, ours))
    for name in names:
        torch.testing.assert_close(a[name], b[name], atol=3e-5, rtol=1e-5)


def test_digests_follow_the_weights(data: Path, tmp_path: Path) -> None:
    import shutil

    folder = data / "models/stories260K"
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in folder.iterdir():
        shutil.copyfile(file, copy / file.name)
    first, same = load_subject(folder), load_subject(copy, dtype="bfloat16")
    assert first.digest == same.digest
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.model.layers[0].mlp.up_proj.weight.data[0, 0] += 1
    model.save_pretrained(copy)
    assert load_subject(copy).digest != first.digest


def test_a_model_without_a_blocks_weights_is_refused(data: Path, tmp_path: Path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    for file in (data / "models/stories260K").iterdir():
        shutil.copyfile(file, tmp_path / file.name)
    state = load_file(tmp_path / "model.safetensors")
    del state["model.layers.3.mlp.up_proj.weight"]
    save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(FormatError, match=r"none for model\.layers\.3\.mlp\.up_proj\.weight \(1 missing\)"):
        load_subject(tmp_path)


def test_other_kinds_of_models_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "vit", "architectures": ["ViTModel"]}')
    with pytest.raises(UsageError, match="Hugging Face model") as error:
        load_subject(tmp_path)
    assert len(str(error.value).splitlines()) <= 2
