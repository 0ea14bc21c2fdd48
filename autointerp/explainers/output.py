"""The output explainer: from the tokens that a feature makes likelier and unlikelier, alone or with its inputs.

What a feature does to the predictions often says what it is for where its inputs do not (Gur-Arieh et al. 2025, arXiv
2501.08319, "output-centric" descriptions; an ensemble of both is best on either side there).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autointerp.explainers.asking import PLAIN, PLAIN_SCHEMA, SUBJECTS, ask_for_explanation
from autointerp.explainers.default import marked_texts
from autointerp.explainers.registry import explainer
from autointerp.plans import named
from autointerp.prompts import CLOSE, FENCED, OPEN, fenced, numbered, one_line
from autointerp.records import (
    Computed,
    Example,
    Explanation,
    FeatureRecord,
    LogitRequest,
    Message,
    Plan,
    Request,
    Task,
)

VERSION = 2
SYSTEM = """You study the features of a sparse coder trained on {subject}. You are shown the tokens whose prediction \
one feature raises most and lowers most when it fires.{inputs}
State what the feature stands for: {wanted}. Be specific and brief, one sentence if you can; do not list the tokens. \
If they have nothing in common, say so.
{fenced}
Answer with JSON: {answer}"""
INPUTS = f" Then come texts in which it fires, tokens on which it fires strongly between {OPEN} and {CLOSE}."
WANTED = {
    False: "what the raised tokens have in common",
    True: "what it responds to and what it makes the model expect",
}


@explainer("output")
@dataclass(frozen=True)
class OutputExplainer:
    """Explain a feature from its direct effect on the predictions, in one request; needs the subject and the coder."""

    inputs: bool = False
    """Show activating contexts too."""
    top: int = 15
    """Tokens listed of either kind."""
    threshold: float = 0.3
    """Tokens above this share of the feature's largest shown activation are delimited."""
    max_tokens: int = 300
    """Bound on the answer."""

    needs = frozenset({"subject"})

    @property
    def id(self) -> str:
        """``output@version`` and every setting that differs from its default."""
        return named(self, "output", VERSION)

    def explain(self, record: FeatureRecord) -> Plan[Explanation]:
        """One request to the subject, then one to the client; ``details`` holds ``promoted`` and ``suppressed``."""
        shown = (*record.explain.positives, *record.explain.negatives)
        scale = record.statistics.mean
        asked = LogitRequest(record.feature, tuple(e.text for e in shown), scale, self.top)
        outcome: Any = (yield [asked])[0]
        if not isinstance(outcome, Computed):
            return Explanation(record.feature, "", self.id, failure=f"{outcome.kind}: {outcome.message}")
        effect: Mapping[str, Sequence[tuple[str, float]]] = outcome.value

        def build(examples: Sequence[Example]) -> Request:
            return self._request(record, effect, examples)

        found = yield from ask_for_explanation(record, self.id, build, PLAIN)
        tokens = {name: [token for token, _ in effect[name]] for name in ("promoted", "suppressed")}
        return Explanation(
            found.feature, found.text, found.explainer, found.model, found.failure, dict(found.details) | tokens
        )

    def estimated(self, record: FeatureRecord) -> list[Request]:
        """The request to the client, with as many tokens as will be listed."""
        tokens = [("token", 0.5)] * self.top
        return [self._request(record, {"promoted": tokens, "suppressed": tokens}, record.explain.positives)]

    def _request(
        self, record: FeatureRecord, effect: Mapping[str, Sequence[tuple[str, float]]], examples: Sequence[Example]
    ) -> Request:
        lines = [
            f"{what}: " + (", ".join(f"{one_line(token)!r} {change:+.2f}" for token, change in effect[name]) or "none")
            for what, name in (("raised", "promoted"), ("lowered", "suppressed"))
        ]
        shown = fenced("\n".join(lines))
        if self.inputs:
            texts = marked_texts(examples, self.threshold, record.level)
            shown += "\n\nIt fires in:\n" + fenced(numbered(texts))
        system = SYSTEM.format(
            subject=SUBJECTS[record.modality],
            inputs=INPUTS if self.inputs else "",
            wanted=WANTED[self.inputs],
            fenced=FENCED,
            answer=PLAIN,
        )
        return Request(
            messages=(Message("system", system), Message("user", shown)),
            max_tokens=self.max_tokens,
            schema=PLAIN_SCHEMA,
            task=Task("explain", tuple(examples), record.explain.negatives, level=record.level),
            tag="explain",
        )
