"""The default explainer: activating contexts with marked tokens in, one sentence out.

The protocol is that of Bills et al. 2023 and Paulo et al. 2024 (arXiv 2410.13928): contexts sampled over the quantiles
of activation, tokens above a share of the maximum delimited, optionally a list of activations and a chain of thought.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from autointerp.explainers.registry import explainer
from autointerp.prompts import CLOSE, FENCED, OPEN, ask_again, fenced, find_json, numbered, render, spoken
from autointerp.records import Example, Explanation, Failure, FeatureRecord, Message, Plan, Request, Response, Task

VERSION = 2

SUBJECTS = {
    "text": "a language model",
    "protein": "a protein language model; the texts are stretches of amino-acid sequences in one-letter code",
}

SYSTEM = """You study the features of a sparse coder trained on {subject}.
{shown}{activations} The marks [start] and [end] show the ends of a sequence.
State what the feature responds to: {wanted}. Be specific \
and brief, one sentence if you can; name tokens, motifs, meanings or positions rather than this task; do not list the \
examples. If the strong examples agree and the weak ones do not, describe the strong ones.
{fenced}
Answer with JSON: {answer}"""
AGAIN = "That held no explanation. Answer again, with JSON only: {answer}"

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
PLAIN = '{"explanation": "<one sentence>"}'
REASONED = '{"reasoning": "<what the examples share, step by step>", "explanation": "<one sentence>"}'
LISTED_TOKENS = 10
BROKEN = re.compile(r"(```\w*\s*)?(\{|\[(?![A-Za-z]))")
"""How JSON begins, which a bare sentence or a label in brackets does not."""
REFUSED = re.compile(
    r"(?i)i(['’]m| am) (sorry|unable|afraid)\b|sorry,|i (can(no|['’])t|won['’]t|will not)\b|as an ai\b"
)
"""How a bare sentence begins that explains nothing."""
LABEL = re.compile(r"(?i)\bexplanation[\]\"'*\s]*:[\s*\"']*")


def _schema(*fields: str) -> dict[str, object]:
    return {
        "type": "object",
        "properties": {field: {"type": "string"} for field in fields},
        "required": list(fields),
        "additionalProperties": False,
    }


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
        changed = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
        options = "&".join(f"{name}={value:g}" for name, value in changed.items())
        return f"default@{VERSION}" + (f"?{options}" if options else "")

    @property
    def _form(self) -> str:
        return REASONED if self.cot else PLAIN

    def explain(self, record: FeatureRecord) -> Plan[Explanation]:
        """One request with every example of the explain side, and one more if its reply holds no explanation.

        ``details`` holds ``n_reasked`` where it was asked again, and the ``reasoning`` if there is one.
        """
        request = self.request(record)
        outcome = (yield [request])[0]
        again: dict[str, Any] = {}
        if isinstance(outcome, Response) and not self.parse(outcome)[0]:
            again = {"n_reasked": 1}
            outcome = (yield [ask_again(request, outcome, AGAIN.format(answer=self._form))])[0]
        if isinstance(outcome, Failure):
            why = f"{outcome.kind}: {outcome.message}"
            return Explanation(record.feature, "", self.id, failure=why, details=again)
        text, details = self.parse(outcome)
        failure = None if text else f"no explanation in the reply ({outcome.finish})"
        return Explanation(record.feature, text, self.id, outcome.model, failure, again | details)

    def request(self, record: FeatureRecord) -> Request:
        """The question about ``record``."""
        system = SYSTEM.format(
            subject=SUBJECTS[record.modality],
            shown=SHOWN[record.level],
            wanted=WANTED[record.level],
            activations=ACTIVATIONS[record.level] if self.activations else "",
            fenced=FENCED,
            answer=self._form,
        )
        top = max((e.peak for e in record.explain.positives), default=0.0)
        texts = [self._text(example, top, record.level) for example in record.explain.positives]
        return Request(
            messages=(Message("system", system), Message("user", fenced(numbered(texts)))),
            max_tokens=self.max_tokens * (4 if self.cot else 1),
            schema=_schema("reasoning", "explanation") if self.cot else _schema("explanation"),
            task=Task("explain", record.explain.positives, record.explain.negatives, level=record.level),
            tag="explain",
        )

    @staticmethod
    def parse(response: Response) -> tuple[str, dict[str, str]]:
        """(explanation, {"reasoning": …}) of a reply: JSON, text after a label, or a bare sentence; "" if none."""
        if response.finish == "refusal":
            return "", {}
        value = find_json(response.text)
        if isinstance(value, dict):
            text = value.get("explanation")
            reasoning = value.get("reasoning")
            details = {"reasoning": _clean(reasoning)} if isinstance(reasoning, str) and reasoning else {}
            return (_clean(text), details) if isinstance(text, str) else ("", {})
        bare = _clean(value if isinstance(value, str) else spoken(response.text))
        if response.finish != "stop" or BROKEN.match(bare) or REFUSED.match(bare):
            return "", {}
        return LABEL.split(bare)[-1].strip(), {}

    def _text(self, example: Example, top: float, level: str) -> str:
        if level == "sequence":
            strength = f"\n  activation: {_scaled(example.peak, top)}" if self.activations else ""
            return render(example) + strength
        marked = set(np.flatnonzero(example.activations > self.threshold * top).tolist()) or {
            int(np.argmax(example.activations))
        }
        text = render(example, marked)
        if not self.activations:
            return text
        strongest = np.argsort(-example.activations, kind="stable")[:LISTED_TOKENS]
        tokens = example.tokens
        listed = [(tokens[i], example.activations[i]) for i in strongest if example.activations[i] > 0]
        return text + "\n  activations: " + ", ".join(f"{token!r} {_scaled(value, top)}" for token, value in listed)


def _scaled(activation: float, top: float) -> int:
    return int(np.ceil(10 * activation / top))


def _clean(text: str) -> str:
    """``text`` without space around it and without lone surrogates, which no file or request can hold."""
    return text.encode("utf-8", "replace").decode().strip()
