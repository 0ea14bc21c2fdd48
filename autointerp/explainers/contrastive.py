"""The contrastive explainer: contexts in which a feature fires, beside silent ones that look like them.

As delphi's contrastive explainer does it (Paulo et al. 2024, arXiv 2410.13928), with whichever negatives the loader
draws: ``similar`` or ``near-miss`` ones are the hard cases that keep an explanation from being too broad.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from autointerp.explainers.asking import PLAIN, PLAIN_SCHEMA, REASONED, REASONED_SCHEMA, SUBJECTS, ask_for_explanation
from autointerp.explainers.default import SHOWN, WANTED, marked_texts
from autointerp.explainers.registry import explainer
from autointerp.plans import named
from autointerp.prompts import FENCED, fenced, numbered, render
from autointerp.records import Example, Explanation, FeatureRecord, Message, Plan, Request, Task

VERSION = 1
SYSTEM = """You study the features of a sparse coder trained on {subject}.
{shown} Then you are shown texts in which it is silent although they may look alike. The marks [start] and [end] show \
the ends of a sequence.
State what the feature responds to: {wanted}, and which the silent texts lack. Be specific and brief, one sentence if \
you can; say where the limit lies if the silent texts show it; name tokens, motifs, meanings or positions rather than \
this task; do not list the examples.
{fenced}
Answer with JSON: {answer}"""


@explainer("contrastive")
@dataclass(frozen=True)
class ContrastiveExplainer:
    """Explain a feature from contexts in which it fires and silent ones, in one request."""

    silent: int = 15
    """Silent contexts shown, at most; of every kind of negative its share."""
    cot: bool = False
    """Ask for a chain of thought before the explanation."""
    threshold: float = 0.3
    """Tokens above this share of the feature's largest shown activation are delimited."""
    max_tokens: int = 300
    """Bound on the answer; a chain of thought gets four times as much."""

    @property
    def id(self) -> str:
        """``contrastive@version`` and every setting that differs from its default."""
        return named(self, "contrastive", VERSION)

    def explain(self, record: FeatureRecord) -> Plan[Explanation]:
        """One request; without silent contexts on the explain side it says only what the feature fires on."""
        form = REASONED if self.cot else PLAIN
        return ask_for_explanation(record, self.id, partial(self._request, record, form), form)

    def _request(self, record: FeatureRecord, form: str, examples: Sequence[Example]) -> Request:
        system = SYSTEM.format(
            subject=SUBJECTS[record.modality],
            shown=SHOWN[record.level],
            wanted=WANTED[record.level],
            fenced=FENCED,
            answer=form,
        )
        negatives = record.explain.negatives
        # fewer where the backend's context was too short for all positives, and from all over, so of every kind
        most = min(self.silent, len(negatives) * len(examples) // max(len(record.explain.positives), 1))
        chosen = [negatives[i * len(negatives) // most] for i in range(most)]
        active = numbered(marked_texts(examples, self.threshold, record.level))
        shown = "It fires in:\n" + fenced(active)
        if chosen:
            shown += "\n\nIt is silent in:\n" + fenced(numbered([render(e) for e in chosen]))
        return Request(
            messages=(Message("system", system), Message("user", shown)),
            max_tokens=self.max_tokens * (4 if self.cot else 1),
            schema=REASONED_SCHEMA if self.cot else PLAIN_SCHEMA,
            task=Task("explain", tuple(examples), tuple(chosen), level=record.level),
            tag="explain",
        )
