"""A subject whose states are known, and a corpus of its tokens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import torch

from autointerp.subjects import Hook, Tokens


@dataclass
class TableSubject:
    """The state of a token is its row in a table; texts are token ids with spaces between."""

    table: torch.Tensor
    context_length: int = 10
    name: str = "table"
    digest: str = "d1"
    kind: str = "protein"
    causal: bool = False
    n_layers: int = 1
    special_tokens: dict[str, int] = field(default_factory=dict)
    passes: int = 0
    """Tokens that went through the subject."""

    @property
    def d_model(self) -> int:
        return self.table.shape[1]

    @property
    def vocab_size(self) -> int:
        return len(self.table)

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        return [Tokens(np.array(text.split(), np.int32), None) for text in texts]

    def hook(self, name: str) -> Hook:
        return Hook(f"layer:{name.removeprefix('layer:')}", self.d_model, 1)

    def states(self, windows: Sequence[np.ndarray], hooks: Sequence[str]) -> dict[str, torch.Tensor]:
        ids = np.concatenate(windows)
        self.passes += len(ids)
        return {hook: self.table[torch.from_numpy(ids).long()] for hook in hooks}


@dataclass
class ListCorpus:
    """Sequences held in a list."""

    items: list[str]
    groups: np.ndarray
    digest: str = "c1"

    def __len__(self) -> int:
        return len(self.items)

    def texts(self, rows: Iterable[int]) -> list[str]:
        return [self.items[row] for row in rows]


def counting_corpus(lengths: Sequence[int]) -> ListCorpus:
    """Sequences of these lengths whose tokens are 0, 1, 2, … over the whole corpus."""
    ends = np.cumsum([0, *lengths])
    items = [" ".join(map(str, range(a, b))) for a, b in pairwise(ends)]
    return ListCorpus(items, np.arange(len(items)))


def numbered_subject(n: int) -> TableSubject:
    """A subject whose state is the token's own number."""
    return TableSubject(torch.arange(n, dtype=torch.float32)[:, None].repeat(1, 2))


def sparse_world(
    n: int = 20_000, d: int = 24, m: int = 48, active: int = 3, seed: int = 0
) -> tuple[TableSubject, ListCorpus, torch.Tensor]:
    """A subject whose states are sums of ``active`` of ``m`` unit directions, far from zero, and those directions."""
    g = torch.Generator().manual_seed(seed)
    directions = torch.nn.functional.normalize(torch.randn(m, d, generator=g), dim=1)
    chosen = torch.rand(n, m, generator=g).topk(active).indices
    codes = torch.zeros(n, m).scatter(1, chosen, 5 + 5 * torch.rand(n, active, generator=g))
    table = codes @ directions + 20 * torch.randn(d, generator=g)
    return TableSubject(table), counting_corpus([8] * (n // 8)), directions
