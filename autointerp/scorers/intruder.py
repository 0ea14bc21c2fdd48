"""Intruder: does the judge find, among contexts in which a feature fires, the one in which it is silent?

Definition: the share of intruders found (Paulo & Belrose 2025, arXiv 2507.08473). Each question shows activating
contexts of one quantile, their activating tokens marked, and one silent context with as many tokens marked. No
explanation is shown, so the score is of the feature alone: how much its contexts have in common for the judge.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from autointerp.errors import UsageError
from autointerp.plans import named
from autointerp.prompts import CLOSE, FENCED, OPEN, fenced, numbered, object_schema, render
from autointerp.records import (
    Example,
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
from autointerp.scorers.classification import TEXTS
from autointerp.scorers.counting import hits_by, share_of
from autointerp.scorers.fuzzing import borrowed
from autointerp.scorers.registry import scorer

VERSION = 1
SYSTEM = """You are shown {n} examples, {texts}. A feature of a model fires on {m} of them{where}; on one, the \
intruder, it is silent{but}. The marks [start] and [end] show the ends of a sequence. Find what {m} of the examples \
have in common and the intruder lacks.
{fenced}
Answer with JSON only, the number of the intruder: {{"intruder": <1 to {n}>}}"""
WHERE = {"token": f", at the tokens between {OPEN} and {CLOSE}", "sequence": ", as a whole"}
BUT = {"token": ": there other tokens are marked", "sequence": ""}
AGAIN = 'That was not the number of an example. Answer again, with JSON only: {{"intruder": <1 to {n}>}}'


@scorer("intruder")
@dataclass(frozen=True)
class IntruderScorer:
    """Share of questions in which the silent context is found among activating ones; needs no explanation."""

    shown: int = 5
    """Examples in a question, the intruder among them; the chance of a blind guess is one in so many."""
    threshold: float = 0.3
    """Tokens above this share of a context's own peak are marked."""

    needs = frozenset[str]()
    uses_explanation = False
    """The same for every explanation, so it has no null."""

    def __post_init__(self) -> None:
        if not 2 <= self.shown <= 26:
            raise UsageError(f"shown {self.shown}: must be 2 to 26 examples, the intruder among them")

    @property
    def id(self) -> str:
        """``intruder@version`` and every setting that differs from its default."""
        return named(self, "intruder", VERSION)

    def score(self, record: FeatureRecord, explanation: Explanation) -> Plan[Score]:
        """One question for each silent context of the test side.

        A trial stands for a question: its example is the intruder, its quantile that of the others, and it is
        ``predicted`` (all are true) where the intruder was found. ``metrics`` holds ``chance``, ``hits_by_quantile``,
        ``by_kind`` (of the intruder), ``p`` (of so many hits by guessing), ``failures``, ``worst`` and ``best``.
        """
        questions = self._questions(record)
        n = self.shown
        system = Message(
            "system",
            SYSTEM.format(
                n=n,
                m=n - 1,
                texts=TEXTS[record.modality],
                where=WHERE[record.level],
                but=BUT[record.level],
                fenced=FENCED,
            ),
        )
        requests = [self._request(system, examples, record) for examples, _ in questions]
        replies = yield from ask(requests, lambda outcome, _: read(outcome, n), [AGAIN.format(n=n)] * len(requests))
        trials = []
        for index, ((examples, place), answer) in enumerate(zip(questions, replies.answers, strict=True)):
            intruder, company = examples[place], examples[place - 1]
            facts = (intruder.id, intruder.kind, company.quantile, True)
            if isinstance(answer, str):
                trials.append(Trial(*facts, predicted=None, failure=answer, prompt=index))
            else:
                trials.append(Trial(*facts, predicted=answer == place + 1, prompt=index))
        return self._summary(record.feature, explanation.explainer, trials, replies.n_reasked, replies.model)

    def _questions(self, record: FeatureRecord) -> list[tuple[list[Example], int]]:
        """The examples of each question and the place of the intruder; they follow from the record alone."""
        positives, silent = record.test.positives, record.test.negatives
        if len(positives) < self.shown - 1:
            return []
        rng = np.random.default_rng([record.feature, len(silent)])
        quantiles = np.array([e.quantile for e in positives])
        present = np.unique(quantiles)
        questions = []
        for i, intruder in enumerate(silent):
            # the nearest quantiles lend theirs where one has too few
            distance = np.abs(quantiles - present[i % len(present)])
            near = np.lexsort((rng.random(len(positives)), distance))[: self.shown - 1]
            company = [positives[j] for j in rng.permutation(near).tolist()]
            place = int(rng.integers(self.shown))
            questions.append(([*company[:place], intruder, *company[place:]], place))
        return questions

    def _request(self, system: Message, examples: Sequence[Example], record: FeatureRecord) -> Request:
        marks = [self._marks(e, record.level) for e in examples]
        filled = [m for e, m in zip(examples, marks, strict=True) if e.kind == "activating" and m]
        for i, example in enumerate(examples):
            if example.kind != "activating" and filled:  # as many as, and where, one of its company has them
                marks[i] = borrowed(filled[i % len(filled)], len(example.ends))
        texts = [render(e, m) for e, m in zip(examples, marks, strict=True)]
        return Request(
            messages=(system, Message("user", fenced(numbered(texts)))),
            max_tokens=64,
            schema=object_schema(intruder={"type": "integer", "enum": list(range(1, len(examples) + 1))}),
            task=Task("intruder", tuple(e.blind() for e in examples), marks=tuple(marks), level=record.level),
            tag="intruder",
        )

    def _marks(self, example: Example, level: str) -> tuple[int, ...]:
        if level == "sequence" or example.kind != "activating":
            return ()
        return tuple((example.activations >= max(self.threshold * example.peak, 1e-30)).nonzero()[0].tolist())

    def _summary(self, feature: int, explainer: str, trials: Sequence[Trial], n_reasked: int, model: str) -> Score:
        from scipy.stats import binomtest

        judged = [t for t in trials if t.failure is None]
        metrics: dict[str, Any] = {
            "chance": 1 / self.shown,
            "n_reasked": n_reasked,
            "hits_by_quantile": hits_by(judged, lambda t: t.quantile),
            "by_kind": hits_by(judged, lambda t: t.kind),
        }
        if judged:
            found = sum(bool(t.predicted) for t in judged)
            metrics["p"] = float(binomtest(found, len(judged), 1 / self.shown, alternative="greater").pvalue)
        return share_of((feature, explainer, self.id), trials, metrics, model)


def read(outcome: Outcome, n: int) -> int | str:
    """The number of the intruder in a reply, 1 to ``n``, or why there is none."""
    value = value_of(outcome, "intruder")
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if type(value) is not int:
        return unread(outcome)
    return value if 1 <= value <= n else f"not 1 to {n}"
