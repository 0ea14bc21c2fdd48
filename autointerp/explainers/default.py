"""The default explainer: activating contexts with marked tokens in, one sentence out.

The protocol is that of Bills et al. 2023 and Paulo et al. 2024 (arXiv 2410.13928): contexts sampled over the quantiles
of activation, tokens above a share of the maximum delimited, optionally a list of activations and a chain of thought.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from autointerp.explainers.asking import (
    PLAIN,
    PLAIN_SCHEMA,
    REASONED,
    REASONED_SCHEMA,
    SUBJECTS,
    ask_for_explanation,
    scaled,
)
from autointerp.explainers.registry import explainer
from autointerp.plans import named
from autointerp.prompts import CLOSE, FENCED, OPEN, fenced, numbered, render
from autointerp.records import Example, Explanation, FeatureRecord, Message, Plan, Request, Task

VERSION = 2

SYSTEM = """You study the features of a sparse coder trained on {subject}.
{shown}{activations} The marks [start] and [end] show the ends of a sequence.
State what the feature responds to: {wanted}. Be specific \
and brief, one sentence if you can; name tokens, motifs, meanings or positions rather than this task; do not list the \
examples. If the strong examples agree and the weak ones do not, describe the strong ones.
{fenced}
Answer with JSON: {answer}"""

SHOWN = {
    "token": "A feature fires on some tokens and is silent on all others. You are shown texts in which one feature "
    f"fires; tokens on which it fires strongly stand between {OPEN} and {CLOSE}.",
    "sequence": "A feature fires on some texts as a whole and is silent on all others. You are shown texts on which "
    "one feature fires, the strongest first.",
}
WANTED = {
    "token": "the pattern that its marked tokens, or what surrounds them, have in common",
    "sequence": "the pattern that these texts have in common",
}
ACTIVATIONS = {
    "token": " Under each text stand its strongest tokens with their activation from 0 to 10.",
    "sequence": " Under each text stands its activation from 0 to 10.",
}
LISTED_TOKENS = 10


@explainer("default")
@dataclass(frozen=True)
class DefaultExplainer:
    """Explain a feature from its activating contexts, in one request."""

    cot: bool = False
    """Ask for a chain of thought before the explanation."""
    activations: bool = False
    """List each context's strongest tokens with activations scaled to 0 … 10."""
    threshold: float = 0.3
    """Tokens above this share of the feature's largest shown activation are delimited."""
    max_tokens: int = 300
    """Bound on the answer; a chain of thought gets four times as much."""

    @property
    def id(self) -> str:
        """``default@version`` and every setting that differs from its default."""
        return named(self, "default", VERSION)

    @property
    def _form(self) -> str:
        return REASONED if self.cot else PLAIN

    def explain(self, record: FeatureRecord) -> Plan[Explanation]:
        """One request with every example of the explain side."""
        return ask_for_explanation(record, self.id, partial(self.request, record), self._form)

    def request(self, record: FeatureRecord, examples: Sequence[Example] | None = None) -> Request:
        """The question about ``record``; all of the explain side's activating examples are shown, or some."""
        examples = record.explain.positives if examples is None else examples
        system = SYSTEM.format(
            subject=SUBJECTS[record.modality],
            shown=SHOWN[record.level],
            wanted=WANTED[record.level],
            activations=ACTIVATIONS[record.level] if self.activations else "",
            fenced=FENCED,
            answer=self._form,
        )
        texts = marked_texts(examples, self.threshold, record.level, activations=self.activations)
        return Request(
            messages=(Message("system", system), Message("user", fenced(numbered(texts)))),
            max_tokens=self.max_tokens * (4 if self.cot else 1),
            schema=REASONED_SCHEMA if self.cot else PLAIN_SCHEMA,
            task=Task("explain", tuple(examples), record.explain.negatives, level=record.level),
            tag="explain",
        )


def marked_texts(examples: Sequence[Example], threshold: float, level: str, *, activations: bool = False) -> list[str]:
    """Each example's text, tokens above ``threshold`` times the largest activation delimited, in one line or two.

    Parameters
    ----------
    activations : write the strongest tokens (at level ``sequence`` the example) with activations below the text.
    """
    top = max((e.peak for e in examples), default=0.0)
    return [_text(example, threshold, top, level, activations) for example in examples]


def _text(example: Example, threshold: float, top: float, level: str, activations: bool) -> str:
    if level == "sequence":
        return render(example) + (f"\n  activation: {scaled(example.peak, top)}" if activations else "")
    marked = set(np.flatnonzero(example.activations > threshold * top).tolist())
    text = render(example, marked or {int(np.argmax(example.activations))})
    if not activations:
        return text
    strongest = np.argsort(-example.activations, kind="stable")[:LISTED_TOKENS]
    tokens = example.tokens
    listed = [(tokens[i], example.activations[i]) for i in strongest if example.activations[i] > 0]
    return text + "\n  activations: " + ", ".join(f"{token!r} {scaled(value, top)}" for token, value in listed)
