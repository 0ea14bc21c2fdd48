"""Intervention: does the explanation tell what the subject does when it is steered along the feature?

After Paulo et al. 2024 (arXiv 2410.13928, "intervention scoring"), as a choice between two: the subject is steered
along the feature's direction and, as a control, along a random one, both to the same Kullback–Leibler divergence from
what it would predict. The judge sees the clean text and the two steered ones and says which of these shows what the
explanation describes; the score is the share of right choices, one half by chance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from autointerp.errors import UsageError
from autointerp.plans import named
from autointerp.prompts import CLOSE, FENCED, OPEN, explained, fenced, object_schema, one_line, spoken
from autointerp.records import (
    Computed,
    Explanation,
    Failure,
    FeatureRecord,
    Message,
    Outcome,
    Plan,
    Request,
    Response,
    Score,
    SteerRequest,
    Task,
    Trial,
)
from autointerp.scorers.asking import ask, unread, value_of
from autointerp.scorers.counting import share_of
from autointerp.scorers.registry import scorer

VERSION = 1
SYSTEM = """A feature of a model was strengthened while the model {did}. An explanation says what the feature stands \
for. You see what the model made without any change (clean) and two changed versions, A and B: in one this feature was \
strengthened, in the other a random direction, as much.{marks}
{fenced}
Say in which version the feature was strengthened, according to the explanation; guess if you cannot tell.
Answer with JSON only: {{"version": "A"}} or {{"version": "B"}}"""
DID = {"text": "continued a text", "protein": "filled in residues of a protein sequence"}
MARKS = {"text": "", "protein": f" The residues that it filled in stand between {OPEN} and {CLOSE}."}
AGAIN = 'That was not a version. Answer again, with JSON only: {"version": "A"} or {"version": "B"}'


@scorer("intervention")
@dataclass(frozen=True)
class InterventionScorer:
    """Share of steered texts that the judge tells from texts steered along a random direction, at equal divergence."""

    texts: int = 10
    """Silent contexts of the test side that are continued or filled in."""
    kl: float = 0.5
    """Mean divergence from the clean predictions, nats a token, that both strengths are tuned to."""
    n_tokens: int = 24
    """Tokens that a causal model writes."""

    needs = frozenset({"subject"})

    def __post_init__(self) -> None:
        if self.texts < 1 or self.kl <= 0 or self.n_tokens < 1:
            raise UsageError(f"texts {self.texts}, kl {self.kl}, n_tokens {self.n_tokens}: all must be above 0")

    @property
    def id(self) -> str:
        """``intervention@version`` and every setting that differs from its default."""
        return named(self, "intervention", VERSION)

    def score(self, record: FeatureRecord, explanation: Explanation) -> Plan[Score]:
        """One request to the subject, then one question to the judge for each text.

        Silent contexts are steered, so that nothing of the feature is there but what steering brings. A trial stands
        for a text: true, ``predicted`` where the right version was named. ``metrics`` holds ``kl_feature`` and
        ``kl_random``, the divergences reached, ``unchanged`` (texts on which both versions are the clean one, which are
        not asked about), ``failures`` and ``n_reasked``.
        """
        who = (record.feature, explanation.explainer, self.id)
        examples = [e for e in record.test.negatives if e.text.strip()][: self.texts]
        rng = np.random.default_rng([record.feature, len(examples)])
        flips = rng.random(len(examples)) < 0.5
        steered: Any = None
        if examples:
            request = SteerRequest(record.feature, tuple(e.text for e in examples), self.kl, self.n_tokens)
            steered = (yield [request])[0]
        if isinstance(steered, Failure):
            trials = [Trial(e.id, e.kind, e.quantile, True, None, steered.kind, i) for i, e in enumerate(examples)]
            error = {"chance": 0.5, "n_reasked": 0, "error": steered.message}
            return share_of(who, trials, error)
        made = steered.value if isinstance(steered, Computed) else []
        told = [i for i, m in enumerate(made) if len({m["clean"], m["feature"], m["random"]}) > 1]
        system = Message("system", SYSTEM.format(did=DID[record.modality], marks=MARKS[record.modality], fenced=FENCED))
        requests = [self._request(system, explanation.text, made[i], bool(flips[i])) for i in told]
        replies = yield from ask(requests, lambda outcome, _: read(outcome), [AGAIN] * len(requests))
        trials = []
        for i, answer in zip(told, replies.answers, strict=True):
            facts_of = (examples[i].id, examples[i].kind, examples[i].quantile, True)
            if isinstance(answer, str):
                trials.append(Trial(*facts_of, predicted=None, failure=answer, prompt=i))
            else:
                trials.append(Trial(*facts_of, predicted=(answer == 1) == bool(flips[i]), prompt=i))
        facts: dict[str, Any] = {
            "chance": 0.5,
            "n_reasked": replies.n_reasked,
            "unchanged": len(made) - len(told),
        }
        if made:
            facts |= {f"kl_{name}": made[0]["kl"][name] for name in ("feature", "random")}
        return share_of(who, trials, facts, replies.model)

    def estimated(self, record: FeatureRecord, explanation: Explanation) -> list[Request]:
        """The questions to the judge, with texts as long as steering makes them."""
        long = 5 * self.n_tokens if record.modality == "text" else 60
        made = {"clean": "x" * long, "feature": "y" * long, "random": "z" * long}
        system = Message("system", SYSTEM.format(did=DID[record.modality], marks=MARKS[record.modality], fenced=FENCED))
        n = min(self.texts, len(record.test.negatives))
        return [self._request(system, f"{explanation.text} {i}", made, False) for i in range(n)]

    def _request(self, system: Message, explanation: str, made: dict[str, Any], flip: bool) -> Request:
        first, second = (made["random"], made["feature"]) if flip else (made["feature"], made["random"])
        shown = f"clean: {one_line(made['clean'])}\nA: {one_line(first)}\nB: {one_line(second)}"
        return Request(
            messages=(system, Message("user", f"{explained(explanation)}\n\n{fenced(shown)}")),
            max_tokens=64,
            schema=object_schema(version={"type": "string", "enum": ["A", "B"]}),
            task=Task("intervention", (), explanation=explanation, texts=(first, second)),
            tag="intervention",
        )


def read(outcome: Outcome) -> int | str:
    """0 for version A, 1 for B, or why there is no answer."""
    value = value_of(outcome, "version")
    if value is None and isinstance(outcome, Response):
        value = spoken(outcome.text).strip().strip('."')
    if value not in ("A", "B"):
        return unread(outcome)
    return "AB".index(value)
