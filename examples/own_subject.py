"""A protein model of your own: any class with these members is a subject that trains, caches and explains like ours.

This one has no weights to speak of: a residue's state is a rotated one-hot encoding of its neighbourhood. Register such
a class as the entry point `subject:NAME` in the group `autointerp` and the command line knows it by that name.
`make demo` makes the corpus that this reads.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

import training
from autointerp import Corpus, FeatureLoader
from autointerp.subjects import Hook, Tokens
from caching.run import cache_activations
from caching.settings import CacheSettings

LETTERS = "ACDEFGHIKLMNPQRSTVWY"


class Neighbourhood:
    """Residues at five offsets, one-hot and mixed by a fixed random rotation."""

    name, digest, kind, causal = "neighbourhood", "neighbourhood-1", "protein", False
    n_layers, d_model, vocab_size, context_length = 1, 100, 21, 4096
    special_tokens: ClassVar[dict[str, int]] = {}

    def __init__(self) -> None:
        mix = torch.randn(100, 100, generator=torch.Generator().manual_seed(0))
        self._rotation = torch.linalg.qr(mix)[0]
        self._ids = np.full(256, 20, np.int32)
        self._ids[np.frombuffer(LETTERS.encode(), np.uint8)] = np.arange(20)

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        return [Tokens(self._ids[np.frombuffer(t.encode(), np.uint8)], None) for t in texts]

    def hook(self, name: str) -> Hook:
        return Hook(name, 100, 1)

    def states(self, windows: Sequence[np.ndarray], hooks: Sequence[str]) -> dict[str, torch.Tensor]:
        rows = []
        for window in windows:
            one_hot = torch.nn.functional.one_hot(torch.from_numpy(np.asarray(window, np.int64)), 21)[:, :20].float()
            padded = torch.nn.functional.pad(one_hot, (0, 0, 2, 2))
            rows.append(torch.cat([padded[i : i + len(window)] for i in range(5)], dim=1))
        states = torch.cat(rows) @ self._rotation
        return dict.fromkeys(hooks, states)


def main(out: str = "own_subject") -> None:
    corpus, subject, folder = Corpus.open("demo/corpus"), Neighbourhood(), Path(out)
    settings = training.TrainConfig(tokens=40_000, n_features=256, k=5, batch_size=1000)
    coder = training.train(subject, corpus, "neighbourhood", settings, folder / "coder")
    cache = cache_activations(subject, coder, corpus, folder / "cache", CacheSettings(hook="neighbourhood"))
    eligible = [r for r in FeatureLoader(cache, corpus).draw(10) if hasattr(r, "test")]
    print(cache, "first eligible features:", [r.feature for r in eligible])


main(*sys.argv[1:])
