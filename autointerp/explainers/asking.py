"""What explainers share: the form of an answer, one question and one more, what is made of replies."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

from autointerp.prompts import ask_again, find_json, object_schema, spoken
from autointerp.records import Example, Explanation, Failure, FeatureRecord, Outcome, Plan, Request, Response

SUBJECTS = {
    "text": "a language model",
    "protein": "a protein language model; the texts are stretches of amino-acid sequences in one-letter code",
}
PLAIN = '{"explanation": "<one sentence>"}'
REASONED = '{"reasoning": "<what the examples share, step by step>", "explanation": "<one sentence>"}'
PLAIN_SCHEMA = object_schema(explanation={"type": "string"})
REASONED_SCHEMA = object_schema(reasoning={"type": "string"}, explanation={"type": "string"})
AGAIN = "That held no explanation. Answer again, with JSON only: {answer}"
BROKEN = re.compile(r"(```\w*\s*)?(\{|\[(?![A-Za-z]))")
"""How JSON begins, which a bare sentence or a label in brackets does not."""
REFUSED = re.compile(
    r"(?i)i(['’]m| am) (sorry|unable|afraid)\b|sorry,|i (can(no|['’])t|won['’]t|will not)\b|as an ai\b"
)
"""How a bare sentence begins that explains nothing."""
LABEL = re.compile(r"(?i)\bexplanation[\]\"'*\s]*:[\s*\"']*")


def ask_for_explanation(
    record: FeatureRecord, explainer: str, build: Callable[[Sequence[Example]], Request], answer: str
) -> Plan[Explanation]:
    """One request, and one more if its reply holds no explanation; half of the examples again if they do not fit.

    Parameters
    ----------
    explainer : id of who asks. build : the request that shows some of the record's activating examples.
    answer : the form of the answer, as the prompt states it.

    Notes
    -----
    ``details`` holds ``n_reasked`` where it was asked again, ``shown`` (examples) where a backend's context was too
    short for all of them, and the ``reasoning`` if there is one.
    """
    examples, details = record.explain.positives, dict[str, Any]()
    request = build(examples)
    outcome: Outcome = (yield [request])[0]
    while isinstance(outcome, Failure) and outcome.kind == "context_length" and len(examples) > 1:
        examples = examples[::2]  # every other one: they come in the order of their strength
        details, request = {"shown": len(examples)}, build(examples)
        outcome = (yield [request])[0]
    if isinstance(outcome, Response) and not parse(outcome)[0]:
        details["n_reasked"] = 1
        outcome = (yield [ask_again(request, outcome, AGAIN.format(answer=answer))])[0]
    if isinstance(outcome, Failure):
        why = f"{outcome.kind}: {outcome.message}"
        return Explanation(record.feature, "", explainer, failure=why, details=details)
    text, said = parse(outcome)
    failure = None if text else f"no explanation in the reply ({outcome.finish})"
    return Explanation(record.feature, text, explainer, outcome.model, failure, details | said)


def parse(response: Response) -> tuple[str, dict[str, str]]:
    """(explanation, {"reasoning": …}) of a reply: JSON, text after a label, or a bare sentence; "" if none."""
    if response.finish == "refusal":
        return "", {}
    value = find_json(response.text)
    if isinstance(value, dict):
        text = value.get("explanation")
        reasoning = value.get("reasoning")
        details = {"reasoning": clean(reasoning)} if isinstance(reasoning, str) and reasoning else {}
        return (clean(text), details) if isinstance(text, str) else ("", {})
    bare = clean(value if isinstance(value, str) else spoken(response.text))
    if response.finish != "stop" or BROKEN.match(bare) or REFUSED.match(bare):
        return "", {}
    return LABEL.split(bare)[-1].strip(), {}


def clean(text: str) -> str:
    """``text`` without space around it and without lone surrogates, which no file or request can hold."""
    return text.encode("utf-8", "replace").decode().strip()


def scaled(activation: float, top: float) -> int:
    """An activation as a whole number from 0 to 10 of the largest, ``top``; above 0 at least 1."""
    return math.ceil(10 * activation / top)
