"""A subject's head alone: what it predicts from a last state, and its linear map where it has one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from autointerp.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from autointerp.subjects.protocol import Predictor, Subject

RESIDUES = "ACDEFGHIKLMNPQRSTVWY"
WINDOW = 128
"""States that are put into one window: attention over it is wasted, and grows with its square."""
TRIED = 64
"""Tokens on which a linear head is tried: the logits of many would be as large as the vocabulary is."""


def last_hook(subject: Subject) -> str:
    """The last state before the final norm."""
    return f"layer:{subject.n_layers}.raw"


def mean_state(subject: Predictor, ids: Sequence[np.ndarray]) -> Tensor:
    """(d_model,) float32 mean, over the tokens of windows, of the last state before the final norm."""
    hook = last_hook(subject)
    return subject.states(ids, [hook])[hook].float().mean(0)


def read_out(subject: Predictor, states: Tensor, content: int) -> Tensor:
    """Logits (n, vocabulary) float32 that the head makes of last states (n, d_model), each by itself.

    Parameters
    ----------
    content : the id of any content token; what stands in the windows does not matter to the head.
    """
    room = min(WINDOW, subject.context_length)
    sizes = [min(room, len(states) - first) for first in range(0, len(states), room)]

    def put(there: Tensor, windows: Sequence[np.ndarray]) -> Tensor:
        return states.to(there)

    windows = [np.full(size, content, np.int32) for size in sizes]
    return subject.predict(windows, edits={last_hook(subject): put}).float()


def spoken_of(subject: Subject) -> np.ndarray:
    """(n,) ids of the tokens whose logits are spoken of: residues; of a text model all that are not special."""
    if subject.kind == "protein":
        return np.sort(subject.tokenize([RESIDUES])[0].ids)
    return np.setdiff1d(np.arange(subject.vocab_size), [*subject.special_tokens.values()])


def token_texts(subject: Subject, ids: Sequence[int] | np.ndarray) -> list[str]:
    """What tokens look like inside a text: a space before a word is part of its token.

    Raises
    ------
    UsageError : the subject cannot turn ids into text.
    """
    if subject.kind == "protein":
        letter = dict(zip(subject.tokenize([RESIDUES])[0].ids.tolist(), RESIDUES, strict=True))
        return [letter[int(i)] for i in ids]
    decode = getattr(getattr(subject, "tokenizer", None), "decode", None)
    if decode is None:
        raise UsageError(f"subject {subject.name!r} has no tokenizer that turns tokens back into text")
    # at the beginning of a text, SentencePiece's decoders leave a token's space out
    before = next((i for i in spoken_of(subject).tolist() if decode(np.array([i])).isalpha()), None)
    if before is None:
        return [decode(np.array([i])) for i in ids]
    start = len(decode(np.array([before])))
    return [decode(np.array([before, i]))[start:] for i in ids]


@dataclass(frozen=True, eq=False)
class LinearHead:
    """A final norm and an unembedding: logits = unembed @ norm(state).

    Attributes
    ----------
    norm : the module. centres : it takes the mean away, as LayerNorm does and RMSNorm does not.
    deviation : harmonic mean, over tokens, of what the norm divides a state by.
    unembed : (vocabulary, d_model) float32.
    """

    norm: Any
    centres: bool
    deviation: float
    unembed: Tensor

    def frozen(self, directions: Tensor) -> Tensor:
        """(n, d_model) what the norm makes of directions (n, d_model) if it divides them by ``deviation``."""
        size = _deviation(directions, self.centres).clamp(min=1e-20)
        scaled = directions * (self.deviation / size)[:, None]  # where the norm divides by just that
        weight = next(iter(self.norm.parameters()))
        through = self.norm(scaled.to(weight)).float() - self.norm(-scaled.to(weight)).float()  # without its bias
        return through / 2 * (size / self.deviation)[:, None]


def linear_head(subject: Predictor, ids: Sequence[np.ndarray], tolerance: float = 1e-2) -> LinearHead | None:
    """The head as norm and unembedding, if that is what it is: found among the modules and tried on windows.

    None for a head that is not linear (ESM-2's, BERT's, a capped one), and for subjects that are no torch modules.

    Parameters
    ----------
    tolerance : largest difference from the logits that the subject itself gives, in their standard deviations.
    """
    import torch

    model: Any = getattr(subject, "model", None)
    layout = getattr(subject, "layout", None)
    unembed = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    if model is None or layout is None or not isinstance(unembed, torch.nn.Linear):
        return None
    raw = last_hook(subject)
    states, tried = subject.states(ids, [raw])[raw], ids[0][:TRIED]
    expected = subject.predict([tried]).float()
    modules = dict(model.named_modules())
    for norm in reversed(list(modules[layout.final].children())):
        weights = [p for p in norm.parameters() if p.shape == (subject.d_model,)]
        if not weights or len(weights) != len(list(norm.parameters())):
            continue
        few = subject.states([tried], [raw])[raw]
        plain, moved = norm(few).float(), norm(few + few.std()).float()
        if _near(unembed(norm(few)).float(), expected, tolerance):
            centres = _near(moved, plain, tolerance)
            deviation = 1 / float((1 / _deviation(states.float(), centres)).mean())
            return LinearHead(norm, centres, deviation, unembed.weight.float())
    return None


def _near(found: Tensor, expected: Tensor, tolerance: float) -> bool:
    """Whether no difference is larger than ``tolerance`` standard deviations of what is expected."""
    return float((found - expected).abs().max()) <= tolerance * float(expected.std())


def _deviation(states: Tensor, centres: bool) -> Tensor:
    """(n,) standard deviation of each state, or root mean square."""
    return states.std(1, correction=0) if centres else states.square().mean(1).sqrt()
