"""The single-token explainer: only the token at each peak is shown, no context.

As delphi's single-token explainer: what it reaches is what a look-up of tokens reaches, so an explanation that does no
better than this one has seen nothing in the contexts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from autointerp.errors import UsageError
from autointerp.explainers.asking import PLAIN, PLAIN_SCHEMA, SUBJECTS, ask_for_explanation, scaled
from autointerp.explainers.registry import explainer
from autointerp.plans import named
from autointerp.prompts import FENCED, fenced, one_line
from autointerp.records import Example, Explanation, FeatureRecord, Message, Plan, Request, Task

VERSION = 1
SYSTEM = """You study the features of a sparse coder trained on {subject}. A feature fires on some tokens and is \
silent on all others. You are shown the tokens on which one feature fires most, each with how often it was at the peak \
and its largest activation from 0 to 10. You do not see their contexts.
State what these tokens have in common. Be specific and brief, one sentence if you can.
{fenced}
Answer with JSON: {answer}"""


@explainer("single-token")
@dataclass(frozen=True)
class SingleTokenExplainer:
    """Explain a feature from the tokens at its peaks alone, in one request."""

    max_tokens: int = 300
    """Bound on the answer."""

    levels = ("token",)

    @property
    def id(self) -> str:
        """``single-token@version`` and every setting that differs from its default."""
        return named(self, "single-token", VERSION)

    def explain(self, record: FeatureRecord) -> Plan[Explanation]:
        """One request with the peaks' tokens, the most frequent first.

        Raises
        ------
        UsageError : the record is of level ``sequence``, which has no peaks.
        """
        if record.level == "sequence":
            raise UsageError("single-token shows tokens: it needs a cache of level token, this one has level sequence")
        return ask_for_explanation(record, self.id, partial(self._request, record), PLAIN)

    def _request(self, record: FeatureRecord, examples: Sequence[Example]) -> Request:
        top = max((e.peak for e in examples), default=0.0)
        peaks: dict[str, list[float]] = defaultdict(list)
        for example in examples:
            peaks[example.tokens[int(np.argmax(example.activations))]].append(example.peak)
        order = sorted(peaks.items(), key=lambda item: (-len(item[1]), -max(item[1]), item[0]))
        lines = [f"{one_line(token)!r}: {len(found)} times, up to {scaled(max(found), top)}" for token, found in order]
        system = SYSTEM.format(subject=SUBJECTS[record.modality], fenced=FENCED, answer=PLAIN)
        return Request(
            messages=(Message("system", system), Message("user", fenced("\n".join(lines)))),
            max_tokens=self.max_tokens,
            schema=PLAIN_SCHEMA,
            task=Task("explain", tuple(_peak_alone(e) for e in examples), record.explain.negatives, level=record.level),
            tag="explain",
        )


def _peak_alone(example: Example) -> Example:
    """The example cut down to its peak, inside a sequence."""
    at = int(np.argmax(example.activations))
    token = example.tokens[at]
    return Example(
        example.sequence,
        max(example.start + at, 1),
        token,
        np.array([len(token)]),
        example.activations[at : at + 1],
        example.group,
        example.kind,
        example.quantile,
        example.length + 2,
        metadata={},
    )
