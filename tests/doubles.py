"""Doubles that several rooms' tests share: a fake subject, small corpora, random coders, caches with planted truth.

All numbers are small dyadic rationals, so that sums and matrix products are exact in float32 in any order: what the
code under test gives is compared for equality, whatever the batch.
"""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch

from autointerp.cache import ActivationCache
from autointerp.coders import SparseCoder
from autointerp.corpus import Corpus
from autointerp.errors import UsageError
from autointerp.subjects import Hook, Tokens

RESIDUES = "ACDEFGHIKLMNPQRSTVWY"
D = 12
SPECIAL = {"<cls>": 0, "<pad>": 1, "<eos>": 2, "<unk>": 3}


class FakeSubject:
    """A subject whose state is a lookup, mixed with the neighbours inside the window and with the place in the window.

    Follows ``autointerp.subjects.Subject``. Deterministic; a token's state depends on its window, as a model's does.

    Parameters
    ----------
    kind : ``"protein"`` (a residue a token) or ``"text"`` (pieces of words, with ``ends``).
    context_length : tokens of one window; short, so that sequences are windowed.
    causal : mix with the token before only.
    """

    n_layers, dtype = 2, "float32"
    special_tokens: Mapping[str, int] = SPECIAL

    def __init__(
        self, kind: str = "protein", *, context_length: int = 16, d: int = D, causal: bool = False, seed: int = 0
    ) -> None:
        self.kind, self.context_length, self.causal, self.d_model = kind, context_length, causal, d
        self.name = f"fake-{kind}"
        self.vocab_size = 24 if kind == "protein" else 300
        self.digest = hashlib.blake2b(f"{kind} {d} {causal} {seed}".encode(), digest_size=16).hexdigest()
        g = torch.Generator().manual_seed(seed)
        self.embedding = torch.randint(-2, 3, (self.vocab_size, d), generator=g).float()
        self.place = torch.randint(-1, 2, (3, d), generator=g).float()

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        """Content ids from 4 on."""
        if self.kind == "protein":
            return [Tokens(np.array([4 + RESIDUES.find(c) for c in t], np.int32), None) for t in texts]
        result = []
        for text in texts:
            pieces = re.findall(r"\s*\w{1,3}|\s*[^\w\s]|\s+", text)
            ids = [4 + zlib.crc32(p.encode()) % (self.vocab_size - 4) for p in pieces]
            result.append(Tokens(np.array(ids, np.int32), np.cumsum([len(p) for p in pieces]).astype(np.int32)))
        return result

    def hook(self, name: str) -> Hook:
        """``layer:1`` and ``layer:2``."""
        if name not in ("layer:1", "layer:2"):
            raise UsageError(f"unknown hook {name!r}; valid: layer:1, layer:2")
        return Hook(name, self.d_model, int(name[-1]))

    def states(self, windows: Sequence[np.ndarray], hooks: Sequence[str]) -> dict[str, torch.Tensor]:
        """(sum of lengths, d) for each hook; layer 2 is twice layer 1."""
        assert all(0 < len(w) <= self.context_length for w in windows)
        parts = []
        for window in windows:
            own = self.embedding[torch.from_numpy(np.asarray(window, np.int64))]
            mixed = own + self.place[torch.arange(len(own)) % 3]
            mixed[1:] += own[:-1]
            if not self.causal:
                mixed[:-1] -= own[1:]
            parts.append(mixed)
        return {h: torch.cat(parts) * self.hook(h).layer for h in hooks}


def fake_coder(
    n_features: int = 20,
    *,
    k: int | None = None,
    d: int = D,
    bias: float = -20.0,
    dead: Sequence[int] = (),
    seed: int = 0,
) -> SparseCoder:
    """A random TopK (``k`` given) or ReLU coder of small integers; ``dead`` features never fire, no two values tie."""
    g = torch.Generator().manual_seed(seed)
    encoder = torch.randint(-3, 4, (n_features, d), generator=g).float()
    b_enc = torch.arange(n_features) / 1024 + bias
    b_enc[list(dead)] = -(2.0**12)
    b_dec = torch.randint(-1, 2, (d,), generator=g).float()
    return SparseCoder("topk" if k else "relu", encoder, b_enc, encoder.clone(), b_dec, k=k)


def random_proteins(n: int, lengths: tuple[int, int] = (1, 60), seed: int = 0) -> list[str]:
    """``n`` random sequences of ``lengths[0]`` … ``lengths[1]`` residues."""
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(list(RESIDUES), rng.integers(lengths[0], lengths[1] + 1))) for _ in range(n)]


def random_documents(n: int, words: tuple[int, int] = (1, 30), seed: int = 0) -> list[str]:
    """``n`` random documents with capitals, punctuation, several spaces and letters beyond ASCII."""
    rng = np.random.default_rng(seed)
    vocabulary = ["the", "cat", "Sat", " on", "naïve", "mat.", "über", "日本", "\n", "a", "“quoted”", "running", "😀"]
    return [" ".join(rng.choice(vocabulary, rng.integers(words[0], words[1] + 1))) for _ in range(n)]


def make_corpus(
    folder: Path,
    texts: Sequence[str],
    groups: Sequence[int] | None = None,
    *,
    kind: str = "protein",
    annotations: Sequence[tuple[int, int, int, str, str, int]] = (),
    **metadata: Sequence[Any],
) -> Corpus:
    """Write a corpus; each sequence is a group of its own by default.

    ``annotations`` are (sequence, start, end, type, label, instance); ``metadata`` are further columns.
    """
    import pyarrow as pa

    from autointerp.corpus.corpus import annotation_schema

    ids = [f"s{i}" for i in range(len(texts))]
    columns = {"id": ids, "text": list(texts), "group": list(range(len(texts)) if groups is None else groups)}
    rows = list(zip(*annotations, strict=True)) or [[]] * 6
    regions = pa.table(
        [pa.array(c, f.type) for c, f in zip(rows, annotation_schema(), strict=True)], annotation_schema()
    )
    table = pa.table({**columns, **metadata})
    return Corpus.write(folder, table, regions, kind=kind, source={"test": 1}, grouping={"by": "test"})


def write_cache(
    folder: Path,
    dense: np.ndarray,
    corpus: Corpus,
    subject: Any = None,
    *,
    level: str = "token",
    value_dtype: str = "float32",
    n_shards: int = 2,
) -> ActivationCache:
    """Write a finished cache of ``dense`` with the safetensors library and ``json`` alone, and open it.

    Parameters
    ----------
    dense : (n_tokens, n_features), or (n_sequences, n_features) at level ``sequence``; 0 where a feature is silent.
    subject : whose tokens the corpus is cut into; a :class:`FakeSubject` of the corpus's kind by default.
    """
    from safetensors.numpy import save_file

    subject = subject or FakeSubject(corpus.kind)
    tokens = subject.tokenize(corpus.texts(range(len(corpus))))
    offsets = np.concatenate([[0], np.cumsum([len(t.ids) for t in tokens])]).astype(np.int64)
    assert len(dense) == (offsets[-1] if level == "token" else len(tokens)), (dense.shape, offsets[-1], len(tokens))
    dense = np.asarray(dense).astype(value_dtype)
    files = {
        "tokens.safetensors": {"tokens": np.concatenate([t.ids for t in tokens]).astype(np.uint16), "offsets": offsets}
    }
    if subject.kind == "text":
        files["tokens.safetensors"]["ends"] = np.concatenate([t.ends for t in tokens]).astype(np.uint32)
    files["features.safetensors"] = brute_statistics(dense, offsets, level)
    shards = []
    for part in np.array_split(np.arange(dense.shape[1]), n_shards):
        positions, features = [np.nonzero(dense[:, f])[0] for f in part], part.tolist()
        name = f"shards/{part[0]:07d}-{part[-1]:07d}.safetensors"
        files[name] = {
            "indptr": np.concatenate([[0], np.cumsum([len(p) for p in positions])]).astype(np.int64),
            "token": np.concatenate(positions).astype(np.uint32),
            "value": np.concatenate([dense[p, f] for p, f in zip(positions, features, strict=True)]),
        }
        shards.append(
            {"file": name, "first": int(part[0]), "last": int(part[-1]), "n_activations": len(files[name]["token"])}
        )
    digests = {}
    for name, tensors in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, folder / name)
        digests[name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    for shard in shards:
        shard["digest"] = digests[shard["file"]]
    manifest = {
        "format": "autointerp-cache", "version": 1, "complete": True, "level": level,
        "pooling": "mean, then encode" if level == "sequence" else None,
        "subject": {"name": subject.name, "digest": subject.digest, "kind": subject.kind, "causal": subject.causal,
                    "hook": "layer:1", "context_length": subject.context_length, "dtype": "float32"},
        "special_tokens": {"rule": "left out by id", "ids": dict(subject.special_tokens)},
        "coder": {"digest": hashlib.blake2b(dense.tobytes(), digest_size=16).hexdigest(), "architecture": "relu",
                  "d_in": D, "k": None},
        "corpus": {"digest": corpus.digest, "kind": corpus.kind, "n_sequences": len(corpus)},
        "settings": {"hook": "layer:1", "level": level, "value_dtype": value_dtype},
        "n_features": dense.shape[1], "value_dtype": value_dtype, "n_sequences": len(tokens),
        "n_tokens": int(offsets[-1]), "n_activations": int(np.count_nonzero(dense)),
        "tokens": "tokens.safetensors", "blocks": [], "shards": shards,
        "files": [{"file": n, "digest": digests[n]} for n in ("tokens.safetensors", "features.safetensors")],
    }  # fmt: skip
    (folder / "cache.json").write_text(json.dumps(manifest))
    return ActivationCache.open(folder)


def brute_statistics(dense: np.ndarray, offsets: np.ndarray, level: str = "token") -> dict[str, np.ndarray]:
    """The content of ``features.safetensors``, one feature at a time from its dense column."""
    rows: dict[str, list[Any]] = {
        n: [] for n in ("count", "max", "mean", "sum_squares", "n_sequences", "log10_frequency", "histogram")
    }
    sequence = (
        np.arange(len(dense)) if level == "sequence" else np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    )
    for column in np.asarray(dense).T:
        values = column[column > 0].astype(np.float64)
        top = float(values.max(initial=0))
        histogram = np.zeros(50, np.uint32)
        for value in values.tolist():
            histogram[min(int(Fraction(value) * 50 / Fraction(top)), 49)] += 1
        rows["count"].append(len(values))
        rows["max"].append(top)
        rows["mean"].append(sum(values.tolist()) / max(len(values), 1))
        rows["sum_squares"].append(sum(v * v for v in values.tolist()))
        rows["n_sequences"].append(len(set(sequence[column > 0].tolist())))
        rows["log10_frequency"].append(np.log10(len(values) / len(dense)) if len(values) else -10.0)
        rows["histogram"].append(histogram)
    types = {"count": np.int64, "n_sequences": np.int64, "sum_squares": np.float64, "histogram": np.uint32}
    return {name: np.array(column, types.get(name, np.float32)) for name, column in rows.items()}
