"""Generation: do texts written from the explanation make the feature fire?

Definition: the judge writes texts that should activate the feature, the subject reads them, and the score is the share
on which it fires ("sensitivity", Tian et al. 2025, arXiv 2509.23717; "generation scoring" in Paulo et al. 2024, arXiv
2410.13928). It asks the opposite of detection: whether all that the explanation allows activates the feature.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from autointerp.errors import UsageError
from autointerp.plans import named
from autointerp.prompts import FENCED, explained, object_schema
from autointerp.records import (
    ActivationRequest,
    Computed,
    Explanation,
    FeatureRecord,
    Message,
    Outcome,
    Plan,
    Request,
    Score,
    Task,
    Trial,
)
from autointerp.scorers.asking import ask, unread, value_of
from autointerp.scorers.counting import share_of
from autointerp.scorers.registry import scorer

VERSION = 1
SYSTEM = """You write {what} on which a feature of a model fires. An explanation says what the feature responds to.
{fenced}
Write {n} {kind}, as different from each other as the explanation allows, each of {length}. The feature must fire in \
every one.
Answer with JSON only: {{"texts": ["…", …]}}"""
WHAT = {"text": "texts", "protein": "protein sequences in one-letter code"}
KIND = {"text": "short texts", "protein": "sequences"}
LENGTH = {"text": "one to three sentences", "protein": "40 to 80 residues, nothing but the letters of residues"}
AGAIN = 'That was not a list of {n} texts. Answer again, with JSON only: {{"texts": [{n} strings]}}'
RESIDUES = frozenset("ACDEFGHIKLMNPQRSTVWYBJOUXZ")


@scorer("generation")
@dataclass(frozen=True)
class GenerationScorer:
    """Share of texts written from the explanation on which the feature fires."""

    texts: int = 10
    """Texts asked for, in one request."""
    threshold: float = 0.0
    """Share of the feature's maximum that an activation must exceed to count as firing."""

    needs = frozenset({"subject"})

    def __post_init__(self) -> None:
        if self.texts < 1 or not 0 <= self.threshold < 1:
            raise UsageError(f"texts {self.texts}, threshold {self.threshold}: at least 1, and from 0 to below 1")

    @property
    def id(self) -> str:
        """``generation@version`` and every setting that differs from its default."""
        return named(self, "generation", VERSION)

    def score(self, record: FeatureRecord, explanation: Explanation) -> Plan[Score]:
        """One request to the judge, then one to the subject.

        A trial stands for a text (its example is the text): always true, ``predicted`` where the feature fires,
        ``probability`` its activation as a share of the maximum. ``metrics`` holds ``mean_share`` of these,
        ``failures`` (texts that are no sequences are ``not a sequence``) and ``n_reasked``.
        """
        n, protein = self.texts, record.modality == "protein"
        request = self._request(record.modality, explanation.text)
        replies = yield from ask([request], lambda outcome, _: read(outcome, n), [AGAIN.format(n=n)])
        (written,) = replies.answers
        if isinstance(written, str):
            trials = [Trial("", "generated", -1, True, None, written) for _ in range(n)]
            return self._summary(record.feature, explanation.explainer, trials, replies.n_reasked, replies.model)
        texts = ["".join(text.split()).upper() if protein else text for text in written]
        valid = [i for i, text in enumerate(texts) if text.strip() and not (protein and set(text) - RESIDUES)]
        peaks: dict[int, float] = {}
        failure = "not a sequence" if protein else "empty"
        if valid:
            asked = ActivationRequest(record.feature, tuple(texts[i] for i in valid))
            outcome: Any = (yield [asked])[0]
            if isinstance(outcome, Computed):
                found = zip(valid, outcome.value, strict=True)
                peaks = {i: float(np.max(a, initial=0)) for i, a in found if a is not None}
            else:
                failure = outcome.kind
        top = record.statistics.max or 1.0
        trials = []
        for i, text in enumerate(texts):
            if i not in peaks:
                trials.append(Trial(text, "generated", -1, True, None, failure))
                continue
            height = peaks[i] / top
            trials.append(Trial(text, "generated", -1, True, height > self.threshold, probability=min(height, 1.0)))
        return self._summary(record.feature, explanation.explainer, trials, replies.n_reasked, replies.model)

    def _request(self, modality: str, explanation: str) -> Request:
        system = SYSTEM.format(
            what=WHAT[modality], kind=KIND[modality], length=LENGTH[modality], n=self.texts, fenced=FENCED
        )
        return Request(
            messages=(
                Message("system", system),
                Message("user", explained(explanation)),
            ),
            max_tokens=128 * self.texts,
            temperature=1.0,
            schema=object_schema(texts={"type": "array", "items": {"type": "string"}}),
            task=Task("generation", (), explanation=explanation, wanted=self.texts, modality=modality),
            tag="generation",
        )

    def _summary(self, feature: int, explainer: str, trials: Sequence[Trial], n_reasked: int, model: str) -> Score:
        heights = [t.probability for t in trials if t.probability is not None]
        metrics = {"n_reasked": n_reasked, "mean_share": float(np.mean(heights)) if heights else None}
        return share_of((feature, explainer, self.id), trials, metrics, model)


def read(outcome: Outcome, n: int) -> list[str] | str:
    """The ``n`` texts of a reply (more are cut off), or why there are none."""
    value = value_of(outcome, "texts")
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        return unread(outcome)
    if len(value) < n:
        return unread(outcome, "wrong count")
    return [text.encode("utf-8", "replace").decode() for text in value[:n]]
