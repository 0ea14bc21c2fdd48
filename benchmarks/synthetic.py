"""Subjects, coders, corpora and caches that benchmarks make for themselves, so that none needs data or a download."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from autointerp.cache import ActivationCache
    from autointerp.coders import SparseCoder
    from autointerp.corpus import Corpus

RESIDUES = np.frombuffer(b"ACDEFGHIKLMNPQRSTVWY", np.uint8)
ESM2_SHAPES = {"8M": (6, 320, 20), "35M": (12, 480, 20), "150M": (30, 640, 20)}
"""Layers, width and heads of the published ESM-2 models."""
BLOCK = 256  # features of a block


def make_esm2(path: Path, shape: str) -> None:
    """Write a randomly initialised ESM-2 of a published size, in the layout of fair-esm's checkpoints."""
    import torch

    from autointerp.subjects.esm2 import ESM2

    n_layers, d_model, n_heads = ESM2_SHAPES[shape]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = ESM2(n_layers, d_model, n_heads)
    facts = argparse.Namespace(
        encoder_layers=n_layers, encoder_embed_dim=d_model, encoder_attention_heads=n_heads, token_dropout=True
    )
    torch.save({"cfg": {"model": facts}, "model": model.state_dict()}, path)


def make_topk(n_features: int, d_in: int, k: int, input_norm: str = "layer_norm") -> SparseCoder:
    """A TopK coder with random unit vectors, the decoder the encoder's transpose."""
    import torch

    from autointerp.coders import SparseCoder

    weights = torch.randn(n_features, d_in, generator=torch.Generator().manual_seed(0))
    weights /= weights.norm(dim=1, keepdim=True)
    zeros = torch.zeros(n_features), torch.zeros(d_in)
    return SparseCoder("topk", weights, zeros[0], weights.clone(), zeros[1], k=k, input_norm=input_norm)


def make_proteins(folder: Path, lengths: np.ndarray, groups: np.ndarray, rng: np.random.Generator) -> Corpus:
    """A corpus of random residues, proteins of the given lengths."""
    import pyarrow as pa

    from autointerp.corpus import Corpus

    texts = [RESIDUES[rng.integers(0, 20, n)].tobytes().decode() for n in lengths.tolist()]
    names = [f"Protein {i}" for i in range(len(texts))]
    table = pa.table({"id": names, "text": texts, "group": groups, "protein_name": names})
    return Corpus.write(folder, table, kind="protein", source={"synthetic": True}, grouping={"by": "synthetic"})


def make_families(folder: Path, n_tokens: int, rng: np.random.Generator, longest: int = 2000) -> Corpus:
    """Proteins of 30 … ``longest`` residues (median about 300) in families of 1 … 5."""
    lengths = np.clip(rng.lognormal(5.7, 0.7, n_tokens // 300 + 1), 30, longest).astype(int)
    lengths = lengths[np.cumsum(lengths) <= n_tokens]
    lengths = np.append(lengths, max(30, n_tokens - lengths.sum()))
    groups = np.repeat(np.arange(len(lengths)), rng.integers(1, 6, len(lengths)))[: len(lengths)]
    return make_proteins(folder, lengths, groups, rng)


def draw_counts(n_features: int, mean: float, largest: float, rng: np.random.Generator) -> np.ndarray:
    """Activations of each feature: log-normal, ``mean`` on average before the cap at ``largest``."""
    shares = rng.lognormal(0, 1.2, n_features)
    return np.minimum(shares / shares.sum() * n_features * mean, largest).astype(int) + 1


def draw_runs(n_tokens: int, count: int, run: float, rng: np.random.Generator) -> np.ndarray:
    """About ``count`` ascending token positions, in runs of ``run`` neighbouring tokens on average (geometric)."""
    n_runs = max(1, round(count / run))
    sizes = np.minimum(rng.geometric(1 / run, n_runs), n_tokens)
    starts = rng.integers(0, n_tokens, n_runs)
    inside = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    fires = np.zeros(n_tokens, bool)  # where runs meet they are one: there are a few less
    fires[(np.repeat(starts, sizes) + inside) % n_tokens] = True
    return np.flatnonzero(fires).astype(np.uint32)


def make_cache(
    folder: Path,
    corpus: Corpus,
    counts: Sequence[int],
    runs: Sequence[float],
    rng: np.random.Generator,
    tokens: np.ndarray | None = None,
) -> ActivationCache:
    """A finished cache, written as importers do it: blocks of some features each, then compaction.

    Parameters
    ----------
    counts, runs : of each feature, about how often it fires, and how many tokens in a row. Activations are log-normal.
    tokens : the corpus' token ids, if anything is to read them.
    """
    from autointerp.cache import ActivationCache
    from caching.blocks import count_sequences, write_block
    from caching.interchange.finish import finish

    offsets = np.concatenate([[0], np.cumsum(corpus.lengths)]).astype(np.int64)
    n_tokens, blocks = int(offsets[-1]), []
    text = {"tokens": np.zeros(n_tokens, np.uint8) if tokens is None else tokens, "offsets": offsets}
    for first in range(0, len(counts), BLOCK):
        last = min(first + BLOCK, len(counts))
        found = [draw_runs(n_tokens, n, r, rng) for n, r in zip(counts[first:last], runs[first:last], strict=True)]
        sizes = np.zeros(len(counts), np.int64)
        sizes[first:last] = [len(t) for t in found]
        indptr, token = np.concatenate([[0], np.cumsum(sizes)]), np.concatenate(found)
        value = rng.lognormal(0, 0.5, len(token)).astype(np.float16)
        sequences = count_sequences(indptr, token, offsets)
        tensors = {"indptr": indptr, "token": token, "value": value, "n_sequences": sequences} | text
        blocks.append(write_block(folder, len(blocks), tensors, 0, len(corpus)))
        text = {"tokens": text["tokens"][:0], "offsets": offsets[:1]}  # the first block holds them
    facts = {"level": "token", "pooling": None, "n_features": len(counts), "value_dtype": "float16", "blocks": blocks,
             "subject": {"name": "synthetic", "kind": "protein", "hook": "layer:3"}, "coder": {}, "settings": {},
             "special_tokens": {"ids": {}}}  # fmt: skip
    finish(folder, facts, corpus, 1 << 22, None)
    return ActivationCache.open(folder)


def folder_bytes(folder: Path) -> int:
    """Size of all files in a folder."""
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def run_json(command: Sequence[str], **kwargs: Any) -> Any:
    """The JSON on the last line that a subprocess prints; what it says besides is shown if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, **kwargs)
    if done.returncode:
        sys.exit(f"{done.stderr}\n{' '.join(command)}: ended with {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])
