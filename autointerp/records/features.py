"""Examples, the three sides of a feature, and what is known of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from autointerp.errors import UsageError


@dataclass(slots=True, eq=False)
class Example:
    """A context of one feature, ready to show. Treat it as frozen.

    It is not declared so because a frozen ``__init__`` costs several times as much, and a loader makes 200 a feature.

    Attributes
    ----------
    sequence : row of the sequence in the corpus.
    start : index of the first token of the context inside its sequence.
    text : the context's text, exactly as it stands in the corpus.
    ends : (n_tokens,) end of each token in ``text``, in characters, ascending.
    activations : (n_tokens,) float32, 0 where the feature is silent.
    group : cluster of the sequence; explain and test never share one.
    kind : ``activating``, or the kind of negative: ``random``, ``near-miss``, ``neighbour``, ``similar``, ``family``.
    quantile : 0 (weakest) … n_quantiles − 1 (strongest) for activating contexts, −1 for negatives.
    length : tokens of the whole sequence.
    metadata : the sequence's metadata columns.
    """

    sequence: int
    start: int
    text: str
    ends: np.ndarray
    activations: np.ndarray
    group: int
    kind: str
    quantile: int
    length: int
    metadata: Mapping[str, Any] = field(repr=False)

    @property
    def tokens(self) -> list[str]:
        """The context's tokens; joined, they are ``text``."""
        ends = self.ends.tolist()
        return [self.text[a:b] for a, b in zip([0, *ends], ends, strict=False)]

    @property
    def peak(self) -> float:
        """Largest activation in the context."""
        return float(self.activations.max(initial=0.0))

    @property
    def at_start(self) -> bool:
        """Whether the sequence begins with this context."""
        return self.start == 0

    @property
    def at_end(self) -> bool:
        """Whether the sequence ends with this context."""
        return self.start + len(self.ends) == self.length

    def blind(self) -> Example:
        """The same context without anything that a judge must not see."""
        silent = np.zeros(self.activations.shape, self.activations.dtype)
        place, text = (self.sequence, self.start), (self.text, self.ends)
        return Example(*place, *text, silent, self.group, kind="", quantile=-1, length=self.length, metadata={})

    @property
    def id(self) -> str:
        """Where the context lies: ``sequence:start:length``."""
        return f"{self.sequence}:{self.start}:{len(self.ends)}"


@dataclass(frozen=True, slots=True)
class Side:
    """The examples on one side of a split: activating and non-activating contexts."""

    positives: tuple[Example, ...] = ()
    negatives: tuple[Example, ...] = ()

    @property
    def groups(self) -> set[int]:
        """Groups that stand on this side."""
        return {e.group for e in (*self.positives, *self.negatives)}


@dataclass(frozen=True, slots=True)
class FeatureStatistics:
    """What the cache knows of one feature, over all tokens."""

    count: int
    """Activations (tokens at which the feature fires; sequences at level ``sequence``)."""
    max: float
    """Largest activation."""
    mean: float
    """Mean activation where it fires."""
    frequency: float
    """Share of tokens at which it fires."""
    n_sequences: int
    """Sequences in which it fires."""
    n_groups: int
    """Groups in which it fires."""
    context_frequency: float | None = None
    """Share of contexts in which it fires; None where that is unknown."""


@dataclass(frozen=True, slots=True)
class FeatureRecord:
    """One feature with its examples on three sides that share no group.

    Raises
    ------
    UsageError : a group stands on two sides.
    """

    feature: int
    explain: Side
    validation: Side
    test: Side
    statistics: FeatureStatistics
    modality: str = "text"
    """What a token is: ``"text"``, or ``"protein"`` where it is a residue."""
    level: str = "token"
    """``"sequence"`` when a feature has one activation per sequence."""

    def __post_init__(self) -> None:
        sides = {"explain": self.explain.groups, "validation": self.validation.groups, "test": self.test.groups}
        names = list(sides)
        for i, a in enumerate(names):
            for b in names[i + 1 :]:
                if shared := sides[a] & sides[b]:
                    raise UsageError(
                        f"feature {self.feature}: group {min(shared)} stands on both the {a} and the {b} side; "
                        "a score on it would leak the answer"
                    )


@dataclass(frozen=True, slots=True)
class Skipped:
    """A feature that was asked for but cannot be explained and judged, with the reason."""

    feature: int
    reason: str
    have: int
    need: int
