from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from autointerp.errors import UsageError
from autointerp.records import (
    Failure,
    FeatureRecord,
    FeatureStatistics,
    Message,
    NotSent,
    Request,
    Response,
    Side,
    Task,
    Usage,
    maybe_billed,
)
from tests.studies import example

ROOT = Path(__file__).resolve().parent.parent
STATISTICS = FeatureStatistics(1, 1.0, 1.0, 0.1, 1, 1)


def test_tokens_join_to_the_text_whatever_the_script() -> None:
    tokens = ["naïve", " 日本", "", "😀", "\n", " שלום"]
    e = example(tokens=tokens)
    assert e.tokens == tokens
    assert "".join(e.tokens) == e.text


def test_at_another_cost_an_answer_is_the_same_field_by_field() -> None:
    values = dict(text="x", usage=Usage(3, 2, 1), cost_usd=None, finish="length", model="m", probabilities={"1": 1.0})
    answer = Response(**values, at=({"0": 0.5},), cached=True)  # type: ignore[arg-type]
    assert all(getattr(answer, f.name) != f.default for f in dataclasses.fields(Response) if f.name != "cost_usd")
    moved = answer.at_cost(0.25)
    assert dataclasses.astuple(moved) == dataclasses.astuple(dataclasses.replace(answer, cost_usd=0.25))


def test_ends_of_the_sequence_are_known() -> None:
    first, middle, last = (example("ABCD", start=s, length=10) for s in (0, 3, 6))
    assert [(e.at_start, e.at_end) for e in (first, middle, last)] == [(True, False), (False, False), (False, True)]
    whole = example("ABCD", start=0, length=4)
    assert whole.at_start
    assert whole.at_end


def test_blind_keeps_the_text_and_nothing_that_tells_the_answer() -> None:
    e = example("ABCD", [0, 2.5, 0, 1], kind="near-miss", quantile=7, keywords="Zinc", function="binds zinc")
    blind = e.blind()
    assert blind.text == e.text
    assert blind.id == e.id
    assert blind.activations.tolist() == [0.0] * 4
    assert (blind.kind, blind.quantile, dict(blind.metadata), blind.peak) == ("", -1, {}, 0.0)
    assert e.peak == 2.5  # the original is untouched
    told = {f.name for f in dataclasses.fields(blind)} - {"activations", "kind", "quantile", "metadata"}
    assert told == {"sequence", "start", "text", "ends", "group", "length"}  # a new field must be thought about


@pytest.mark.parametrize("a", ["explain", "validation", "test"])
@pytest.mark.parametrize("b", ["explain", "validation", "test"])
@pytest.mark.parametrize("as_negative", [False, True])
def test_a_group_on_two_sides_is_refused(a: str, b: str, as_negative: bool) -> None:
    if a == b:
        return
    one, homologue = example("AAAA", sequence=3), example("AAAC", sequence=3)
    sides = {"explain": Side(), "validation": Side(), "test": Side()}
    sides[a] = Side((one,))
    sides[b] = Side((), (homologue,)) if as_negative else Side((homologue,))
    with pytest.raises(UsageError, match="feature 5: group 3 stands on both"):
        FeatureRecord(5, **sides, statistics=STATISTICS)


def test_one_group_may_stand_twice_on_one_side() -> None:
    side = Side((example("AAAA", sequence=3), example("AAAC", sequence=3)), (example("CCCC", sequence=4),))
    assert FeatureRecord(5, side, Side(), Side((example("A", sequence=9),)), STATISTICS).explain.groups == {3, 4}


# ------------------------------------------------------------------------------------------------------------ the key

REQUEST = Request((Message("system", "s"), Message("user", "u")), schema={"type": "object"})


def task(**changes: object) -> Task:
    return Task("explain", (example("ABCD", [0, 1]),), (example("EFGH", sequence=1),), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [
        {"messages": (Message("system", "s"), Message("user", "v"))},
        {"messages": (Message("user", "s"), Message("user", "u"))},
        {"messages": (Message("system", "su"), Message("user", ""))},
        {"max_tokens": 513},
        {"temperature": 0.5},
        {"temperature": None},
        {"schema": None},
        {"schema": {"type": "array"}},
        {"replicate": 1},
    ],
)
def test_everything_that_can_change_an_answer_changes_the_key(change: dict[str, object]) -> None:
    assert dataclasses.replace(REQUEST, **change).key("m") != REQUEST.key("m")  # type: ignore[arg-type]


def test_what_cannot_change_an_answer_does_not_change_the_key() -> None:
    assert REQUEST.key("m") != REQUEST.key("n")
    other = dataclasses.replace(REQUEST, tag="detection", task=task())
    assert other == REQUEST
    assert other.key("m") == REQUEST.key("m")
    assert len(REQUEST.key("m")) == 64


@pytest.mark.parametrize(
    "other",
    [
        dataclasses.replace(task(), kind="detection"),
        task(marks=((1,),)),
        task(explanation="x"),
        task(level="sequence"),
        dataclasses.replace(task(), examples=(example("ABCE", [0, 1]),)),
        dataclasses.replace(task(), examples=(example("ABCD", [0, 2]),)),
        dataclasses.replace(task(), examples=(example("ABCD", [0, 1], start=6),)),
        dataclasses.replace(task(), examples=(example("ABCD", [0, 1], length=9),)),
        dataclasses.replace(task(), examples=(example("ABCD", [0, 1], sequence=2),)),  # another group
        dataclasses.replace(task(), examples=(example(tokens=["AB", "CD"], activations=[0, 1]),)),
        dataclasses.replace(task(), negatives=()),
        Task("explain", (*task().examples, *task().negatives)),  # a negative shown as an example
        None,
    ],
)
def test_another_task_is_another_question_to_who_answers_from_tasks(other: Task | None) -> None:
    one = dataclasses.replace(REQUEST, task=task())
    two = dataclasses.replace(REQUEST, task=other)
    assert one.key("baseline", with_task=True) != two.key("baseline", with_task=True)
    assert one.key("m") == two.key("m")


def test_the_same_task_is_the_same_question_in_every_process() -> None:
    code = (
        "from tests.test_records import REQUEST, dataclasses, task; "
        "print(dataclasses.replace(REQUEST, task=task()).key('b', with_task=True))"
    )
    keys = {
        subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, env=os.environ | {"PYTHONHASHSEED": s})
        for s in "12"
    }
    assert keys == {dataclasses.replace(REQUEST, task=task()).key("b", with_task=True).encode() + b"\n"}


def test_a_lone_surrogate_has_a_key_too() -> None:
    assert len(Request((Message("user", "\ud83d"),)).key("m")) == 64


def test_what_may_have_been_billed() -> None:
    sent = {"timeout", "cancelled", "connection", "server", "bad_answer", "internal"}
    free = {"rate_limit", "overloaded", "auth", "quota", "bad_request", "refusal", "context_length", "budget"}
    assert {k for k in sent | free if maybe_billed(Failure(k, ""))} == sent
    assert not any(maybe_billed(NotSent(k, "")) for k in sent)
    assert not maybe_billed(Response("x"))
