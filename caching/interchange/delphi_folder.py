"""What lies in delphi's folder of one hookpoint: shards of latents, and contexts of tokens."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from autointerp.cache.layout import MAX_TOKENS
from autointerp.errors import FormatError, UsageError
from autointerp.files import TensorFile
from caching.interchange.vocabulary import Vocabulary

CONFIG = "config.json"
NAME = re.compile(r"(\d+)_(\d+)\.safetensors")


@dataclass(frozen=True)
class Shard:
    """One of delphi's files: latents ``first`` … ``last``."""

    first: int
    last: int
    file: TensorFile

    def __len__(self) -> int:
        return self.file.size("activations")

    @property
    def value_dtype(self) -> np.dtype:
        return self.file.entries["activations"][0]


def find_shards(folder: Path, config: dict[str, Any]) -> list[Shard]:
    """The shards in order of their latents, whole and without gaps."""
    expected = "a delphi hookpoint: files FIRST_LAST.safetensors"
    names = sorted(p.name for p in folder.glob("*.safetensors")) if folder.is_dir() else []
    if not names:
        inner = sorted(p.parent.name for p in folder.glob("*/*_*.safetensors"))
        what = f"a folder of hookpoints; give one of them, e.g. {folder / inner[0]}" if inner else "none"
        raise FormatError(folder, expected, what)
    shards = []
    for name in names:
        if not (match := NAME.fullmatch(name)):
            raise FormatError(folder, expected, name)
        shards.append(Shard(int(match[1]), int(match[2]), TensorFile(folder / name)))
    shards.sort(key=lambda shard: shard.first)
    after = 0
    for shard in shards:
        if shard.first != after or shard.last < shard.first:
            raise FormatError(folder, f"a shard that begins with latent {after}", shard.file.path.name)
        after = shard.last + 1
        _check_header(shard.file)
    if (n := config.get("n_splits")) not in (None, len(shards)):
        raise FormatError(folder, f"{n} shards, as {CONFIG} says", f"{len(shards)}: the folder is incomplete")
    return shards


def _check_header(file: TensorFile) -> None:
    expected = "integer `locations` (n, 3) and floating `activations` (n)"
    for name, kinds in (("locations", "iu"), ("activations", "f")):
        if name not in file or file.entries[name][0].kind not in kinds:
            found = ", ".join(f"{n} {d} {s}" for n, (d, s, _) in file.entries.items()) or "no tensors"
            raise FormatError(file.path, expected, found)
    shapes = file.entries["locations"][1], file.entries["activations"][1]
    if shapes != ((*shapes[1], 3), shapes[1]) or len(shapes[1]) != 1:
        raise FormatError(file.path, expected, f"shapes {shapes[0]} and {shapes[1]}")


class Contexts:
    """delphi's contexts without their special tokens.

    Attributes
    ----------
    tokens : (n, length), as stored. content : (n × length,) bool. offsets : (n + 1,) int64 first content token.
    """

    def __init__(self, folder: Path, shards: list[Shard], vocabulary: Vocabulary) -> None:
        having = [shard.file for shard in shards if "tokens" in shard.file]
        if not having:
            raise FormatError(
                folder, "shards with `tokens`", "none (delphi's save_tokens=False): cache again with the tokens"
            )
        self.tokens = having[0].map()["tokens"]
        if self.tokens.ndim != 2 or self.tokens.dtype.kind not in "iu":
            raise FormatError(having[0].path, "integer `tokens` (contexts, length)", f"shape {self.tokens.shape}")
        for file in having[1:]:
            if not np.array_equal(file.map()["tokens"], self.tokens):
                raise FormatError(file.path, f"the tokens of {having[0].path.name}", "others: shards of two runs")
        if self.tokens.size and not 0 <= self.tokens.min() <= self.tokens.max() < vocabulary.size:
            raise UsageError(
                f"{folder}: token ids reach from {self.tokens.min()} to {self.tokens.max()}, {vocabulary.name} has "
                f"{vocabulary.size}: give the tokenizer of the model that was cached"
            )
        self.length = self.tokens.shape[1]
        special = np.isin(self.tokens, list(vocabulary.special.values()))
        self.content, self.n_special = ~special.ravel(), int(np.count_nonzero(special))
        self.offsets = np.concatenate([[0], np.cumsum(self.length - special.sum(1))]).astype(np.int64)
        if self.n_tokens > MAX_TOKENS:
            raise UsageError(f"a cache holds at most {MAX_TOKENS:,} tokens, {folder} has {self.n_tokens:,}")

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def n_tokens(self) -> int:
        return int(self.offsets[-1])

    def ids(self) -> np.ndarray:
        """(n_tokens,) content ids, context after context."""
        return self.tokens.ravel()[self.content]
