"""Explanations, judged trials and scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a feature responds to, in words.

    ``failure`` holds the reason when there is no text; an explanation without text is recorded and never scored.
    """

    feature: int
    text: str
    explainer: str
    model: str = ""
    failure: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Trial:
    """One judged example: the truth, the judge's answer, and why there is none if there is none."""

    example: str
    kind: str
    quantile: int
    truth: bool
    predicted: bool | None
    failure: str | None = None
    prompt: int = 0
    """Index of the prompt in which it was judged; answers of one prompt are correlated."""
    probability: float | None = None
    """The judge's probability, or its grade in 0 … 1, that the feature is active; None for plain answers."""


@dataclass(frozen=True, slots=True)
class Score:
    """How well an explanation predicts held-out examples.

    Attributes
    ----------
    value : the score (balanced accuracy for detection and fuzzing), None when no trial was judged.
    ci_low, ci_high : bounds of the 95 % interval.
    n, n_failed : trials asked, and trials without a parsed answer.
    null : True when the explanation was another feature's, ``partner``.
    metrics : further numbers by name.
    """

    feature: int
    explainer: str
    scorer: str
    value: float | None
    ci_low: float | None
    ci_high: float | None
    n: int
    n_failed: int
    metrics: Mapping[str, Any] = field(default_factory=dict)
    trials: tuple[Trial, ...] = field(default=(), repr=False)
    model: str = ""
    null: bool = False
    partner: int | None = None
