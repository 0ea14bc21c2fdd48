"""ESM-2 with scaled-dot-product attention gives fair-esm's own states."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import esm
import numpy as np
import pytest
import torch

from autointerp.subjects import load_subject
from autointerp.subjects.esm2 import TOKENS, Packing, attend_groups, attend_jagged


@pytest.mark.parametrize("chosen", [[1], [0, 1, 2, 3, 4], [1, 4]], ids=["alone", "padded", "same length"])
def test_every_layer_and_the_logits_equal_fair_esms(
    reference: Any, checkpoint: Path, proteins: list[str], chosen: list[int]
) -> None:
    texts = [proteins[i] for i in chosen]
    _, _, tokens = esm.Alphabet.from_architecture("ESM-1b").get_batch_converter()([("", t) for t in texts])
    with torch.no_grad():
        out = reference(tokens, repr_layers=range(4))
    expected = {f"layer:{i}": out["representations"][i] for i in range(4)} | {"lm_head": out["logits"]}
    subject = load_subject(checkpoint)
    states = subject.states([t.ids for t in subject.tokenize(texts)], list(expected))
    for hook, value in expected.items():
        packed = torch.cat([row[1 : 1 + len(text)] for row, text in zip(value, texts, strict=True)])
        torch.testing.assert_close(states[hook], packed, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("lengths", [[7], [5, 5, 5], [9, 4, 4, 1, 1, 1], [3, 8, 3, 1]])
@pytest.mark.parametrize("attend", [attend_groups, attend_jagged])
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")  # what the jagged layout's CPU road says
def test_attention_stays_within_each_sequence(attend: Any, lengths: list[int]) -> None:
    q, k, v = torch.randn(3, sum(lengths), 2, 6, generator=torch.Generator().manual_seed(len(lengths)))
    packing = Packing(lengths, q.device)
    same = torch.block_diag(*(torch.ones(n, n) for n in lengths)).bool()
    scores = torch.einsum("qhd,khd->hqk", q, k) / 6**0.5
    expected = torch.einsum("hqk,khd->qhd", scores.masked_fill(~same, -torch.inf).softmax(-1), v)
    with torch.no_grad():
        torch.testing.assert_close(attend(q, k, v, packing), expected, atol=1e-5, rtol=1e-5)
    assert packing.positions.tolist() == [i for n in lengths for i in range(n)]


def test_the_alphabet_is_fair_esms(checkpoint: Path) -> None:
    alphabet = esm.Alphabet.from_architecture("ESM-1b")
    assert list(TOKENS) == alphabet.all_toks
    subject = load_subject(checkpoint)
    text = "LAGVSERTIDPKQNFYMHWCXBUZO.-"
    assert subject.tokenize([text])[0].ids.tolist() == alphabet.encode(text)
    assert subject.special_tokens == {"cls": 0, "pad": 1, "eos": 2, "unk": 3, "null_1": 31, "mask": 32}


def test_rotary_frequencies_come_from_the_checkpoint(reference: Any, checkpoint: Path, tmp_path: Path) -> None:
    saved = torch.load(checkpoint, weights_only=False)
    for key, value in saved["model"].items():
        if key.endswith("inv_freq"):
            value.copy_(value.half().float() * 0.5)
    torch.save(saved, tmp_path / "halved.pt")
    ids = [np.arange(4, 24)]
    a, b = (load_subject(p).states(ids, ["layer:2"])["layer:2"] for p in (checkpoint, tmp_path / "halved.pt"))
    assert (a - b).abs().max() > 1e-2


def test_bfloat16_states_are_near(checkpoint: Path) -> None:
    ids = [np.arange(4, 24), np.arange(5, 9)]
    half = load_subject(checkpoint, dtype="bfloat16")
    full = load_subject(checkpoint)
    assert half.digest == full.digest
    a, b = (s.states(ids, ["layer:3"])["layer:3"] for s in (half, full))
    assert a.dtype == torch.bfloat16
    assert torch.nn.functional.cosine_similarity(a.float(), b).min() > 0.99
