"""What the rest of the house knows of a model under study: its tokens, its hooks and the states at them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True, eq=False)
class Tokens:
    """The content tokens of one sequence; special tokens are left out.

    Attributes
    ----------
    ids : (n,) int32.
    ends : (n,) int32, the end of each token's text in characters of the sequence: token ``i`` shows
        ``text[ends[i - 1]:ends[i]]`` (from 0 for the first), so that the joined tokens are the text. A token shows
        nothing where a later one completes the same character. None for proteins, where token ``i`` is residue ``i``.
    """

    ids: np.ndarray
    ends: np.ndarray | None


@dataclass(frozen=True, slots=True)
class Hook:
    """A place in a subject.

    Attributes
    ----------
    name : the canonical name: ``layer:N``, ``layer:N.raw`` or a module path; two names of one place share it.
    d : width of the states there.
    layer : number of blocks that have run, wholly or in part, when the state is known; None for a module path that
        lies outside the blocks.
    """

    name: str
    d: int
    layer: int | None


@runtime_checkable
class Subject(Protocol):
    """A model under study: turns sequences into states at named places.

    Attributes
    ----------
    digest : hash of weights and configuration, the same on every machine and for every ``dtype``.
    kind : ``"protein"`` (one residue a token) or ``"text"``.
    causal : True when a token sees only what stands before it.
    context_length : content tokens that one window may hold.
    special_tokens : name to id of every token that is not content (CLS, EOS, BOS, PAD, MASK, …).
    """

    name: str
    digest: str
    kind: str
    causal: bool
    n_layers: int
    d_model: int
    vocab_size: int
    context_length: int
    special_tokens: Mapping[str, int]

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        """Tokenize whole sequences, of any length."""
        ...

    def hook(self, name: str) -> Hook:
        """Resolve a hook's name; raises ``UsageError`` with the near ones when it is unknown."""
        ...

    def states(self, windows: Sequence[np.ndarray], hooks: Sequence[str]) -> dict[str, torch.Tensor]:
        """Run the model on ``windows`` (content ids, one array each), no further than the last hook.

        Returns
        -------
        For each hook, under its name as given, the states of the content tokens only, packed in window order:
        (sum of lengths, d), in the subject's dtype and on its device.
        """
        ...
