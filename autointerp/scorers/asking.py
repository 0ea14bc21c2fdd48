"""A round of questions, and one more for the replies that could not be read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from autointerp.prompts import ask_again, find_json
from autointerp.records import Failure, Outcome, Plan, Request

T = TypeVar("T")
X = TypeVar("X")


@dataclass(frozen=True)
class Replies(Generic[T]):
    """What was read.

    Attributes
    ----------
    answers : one for each request, or the reason why there is none. n_reasked : questions that were put twice.
    model : the name that the provider gives itself; "" where nothing came back.
    """

    answers: list[T | str]
    n_reasked: int
    model: str


def ask(requests: Sequence[Request], read: Callable[[Outcome, int], T | str], again: Sequence[str]) -> Plan[Replies[T]]:
    """Send ``requests`` in one round; those whose reply cannot be read are continued with ``again`` in a second one.

    Parameters
    ----------
    read : (outcome, index of the request) -> the answer, or as a text why there is none. An answer is never a text.
    again : what follows each request's reply if it could not be read.
    """
    outcomes = list((yield requests))
    answers = [read(outcome, i) for i, outcome in enumerate(outcomes)]
    lost = [i for i, a in enumerate(answers) if isinstance(a, str) and not isinstance(outcomes[i], Failure)]
    if lost:
        followed = [ask_again(requests[i], outcomes[i], again[i]) for i in lost]  # type: ignore[arg-type]
        for i, outcome in zip(lost, (yield followed), strict=True):
            answers[i] = read(outcome, i)
    model = min((o.model for o in outcomes if not isinstance(o, Failure)), default="")
    return Replies(answers, len(lost), model)


@dataclass(frozen=True)
class Judged:
    """What was answered about items that several to a prompt were asked about.

    Attributes
    ----------
    answers : one for each item in the order of the prompts, or the reason why there is none.
    n_reasked : prompts that were put twice. n_split : prompts that were too long and were put in two halves.
    model : as of :class:`Replies`.
    """

    answers: list[float | str]
    n_reasked: int
    n_split: int
    model: str


def ask_each(
    prompts: Sequence[Sequence[X]],
    build: Callable[[Sequence[Sequence[X]]], Sequence[Request]],
    read: Callable[[Outcome, int], list[float] | str],
    again: Callable[[int], str],
) -> Plan[Judged]:
    """Send a request for each of ``prompts`` in one round, and once more those whose reply cannot be read.

    A prompt that a backend's context is too short for is put in two halves, and so on down to a single item.

    Parameters
    ----------
    build : the requests about some prompts. read : (outcome, number of items) -> their answers, or why there are none.
    again : what follows a reply about so many items that could not be read.
    """
    parts, requests = list(prompts), list(build(prompts))
    outcomes, n_split = list((yield requests)), 0
    while long := {i for i, outcome in enumerate(outcomes) if _too_long(outcome) and len(parts[i]) > 1}:
        n_split += len(long)
        cut = [(parts[i], len(parts[i]) // 2) for i in sorted(long)]
        halves = [half for part, middle in cut for half in (part[:middle], part[middle:])]
        asked = list(build(halves))
        news = zip(halves, asked, (yield asked), strict=True)
        olds = zip(parts, requests, outcomes, strict=True)
        every = [one for i, old in enumerate(olds) for one in ((next(news), next(news)) if i in long else (old,))]
        parts, requests, outcomes = (list(column) for column in zip(*every, strict=True))
    answers = [read(outcome, len(part)) for part, outcome in zip(parts, outcomes, strict=True)]
    lost = [i for i, a in enumerate(answers) if isinstance(a, str) and not isinstance(outcomes[i], Failure)]
    if lost:
        followed = [ask_again(requests[i], outcomes[i], again(len(parts[i]))) for i in lost]  # type: ignore[arg-type]
        for i, outcome in zip(lost, (yield followed), strict=True):
            answers[i] = read(outcome, len(parts[i]))
    each: list[float | str] = []
    for part, answer in zip(parts, answers, strict=True):
        each += [answer] * len(part) if isinstance(answer, str) else answer
    model = min((o.model for o in outcomes if not isinstance(o, Failure)), default="")
    return Judged(each, len(lost), n_split, model)


def listed(outcome: Outcome, key: str, n: int) -> list[Any] | str:
    """The list of ``n`` that a reply holds, bare or under ``key``, or why there is none."""
    value = value_of(outcome, key)
    if not isinstance(value, list):
        return unread(outcome)
    return value if len(value) == n else unread(outcome, "wrong count")


def value_of(outcome: Outcome, key: str) -> Any:
    """What a reply's JSON holds, or holds under ``key``; None where there is no JSON, or no reply."""
    if isinstance(outcome, Failure) or outcome.finish == "refusal":
        return None
    value = find_json(outcome.text)
    return value.get(key) if isinstance(value, dict) else value


def unread(outcome: Outcome, why: str = "unparsed") -> str:
    """The reason why an outcome holds no answer: a failure, a refusal, a cut, else ``why``."""
    if isinstance(outcome, Failure):
        return outcome.kind
    return {"refusal": "refusal", "length": "truncated"}.get(outcome.finish, why)


def _too_long(outcome: Outcome) -> bool:
    return isinstance(outcome, Failure) and outcome.kind == "context_length"
