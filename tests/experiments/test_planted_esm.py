"""The shipped tiny ESM-2 and the script that trains it, against fair-esm's own forward pass."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from autointerp.corpus.planted import planted_proteome

torch = pytest.importorskip("torch")
pytest.importorskip("esm")
REPOSITORY = Path(__file__).resolve().parents[2]
WEIGHTS = REPOSITORY / "autointerp" / "subjects" / "planted_esm.safetensors"


@pytest.fixture
def train(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """``train.py``, which imports ``evaluate.py``; no other test meets these names."""
    monkeypatch.syspath_prepend(REPOSITORY / "experiments" / "planted_esm")
    yield importlib.import_module("train")
    for name in ("train", "evaluate"):
        del sys.modules[name]


@pytest.fixture
def evaluate(train: ModuleType) -> ModuleType:
    return sys.modules["evaluate"]


def test_the_fast_forward_is_fair_esms(train: ModuleType) -> None:
    model = train.build(seed=0).eval()
    tokens = next(train.batches(model.alphabet, seed=5, n_sequences=40))
    corrupted, where = train.corrupt(tokens, model.alphabet, torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = model(corrupted)["logits"][where]
        assert torch.allclose(train.masked_logits(model, corrupted, where), expected, atol=1e-5)


def test_corruption_asks_for_15_percent_and_masks_80_percent_of_them(train: ModuleType) -> None:
    alphabet = train.build(seed=0).alphabet
    tokens = torch.full((200, 302), alphabet.get_idx("L"))
    corrupted, where = train.corrupt(tokens, alphabet, torch.Generator().manual_seed(0))
    assert where.float().mean() * 302 / 300 == pytest.approx(0.15, abs=0.01)
    assert (corrupted[where] == alphabet.mask_idx).float().mean() == pytest.approx(0.8, abs=0.02)
    assert (corrupted[where] == tokens[where]).float().mean() == pytest.approx(0.1 + 0.1 / 20, abs=0.02)
    assert torch.equal(corrupted[~where], tokens[~where])
    assert not where[:, [0, -1]].any()


def test_batches_are_whole_proteins_of_one_length(train: ModuleType) -> None:
    alphabet = train.build(seed=0).alphabet
    stream, texts = train.batches(alphabet, seed=5, n_sequences=40), []
    while len(texts) < 40:
        batch = next(stream)
        assert set(batch[:, 0].tolist()) == {alphabet.cls_idx}
        assert set(batch[:, -1].tolist()) == {alphabet.eos_idx}
        texts += ["".join(map(alphabet.get_tok, row)) for row in batch[:, 1:-1].tolist()]
    assert sorted(texts) == sorted(planted_proteome(40, 6).sequences["text"].to_pylist())


def test_what_is_saved_rebuilds_the_model(train: ModuleType, evaluate: ModuleType, tmp_path: Path) -> None:
    model = train.build(seed=0).eval()
    train.save(model, tmp_path / "w.safetensors", "not at all")
    again = evaluate.load(tmp_path / "w.safetensors")
    tokens = torch.tensor([[0, 5, 7, 32, 4, 2]])
    with torch.no_grad():
        assert torch.allclose(model(tokens)["logits"], again(tokens)["logits"], atol=0.02)  # half precision


def test_the_shipped_weights_are_small_and_know_the_elements(evaluate: ModuleType) -> None:
    assert WEIGHTS.stat().st_size <= 2_000_000
    model, planted = evaluate.load(WEIGHTS), planted_proteome(100, seed=1)
    losses = evaluate.loss_table(model, planted)
    assert losses["overall"]["model"] < losses["overall"]["frequencies"] - 0.2
    for label in ("C2H2 zinc finger", "EF-hand", "polyQ", "KDEL", "signal peptide"):
        assert losses[label]["model"] < losses[label]["frequencies"] - 1.5, label
    probes = evaluate.probe_table(model, planted, layers=(3,))
    assert np.median([p["layer:3"] for p in probes.values()]) > 0.95
