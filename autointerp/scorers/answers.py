"""The forms of a judge's answer: a 0 or 1, a grade from 0 to 10, or the probability of a single digit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autointerp.prompts import object_schema
from autointerp.records import Outcome, Response
from autointerp.scorers.asking import listed

_BLIND = "Judge by the explanation alone; any share of the examples may be"


@dataclass(frozen=True)
class Form:
    """How a judge is asked for its answers, and what a value means; every value counts as active above one half."""

    ask: str
    """End of the system prompt; ``{active}`` says what is to be judged."""
    again: str
    """What follows a reply that could not be read; ``{n}`` is the number of examples."""
    top: int
    """Largest value of an answer."""
    rule: str
    """When an answer counts as 1."""
    values: str = ""
    """What the values are, where they rank examples: an AUROC is computed from them."""
    choices: tuple[str, ...] = ()
    """The single tokens whose probabilities are the answer; one example a prompt then."""

    @property
    def schema(self) -> Mapping[str, Any] | None:
        """JSON schema of the reply; None where it is a single token."""
        if self.choices:
            return None
        items = {"type": "integer", "enum": list(range(self.top + 1))}
        return object_schema(answers={"type": "array", "items": items})

    def max_tokens(self, n: int) -> int:
        """Bound on the length of a reply with ``n`` answers."""
        return 1 if self.choices else 64 + 8 * n

    def read(self, outcome: Outcome, n: int) -> list[float] | str:
        """The ``n`` answers of a reply, from 0 to 1, or why there are none."""
        if self.choices and isinstance(outcome, Response) and outcome.finish != "refusal":
            p = (outcome.probabilities or {}).get(self.choices[-1], math.nan)
            return [p] if 0 <= p <= 1 else "no probability"
        value = listed(outcome, "answers", n)
        if isinstance(value, str):
            return value
        kinds = (int, bool) if self.top == 1 else (int,)
        if any(type(v) not in kinds or not 0 <= v <= self.top for v in value):
            return f"not 0 {'or' if self.top == 1 else 'to'} {self.top}"
        return [v / self.top for v in value]


FORMS: Mapping[str, Form] = {
    "binary": Form(
        ask=f"For every example answer 1 if {{active}} according to the explanation, else 0. {_BLIND} 1.\n"
        'Answer with JSON only, one number for each example in order: {{"answers": [0, 1, …]}}',
        again="That was not a list of {n} answers. Answer again, with JSON only: "
        '{{"answers": [{n} numbers, each 0 or 1]}}',
        top=1,
        rule="answer 1",
    ),
    "graded": Form(
        ask="For every example answer with a whole number from 0 (certainly not) to 10 (certainly): how sure you are, "
        f"according to the explanation, that {{active}}. Above 5 counts as yes. {_BLIND} above 5.\n"
        'Answer with JSON only, one number for each example in order: {{"answers": [0, 7, …]}}',
        again="That was not a list of {n} answers. Answer again, with JSON only: "
        '{{"answers": [{n} whole numbers, each from 0 to 10]}}',
        top=10,
        rule="grade > 5",
        values="grades from 0 to 10",
    ),
    "probability": Form(
        ask="Answer 1 if {active} according to the explanation, else 0. Judge by the explanation alone; either answer "
        "may be the right one more often.\n"
        "Answer with one digit and nothing else: 0 or 1",
        again="Answer again, with one digit and nothing else: 0 or 1",
        top=1,
        rule="probability > 0.5",
        values="probabilities",
        choices=("0", "1"),
    ),
}
