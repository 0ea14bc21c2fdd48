"""Simulation: how well the activations that a judge predicts token by token follow the true ones.

Definition: the correlation of simulated and true activations over all tokens of the held-out contexts, as whole numbers
from 0 to 10 of the feature's maximum (Bills et al. 2023, "Language models can explain neurons in language models"). The
judge writes the numbers of a context in one list, or is read for what it expects at each token (0 to 9,
:mod:`~autointerp.scorers.expected`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from autointerp.errors import UsageError, nearest
from autointerp.plans import named
from autointerp.prompts import FENCED, explained, fenced, object_schema, one_line
from autointerp.records import (
    Capabilities,
    Example,
    Explanation,
    Failure,
    FeatureRecord,
    Message,
    Outcome,
    Plan,
    Request,
    Score,
    Task,
    Trial,
)
from autointerp.scorers import expected
from autointerp.scorers.asking import Replies, ask, listed
from autointerp.scorers.counting import score_of
from autointerp.scorers.registry import scorer
from autointerp.statistics.clustered import clustered_pearson
from autointerp.statistics.correlation import pearson, spearman

if TYPE_CHECKING:
    from typing import Self

VERSION = 1
TOP = 10
ANSWERS = ("numbers", "expected", "auto")
TOKENS = {"text": "the tokens of a text", "protein": "the residues of a stretch of a protein"}
SYSTEM = """You simulate a feature of a model. An explanation says what the feature responds to; then come {tokens}, \
one a line, numbered. Say for each how strongly the feature fires on it, according to the explanation, as a whole \
number from 0 (silent, as on most tokens) to 10 (the strongest there is).
{fenced}
Answer with JSON only, one number for each token in order: {{"activations": [0, 7, …]}}"""
AGAIN = 'That was not a list of {n} numbers. Answer again, with JSON only: {{"activations": [{n} whole numbers]}}'


@scorer("simulation")
@dataclass(frozen=True)
class SimulationScorer:
    """Correlation of simulated and true activations, token by token; a judge that sees no difference gets 0."""

    answers: Literal["numbers", "expected", "auto"] = "numbers"
    """A list of numbers 0 … 10, or the number 0 … 9 that the judge expects; ``auto`` takes what its backend can do."""

    levels = ("token",)

    def __post_init__(self) -> None:
        if self.answers not in ANSWERS:
            raise UsageError(f"unknown answers {self.answers!r}; {nearest(self.answers, ANSWERS)}")

    @property
    def id(self) -> str:
        """``simulation@version``, and the form of the answers where it is not ``numbers``."""
        return named(self, "simulation", VERSION)

    @property
    def needs(self) -> frozenset[str]:
        """Capabilities that the judge must have."""
        return frozenset({"prompt_logprobs"} if self.answers == "expected" else ())

    def resolved(self, capabilities: Capabilities, n_explanations: int = 1) -> Self:
        """This scorer with ``auto`` decided for a backend: what is expected, where that can be read and is free."""
        if self.answers != "auto":
            return self
        return replace(self, answers="expected" if capabilities.prompt_logprobs and capabilities.free else "numbers")

    def score(self, record: FeatureRecord, explanation: Explanation) -> Plan[Score]:
        """One request for each context of the test side.

        ``value`` is Pearson's r over all tokens; its interval takes contexts as the units, since the tokens of one
        belong together. ``metrics`` holds ``explained_variance`` (1 − Σ(true − simulated)² / Σ(true − mean)², as
        simulated, not fitted), ``spearman``, ``by_quantile`` (r over each quantile's contexts and the silent ones),
        ``constant``, ``n_tokens``, ``failures``, ``n_reasked`` and, of expected numbers, ``mass``: the probability that
        the judge has left for a number, mean over tokens. A trial stands for a context: true where the feature fires,
        ``probability`` the largest simulated number over the largest there is.

        Raises
        ------
        UsageError : the record is of level ``sequence``, where no token has an activation; ``answers`` is still
            ``auto``.
        """
        if self.answers == "auto":
            raise UsageError(f"scorer {self.id}: auto depends on the judge; take scorer.resolved(client.capabilities)")
        if record.level == "sequence":
            raise UsageError("simulation predicts tokens: it needs a cache of level token, this one has level sequence")
        examples = [*record.test.positives, *record.test.negatives]
        if self.answers == "expected":
            return (yield from self._expected(record, explanation, examples))
        system = Message("system", SYSTEM.format(tokens=TOKENS[record.modality], fenced=FENCED))
        requests = [self._request(system, explanation.text, e) for e in examples]
        sizes = [len(e.ends) for e in examples]
        replies = yield from ask(
            requests, lambda outcome, i: read(outcome, sizes[i]), [AGAIN.format(n=n) for n in sizes]
        )
        return self._summary(record, explanation.explainer, examples, replies, TOP)

    def _expected(self, record: FeatureRecord, explanation: Explanation, examples: Sequence[Example]) -> Plan[Score]:
        """What the judge expects at each token, in a single round: asked again, it would expect the same."""
        system = expected.SYSTEM.format(tokens=TOKENS[record.modality], fenced=FENCED)
        requests = [expected.request(system, record.modality, explanation, e) for e in examples]
        outcomes = list((yield requests))
        tables = [expected.read(outcome, len(e.ends)) for outcome, e in zip(outcomes, examples, strict=True)]
        answers = [table if isinstance(table, str) else expected.expected(table).tolist() for table in tables]
        model = min((o.model for o in outcomes if not isinstance(o, Failure)), default="")
        score = self._summary(record, explanation.explainer, examples, Replies(answers, 0, model), expected.TOP)
        masses = [table.sum(1) for table in tables if not isinstance(table, str)]
        mass = float(np.concatenate(masses).mean()) if masses else None
        return replace(score, metrics={**score.metrics, "mass": mass})

    @staticmethod
    def _request(system: Message, explanation: str, example: Example) -> Request:
        tokens = [one_line(token) for token in example.tokens]
        lines = "\n".join(f"{i}: {token}" for i, token in enumerate(tokens, 1))
        shown = f"{explained(explanation)}\n\nThere are {len(tokens)} tokens.\n{fenced(lines)}"
        numbers = {"type": "array", "items": {"type": "integer", "enum": list(range(TOP + 1))}}
        return Request(
            messages=(system, Message("user", shown)),
            max_tokens=64 + 4 * len(tokens),
            schema=object_schema(activations=numbers),
            task=Task("simulation", (example.blind(),), explanation=explanation),
            tag="simulation",
        )

    def _summary(
        self,
        record: FeatureRecord,
        explainer: str,
        examples: Sequence[Example],
        replies: Replies[list[int]] | Replies[list[float]],
        highest: int,
    ) -> Score:
        trials, simulated, actual, quantiles = [], [], [], []
        top = record.statistics.max or 1.0
        for index, (example, answer) in enumerate(zip(examples, replies.answers, strict=True)):
            facts = (example.id, example.kind, example.quantile, example.peak > 0)
            if isinstance(answer, str):
                trials.append(Trial(*facts, predicted=None, failure=answer, prompt=index))
                continue
            most = max(answer, default=0) / highest
            trials.append(Trial(*facts, predicted=most > 0.5, prompt=index, probability=most))
            simulated.append(np.array(answer, float))
            actual.append(scaled(example.activations, top, highest))
            quantiles.append(example.quantile if example.peak > 0 else -1)
        metrics: dict[str, Any] = {"n_reasked": replies.n_reasked}
        interval = None
        if simulated:
            x, y = np.concatenate(simulated), np.concatenate(actual)
            of = np.repeat(np.array(quantiles), [len(s) for s in simulated])
            context = np.repeat(np.arange(len(simulated)), [len(s) for s in simulated])
            interval = clustered_pearson(x, y, context)
            spread = float(((y - y.mean()) ** 2).sum())
            metrics |= {
                "explained_variance": 1 - float(((y - x) ** 2).sum()) / spread if spread else None,
                "spearman": float(spearman(x, y).value[0]),
                "constant": not (np.ptp(x) and np.ptp(y)),
                "n_tokens": len(x),
                "by_quantile": {
                    str(q): float(pearson(x[near], y[near]).value[0])
                    for q in sorted(set(quantiles) - {-1})
                    if (near := (of == q) | (of == -1)).any()
                },
            }
        return score_of((record.feature, explainer, self.id), trials, interval, metrics, replies.model)


def scaled(activations: np.ndarray, top: float, highest: int = TOP) -> np.ndarray:
    """Activations as whole numbers from 0 to ``highest``, which the largest (``top``) has; above 0 at least 1."""
    return np.minimum(np.ceil(highest * np.asarray(activations, float) / top), highest)


def read(outcome: Outcome, n: int) -> list[int] | str:
    """The ``n`` numbers of a reply, each 0 to 10, or why there are none."""
    value = listed(outcome, "activations", n)
    if isinstance(value, str):
        return value
    if any(type(v) is not int or not 0 <= v <= TOP for v in value):
        return f"not 0 to {TOP}"
    return value
