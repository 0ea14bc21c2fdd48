"""What detection and fuzzing share: settings, shuffled batches of examples, one answer for each, one re-ask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np

from autointerp.errors import UsageError, nearest
from autointerp.plans import named
from autointerp.prompts import FENCED, explained, fenced, numbered
from autointerp.records import (
    Capabilities,
    Example,
    Explanation,
    FeatureRecord,
    Message,
    Plan,
    Request,
    Score,
    Task,
    Trial,
)
from autointerp.scorers.answers import FORMS, Form
from autointerp.scorers.asking import ask_each
from autointerp.scorers.summary import summarise

if TYPE_CHECKING:
    from typing import Self

TEXTS = {"text": "excerpts of documents", "protein": "stretches of protein sequences in one-letter code"}
ORDERS = ("explanation-first", "examples-first")


class Item(NamedTuple):
    """One example to judge: as shown, and the truth."""

    example: Example
    text: str
    truth: bool
    marks: tuple[int, ...] = ()


class Blind(Sequence[Example]):
    """The examples of ``items`` as a judge may see them; made when looked at, which few backends do."""

    __slots__ = ("_items",)

    def __init__(self, items: Sequence[Item]) -> None:
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: Any) -> Any:
        return self._items[index].example.blind()


@dataclass(frozen=True)
class Judging:
    """Settings of a scorer that has examples judged one by one, and the plan that judges them."""

    examples_per_prompt: int = 5
    """Examples judged in one request; always 1 with ``answers="probability"``."""
    answers: Literal["binary", "graded", "probability", "auto"] = "binary"
    """A 0 or 1, a grade 0 … 10, or the probability of the token 1; ``auto`` takes what the judge's backend can do."""
    order: Literal["explanation-first", "examples-first", "auto"] = "explanation-first"
    """What of a prompt comes first; ``auto`` takes what shares the longer prefix between prompts."""

    NAME: ClassVar[str]
    VERSION: ClassVar[int]

    def __post_init__(self) -> None:
        if self.examples_per_prompt < 1:
            raise UsageError(f"examples_per_prompt {self.examples_per_prompt}: must be at least 1")
        for name, valid in (("answers", tuple(FORMS)), ("order", ORDERS)):
            if (value := getattr(self, name)) not in (*valid, "auto"):
                raise UsageError(f"unknown {name} {value!r}; {nearest(value, (*valid, 'auto'))}")

    @property
    def id(self) -> str:
        """``name@version`` and every setting that differs from its default and matters."""
        immaterial = {"examples_per_prompt"} if self.answers == "probability" else ()
        return named(self, self.NAME, self.VERSION, without=immaterial)

    @property
    def needs(self) -> frozenset[str]:
        """Capabilities that the judge must have."""
        return frozenset({"logprobs"} if self.answers == "probability" else ())

    def resolved(self, capabilities: Capabilities, n_explanations: int = 1) -> Self:
        """This scorer with every ``auto`` decided for a backend.

        Probabilities cost a request for each example, so they are taken where requests are free. Examples come first
        where a prefix cache pays and ``n_explanations`` of two or more (a null is one) are judged on the same examples;
        not with a single example in a prompt, which is shorter than what the other order shares.
        """
        answers, order = self.answers, self.order
        if answers == "auto":
            answers = "probability" if capabilities.logprobs and capabilities.free else "graded"
        if order == "auto":
            packed = answers != "probability" and self.examples_per_prompt > 1
            shared = capabilities.prefix_cache and n_explanations > 1 and packed
            order = "examples-first" if shared else "explanation-first"
        return replace(self, answers=answers, order=order)

    def judge(
        self, record: FeatureRecord, explanation: Explanation, items: Sequence[Item], *, system: str, active: str
    ) -> Plan[Score]:
        """Ask for the answers to all items in one round, and once more for those of replies that could not be read.

        ``metrics`` holds ``n_split`` where prompts were too long for the backend and were put in halves.

        Parameters
        ----------
        system : beginning of the system prompt. active : what makes an example's answer 1.

        Raises
        ------
        UsageError : a setting is still ``auto``.

        Notes
        -----
        The order of examples follows from the feature alone, so that two explanations of it are judged on the same
        batches.
        """
        if "auto" in (self.answers, self.order):
            raise UsageError(f"scorer {self.id}: auto depends on the judge; take scorer.resolved(client.capabilities)")
        form = FORMS[self.answers]
        size = 1 if form.choices else self.examples_per_prompt
        order = np.random.default_rng([record.feature, len(items)]).permutation(len(items))
        prompts = [[items[i] for i in order[a : a + size]] for a in range(0, len(items), size)]
        system = f"{system}\n{FENCED}\n{form.ask.format(active=active)}"
        judged = yield from ask_each(
            prompts,
            lambda parts: self._requests(form, system, explanation.text, parts),
            form.read,
            lambda n: form.again.format(n=n),
        )
        places = [(item, index) for index, prompt in enumerate(prompts) for item in prompt]
        trials = [_trial(form, item, a, index) for (item, index), a in zip(places, judged.answers, strict=True)]
        score = summarise(record.feature, explanation.explainer, self.id, trials, judged.n_reasked, judged.model, form)
        return replace(score, metrics={**score.metrics, "n_split": judged.n_split}) if judged.n_split else score

    def _requests(self, form: Form, system: str, explanation: str, prompts: Sequence[Sequence[Item]]) -> list[Request]:
        """One request for each of ``prompts``; what they share is made once."""
        begin, said, schema = Message("system", system), explained(explanation), form.schema
        requests = []
        for prompt in prompts:
            texts = [item.text for item in prompt]
            if form.choices:
                shown = "The example:\n" + fenced(texts[0])
            else:
                shown = f"There are {len(texts)} examples.\n" + fenced(numbered(texts))
            parts = (said, shown) if self.order == "explanation-first" else (shown, said)
            marks = tuple(item.marks for item in prompt)
            requests.append(
                Request(
                    messages=(begin, Message("user", "\n\n".join(parts))),
                    max_tokens=form.max_tokens(len(prompt)),
                    schema=schema,
                    choices=form.choices,
                    task=Task(self.NAME, Blind(prompt), marks=marks, explanation=explanation),
                    tag=self.NAME,
                )
            )
        return requests


def _trial(form: Form, item: Item, answer: float | str, prompt: int) -> Trial:
    example = item.example
    asked = (example.id, example.kind, example.quantile, item.truth)
    if isinstance(answer, str):
        return Trial(*asked, predicted=None, failure=answer, prompt=prompt)
    return Trial(*asked, predicted=answer > 0.5, prompt=prompt, probability=answer if form.values else None)
