"""Train the tiny ESM-2 that ships with autointerp, by masked-token prediction on planted proteomes.

``python experiments/planted_esm/train.py --out autointerp/subjects/planted_esm.safetensors``
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from esm.data import Alphabet
from esm.model.esm2 import ESM2
from evaluate import evaluate

from autointerp.corpus.planted import planted_proteome
from autointerp.files import write_tensors

SHAPE = {"num_layers": 4, "embed_dim": 96, "attention_heads": 6}
TRAIN_SEED = 1_000_000
"""First seed of the training proteomes; the demo uses seed 0, ``evaluate.py`` seed 1."""


def build(seed: int) -> ESM2:
    """A randomly initialised model; embeddings start small, because the output layer shares them.

    The heads of the first two layers start out looking at a fixed offset (1, 2 and 3 residues to either side, then 2, 4
    and 6): with rotary embeddings, biases k = (c, 0) and q = (c cos f d, c sin f d) of the pair of coordinates with
    frequency f give the logit sum_f a cos f (offset - d), which peaks at offset d. Short motifs are found much sooner.
    """
    torch.manual_seed(seed)
    model = ESM2(**SHAPE, alphabet=Alphabet.from_architecture("ESM-1b"), token_dropout=True)
    with torch.no_grad():
        model.embed_tokens.weight.mul_(0.1)
        for spacing, layer in enumerate(model.layers[:2], 1):
            attention, half = layer.self_attn, layer.self_attn.head_dim // 2
            frequency = attention.rot_emb.inv_freq
            # Logit amplitude 5 for each frequency with a period under about 120 residues.
            c = torch.where(frequency > 0.05, math.sqrt(5.0 * math.sqrt(attention.head_dim)), 0.0)
            for head in range(attention.num_heads):
                offset = spacing * (head // 2 + 1) * (1 if head % 2 else -1)
                at = slice(head * 2 * half, (head + 1) * 2 * half)
                attention.k_proj.bias[at] = torch.cat([c, torch.zeros(half)])
                attention.q_proj.bias[at] = torch.cat(
                    [c * torch.cos(frequency * offset), c * torch.sin(frequency * offset)]
                )
    return model


def attend(attention: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    """What fair-esm's attention computes for ``x`` (batch, length, width) without padding, in one fused call."""
    split = (*x.shape[:2], attention.num_heads, attention.head_dim)
    q, k, v = (p(x).view(split).transpose(1, 2) for p in (attention.q_proj, attention.k_proj, attention.v_proj))
    batch, heads, length, width = q.shape
    q, k = attention.rot_emb(q.reshape(-1, length, width), k.reshape(-1, length, width))
    shape = (batch, heads, length, width)
    mixed = F.scaled_dot_product_attention(q.reshape(shape), k.reshape(shape), v)
    return attention.out_proj(mixed.transpose(1, 2).reshape(x.shape))


def masked_logits(model: ESM2, tokens: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    """ESM2.forward at the positions ``where`` only, for a batch without padding."""
    mask = tokens == model.mask_idx
    x = model.embed_tokens(tokens).masked_fill(mask.unsqueeze(-1), 0.0)
    observed = mask.sum(1).to(x.dtype) / tokens.shape[1]
    x = x * (1 - 0.15 * 0.8) / (1 - observed)[:, None, None]
    for layer in model.layers:
        x = x + attend(layer.self_attn, layer.self_attn_layer_norm(x))
        x = x + layer.fc2(F.gelu(layer.fc1(layer.final_layer_norm(x))))
    return model.lm_head(model.emb_layer_norm_after(x[where]))


def corrupt(tokens: torch.Tensor, alphabet: Alphabet, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """BERT's corruption: 15 % of the residues are asked for; of these 80 % masked, 10 % random, 10 % unchanged."""
    inside = torch.zeros_like(tokens, dtype=torch.bool)
    inside[:, 1:-1] = True
    where = (torch.rand(tokens.shape, generator=generator) < 0.15) & inside
    fate = torch.rand(tokens.shape, generator=generator)
    residues = torch.tensor([alphabet.get_idx(c) for c in "ACDEFGHIKLMNPQRSTVWY"])
    random = residues[torch.randint(20, tokens.shape, generator=generator)]
    corrupted = torch.where(where & (fate < 0.8), alphabet.mask_idx, tokens)
    return torch.where(where & (fate >= 0.9), random, corrupted), where


def batches(alphabet: Alphabet, seed: int, n_sequences: int = 6000, n_tokens: int = 4000) -> Iterator[torch.Tensor]:
    """Batches of equally long sequences, so without padding, from an endless line of fresh proteomes."""
    index = np.array([alphabet.get_idx(chr(i)) for i in range(128)])
    rng = np.random.default_rng(seed)
    while True:
        seed += 1
        by_length: dict[int, list[str]] = defaultdict(list)
        for text in planted_proteome(n_sequences, seed).sequences["text"].to_pylist():
            by_length[len(text)].append(text)
        cuts = [
            texts[i : i + max(1, n_tokens // length)]
            for length, texts in by_length.items()
            for i in range(0, len(texts), max(1, n_tokens // length))
        ]
        for i in rng.permutation(len(cuts)):
            body = index[np.array([list(t.encode()) for t in cuts[i]])]
            yield F.pad(F.pad(torch.from_numpy(body), (1, 0), value=alphabet.cls_idx), (0, 1), value=alphabet.eos_idx)


def save(model: ESM2, path: Path, trained: str) -> None:
    """Write fair-esm's names in half precision; what the architecture alone gives back is left out."""
    tensors = {
        name: tensor.half().numpy()
        for name, tensor in model.state_dict().items()
        if not name.startswith("contact_head") and name != "lm_head.weight" and not name.endswith("inv_freq")
    }
    facts = {**SHAPE, "token_dropout": True, "alphabet": "ESM-1b", "architecture": "ESM2", "trained": trained}
    write_tensors(path, tensors, metadata={k: str(v) for k, v in facts.items()})


def optimizers(model: ESM2) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the layers, AdamW for everything else."""
    named = [(n, p) for n, p in model.named_parameters() if not n.startswith("contact_head")]
    matrices = [p for n, p in named if n.startswith("layers") and p.ndim == 2]
    others = [p for n, p in named if not (n.startswith("layers") and p.ndim == 2)]
    return [
        torch.optim.Muon(matrices, lr=0.008, weight_decay=0.01),
        torch.optim.AdamW(others, lr=1.5e-3, betas=(0.9, 0.98), weight_decay=0.01),
    ]


def train(out: Path, steps: int, seed: int) -> ESM2:
    """Train with a linear warm-up and a cosine decay; the weights are written every 250 steps."""
    alphabet = Alphabet.from_architecture("ESM-1b")
    model = build(seed)
    model.train()
    parameters = [p for n, p in model.named_parameters() if not n.startswith("contact_head")]
    generator = torch.Generator().manual_seed(seed)
    stages = [
        (
            o,
            torch.optim.lr_scheduler.LambdaLR(
                o, lambda i: min((i + 1) / 200, 0.5 + 0.5 * math.cos(math.pi * i / steps))
            ),
        )
        for o in optimizers(model)
    ]
    begin, seen, losses = time.time(), 0, []
    for step, tokens in zip(range(1, steps + 1), batches(alphabet, TRAIN_SEED + seed), strict=False):
        corrupted, where = corrupt(tokens, alphabet, generator)
        loss = F.cross_entropy(masked_logits(model, corrupted, where), tokens[where])
        model.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        for optimizer, schedule in stages:
            optimizer.step()
            schedule.step()
        seen += tokens.numel()
        losses.append(loss.item())
        if step % 250 == 0 or step == steps:
            mean = float(np.mean(losses[-250:]))
            print(f"step {step} masked loss {mean:.4f} tokens {seen:,} {time.time() - begin:.0f} s", flush=True)
            save(model, out, f"planted proteomes, seed {seed}, {step} steps, {seen:,} tokens, masked loss {mean:.3f}")
    return model


def main() -> None:
    """Train, write the weights, and print what they know as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    train(arguments.out, arguments.steps, arguments.seed)
    print(json.dumps(evaluate(arguments.out), indent=1))


if __name__ == "__main__":
    main()
