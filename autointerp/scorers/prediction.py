"""Prediction: how well the activations that a judge predicts from the explanation follow the true ones.

Definition: Pearson's r between predicted and true activation over held-out examples, activating and silent ones, the
true one as a share of the feature's maximum. It is the score of Gujral et al. 2025 (PNAS; whole proteins) and of
InterPLM (Simon & Zou 2025, Nature Methods; maxima of proteins). Both show the judge the proteins' metadata; here it
sees their sequence, unless ``metadata_at_test`` says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from autointerp.errors import UsageError
from autointerp.plans import named
from autointerp.prompts import FENCED, METADATA, explained, fenced, known, numbered, object_schema, one_line, render
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
from autointerp.scorers.asking import Judged, ask_each, listed
from autointerp.scorers.classification import TEXTS
from autointerp.scorers.counting import score_of
from autointerp.scorers.registry import scorer
from autointerp.statistics.correlation import pearson, spearman

VERSION = 1
SYSTEM = """You predict how strongly a feature of a model fires. An explanation says what the feature responds to; the \
examples are {texts}{known}. The marks [start] and [end] show the ends of a sequence.
{fenced}
For every example predict the feature's {peak}activation, according to the explanation, as a number from 0 (silent) to \
1 (the strongest there is); use the whole range. Any share of the examples may be silent.
Answer with JSON only, one number for each example in order: {{"activations": [0, 0.35, …]}}"""
AGAIN = 'That was not a list of {n} numbers. Answer again, with JSON only: {{"activations": [{n} numbers, 0 to 1]}}'


@scorer("prediction")
@dataclass(frozen=True)
class PredictionScorer:
    """Pearson's r of predicted and true activations; a judge that always says the same gets 0 and is flagged."""

    examples_per_prompt: int = 20
    """Examples whose activations are predicted in one request."""
    metadata_at_test: bool = False
    """Show the judge names, genes, families and GO terms of the held-out proteins, as the published protocols do: it
    then measures how well metadata predict the feature, and no text of the sequence is shown."""

    needs = frozenset[str]()

    def __post_init__(self) -> None:
        if self.examples_per_prompt < 1:
            raise UsageError(f"examples_per_prompt {self.examples_per_prompt}: must be at least 1")

    @property
    def id(self) -> str:
        """``prediction@version`` and every setting that differs from its default."""
        return named(self, "prediction", VERSION)

    def score(self, record: FeatureRecord, explanation: Explanation) -> Plan[Score]:
        """Predictions for all examples of the test side, in an order that follows from the feature alone.

        ``value`` is r with Fisher's interval. ``metrics`` holds ``p``, ``spearman``, ``predicted`` and ``actual`` (of
        the judged examples), ``constant`` (all predictions equal, or all truths), ``metadata_at_test``, ``failures``,
        ``n_reasked``, and ``n_split`` where prompts were too long for the backend and were put in halves. A trial is
        true where the feature fires, and ``probability`` holds the prediction.
        """
        examples = [*record.test.positives, *record.test.negatives]
        order = np.random.default_rng([record.feature, len(examples)]).permutation(len(examples)).tolist()
        size = self.examples_per_prompt
        prompts = [[examples[i] for i in order[a : a + size]] for a in range(0, len(order), size)]
        system = Message(
            "system",
            SYSTEM.format(
                texts="proteins" if self.metadata_at_test else TEXTS[record.modality],
                known=", of which you are told what is known" if self.metadata_at_test else "",
                peak="" if record.level == "sequence" else "strongest ",
                fenced=FENCED,
            ),
        )
        judged = yield from ask_each(
            prompts,
            lambda parts: [self._request(system, explanation.text, part, record.level) for part in parts],
            read,
            lambda n: AGAIN.format(n=n),
        )
        return self._summary(record, explanation.explainer, prompts, judged)

    def _request(self, system: Message, explanation: str, prompt: Sequence[Example], level: str) -> Request:
        shown = partial(_described, self.metadata_at_test)
        texts = numbered([shown(example) for example in prompt])
        asked = f"There are {len(prompt)} examples.\n" + fenced(texts)
        return Request(
            messages=(system, Message("user", f"{explained(explanation)}\n\n{asked}")),
            max_tokens=64 + 8 * len(prompt),
            schema=object_schema(activations={"type": "array", "items": {"type": "number"}}),
            task=Task("prediction", tuple(map(self._seen, prompt)), explanation=explanation, level=level),
            tag="prediction",
        )

    def _seen(self, example: Example) -> Example:
        """The example as the messages show it."""
        blind = example.blind()
        if not self.metadata_at_test:
            return blind
        facts = {column: example.metadata[column] for column in METADATA if column in example.metadata}
        return replace(blind, text="", ends=np.zeros_like(blind.ends), metadata=facts)

    def _summary(
        self, record: FeatureRecord, explainer: str, prompts: Sequence[Sequence[Example]], judged: Judged
    ) -> Score:
        top = record.statistics.max or 1.0
        trials, predicted, actual = [], [], []
        places = [(example, index) for index, prompt in enumerate(prompts) for example in prompt]
        for (example, index), said in zip(places, judged.answers, strict=True):
            facts = (example.id, example.kind, example.quantile, example.peak > 0)
            if isinstance(said, str):
                trials.append(Trial(*facts, predicted=None, failure=said, prompt=index))
                continue
            trials.append(Trial(*facts, predicted=said > 0.5, prompt=index, probability=said))
            predicted.append(said)
            actual.append(min(example.peak / top, 1.0))
        x, y = np.array(predicted), np.array(actual)
        found = pearson(x, y)
        known = len(x) >= 3
        metrics: dict[str, Any] = {
            "p": float(found.p[0]) if known else None,
            "spearman": float(spearman(x, y).value[0]) if known else None,
            "constant": bool(found.constant[0]),
            "metadata_at_test": self.metadata_at_test,
            "n_reasked": judged.n_reasked,
            **({"n_split": judged.n_split} if judged.n_split else {}),
            "predicted": [round(v, 4) for v in predicted],
            "actual": [round(v, 4) for v in actual],
        }
        interval = (float(found.value[0]), float(found.low[0]), float(found.high[0])) if known else None
        return score_of((record.feature, explainer, self.id), trials, interval, metrics, judged.model)


def _described(metadata: bool, example: Example) -> str:
    """The example as a judge sees it: its text, or what is known of its protein."""
    if not metadata:
        return render(example)
    return one_line("; ".join(known(example.metadata))) or "nothing is known"


def read(outcome: Outcome, n: int) -> list[float] | str:
    """The ``n`` numbers of a reply, each from 0 to 1, or why there are none."""
    value = listed(outcome, "activations", n)
    if isinstance(value, str):
        return value
    if any(type(v) not in (int, float) or not 0 <= v <= 1 for v in value):  # NaN is none of them
        return "not 0 to 1"
    return [float(v) for v in value]
