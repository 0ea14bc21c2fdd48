"""What the tiny ESM-2 learned: masked cross-entropy at conserved positions, and linear probes for every element.

``python experiments/planted_esm/evaluate.py autointerp/subjects/planted_esm.safetensors``
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from esm.data import Alphabet
from esm.model.esm2 import ESM2
from safetensors import safe_open
from scipy.stats import rankdata

from autointerp.corpus.planted import Planted, planted_proteome

SEED = 1
"""The proteome that is evaluated on: neither the demo's nor a training one."""
CONSERVED = {
    "P-loop": (5, 6, 7), "C2H2 zinc finger": (0, -1), "N-glycosylation": (0, 2), "leucine zipper": (0, 7, 14, 21),
    "EF-hand": (0, 5, 11), "RGD": (0, 1, 2), "KDEL": (0, 1, 2, 3), "signal peptide": (-3, -1),
    "polyQ": (2, 3, 4, 5), "polyS": (2, 3, 4, 5), "acidic run": (2, 3, 4, 5), "disulfide bond": (0,),
}  # fmt: skip
"""Offsets in an annotated region whose residue the pattern (nearly) fixes."""


def load(path: str | Path) -> ESM2:
    """Rebuild the model with fair-esm's own class from the file's header and tensors."""
    with safe_open(path, "pt") as file:
        facts = file.metadata()
        tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
    shape = {k: int(facts[k]) for k in ("num_layers", "embed_dim", "attention_heads")}
    token_dropout = facts["token_dropout"] == "True"
    model = ESM2(**shape, alphabet=Alphabet.from_architecture(facts["alphabet"]), token_dropout=token_dropout)
    unknown = model.load_state_dict(tensors, strict=False).unexpected_keys
    assert not unknown, unknown
    return model.eval()


def tokenize(alphabet: Alphabet, text: str) -> torch.Tensor:
    """(length + 2,) token ids."""
    return torch.tensor([alphabet.cls_idx, *map(alphabet.get_idx, text), alphabet.eos_idx])


@torch.no_grad()
def masked_losses(model: ESM2, texts: list[str], repeats: int = 3) -> list[np.ndarray]:
    """Cross-entropy in nats at each position, averaged over the passes that masked it; (length,) with NaN elsewhere."""
    generator = torch.Generator().manual_seed(SEED)
    out = []
    for text in texts:
        tokens = tokenize(model.alphabet, text).expand(repeats, -1)
        where = torch.rand(tokens.shape, generator=generator) < 0.15
        where[:, [0, -1]] = False
        logits = model(tokens.masked_fill(where, model.mask_idx))["logits"]
        loss = F.cross_entropy(logits.transpose(1, 2), tokens, reduction="none")
        mean = (loss * where).sum(0) / where.sum(0)  # 0 / 0 where never masked: NaN
        out.append(mean[1:-1].numpy())
    return out


def loss_table(model: ESM2, planted: Planted) -> dict[str, Any]:
    """Masked cross-entropy of the model and of residue frequencies, overall, in the background and per element."""
    texts = planted.sequences["text"].to_pylist()
    losses = masked_losses(model, texts)
    letters = "".join(texts)
    unigram = {c: -np.log(letters.count(c) / len(letters)) for c in set(letters)}
    chance = [np.array([unigram[c] for c in text]) for text in texts]
    background = [np.ones(len(t), bool) for t in texts]
    for row in (*planted.annotations.to_pylist(), *planted.decoys.to_pylist()):
        background[row["sequence"]][row["start"] : row["end"]] = False
    places: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for row in planted.annotations.to_pylist():
        for offset in CONSERVED.get(row["label"], ()):
            places[row["label"]].append((row["sequence"], (row["start"] if offset >= 0 else row["end"]) + offset))
    everywhere = [np.ones(len(t), bool) for t in texts]
    table = {"overall": _mean(losses, chance, everywhere), "background": _mean(losses, chance, background)}
    for name in CONSERVED:
        where = [np.zeros(len(t), bool) for t in texts]
        for sequence, position in places[name]:
            where[sequence][position] = True
        table[name] = _mean(losses, chance, where)
    return table


def _mean(losses: list[np.ndarray], chance: list[np.ndarray], where: list[np.ndarray]) -> dict[str, float]:
    at = np.concatenate(where)
    loss, unigram = np.concatenate(losses)[at], np.concatenate(chance)[at]
    seen = ~np.isnan(loss)
    return {"model": _round(loss[seen].mean()), "frequencies": _round(unigram[seen].mean()), "n": int(seen.sum())}


@torch.no_grad()
def probe_table(model: ESM2, planted: Planted, layers: tuple[int, ...] = (0, 2, 3)) -> dict[str, dict[str, float]]:
    """AUROC of a linear probe per element and layer, residue by residue, on families that it was not fitted on."""
    rows = planted.sequences.to_pylist()
    states = [model(tokenize(model.alphabet, r["text"])[None], repr_layers=layers)["representations"] for r in rows]
    fitted = np.concatenate([np.full(r["length"], r["group"] % 2 == 0) for r in rows])
    truth = {name: [np.zeros(r["length"], bool) for r in rows] for name in _labels(planted)}
    for row in planted.annotations.to_pylist():
        truth[row["label"]][row["sequence"]][row["start"] : row["end"]] = True
    table: dict[str, dict[str, float]] = {name: {} for name in truth}
    for layer in layers:
        x = np.concatenate([s[layer][0, 1:-1].numpy() for s in states]).astype(np.float64)
        x = np.c_[x - x[fitted].mean(0), np.ones(len(x))]
        gram = x[fitted].T @ x[fitted] + 1e-3 * fitted.sum() * np.eye(x.shape[1]) * x[fitted].var()
        for name, masks in truth.items():
            y = np.concatenate(masks)
            direction = np.linalg.solve(gram, x[fitted].T @ (y[fitted] - y[fitted].mean()))
            table[name][f"layer:{layer}"] = _round(auroc(y[~fitted], x[~fitted] @ direction))
    return table


def _labels(planted: Planted) -> list[str]:
    return sorted(set(planted.annotations["label"].to_pylist()))


def _round(value: float) -> float:
    return round(float(value), 3)


def auroc(truth: np.ndarray, score: np.ndarray) -> float:
    """Area under the ROC curve, by the Mann-Whitney statistic."""
    positives = truth.sum()
    u = rankdata(score)[truth].sum() - positives * (positives + 1) / 2
    return float(u / (positives * (len(truth) - positives)))


def evaluate(path: str | Path, n_sequences: int = 600) -> dict[str, Any]:
    """Both tables for the weights at ``path``, on a proteome that they were not trained on."""
    model, planted = load(path), planted_proteome(n_sequences, SEED)
    return {"masked_nats": loss_table(model, planted), "probe_auroc": probe_table(model, planted)}


if __name__ == "__main__":
    print(json.dumps(evaluate(sys.argv[1]), indent=1))
