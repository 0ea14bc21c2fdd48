"""The forms of an answer: how each is asked for, read, and turned into a value."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from autointerp.errors import UsageError
from autointerp.records import Capabilities, Explanation, Failure, Outcome, Request, Response, Scorer
from autointerp.scorers import DetectionScorer, FuzzingScorer
from tests.reading import read
from tests.scorers.test_judging import EXPLANATION, Judge, run
from tests.studies import record, truth_of

GRADED: list[Scorer] = [DetectionScorer(answers="graded"), FuzzingScorer(answers="graded")]
SINGLE: list[Scorer] = [DetectionScorer(answers="probability"), FuzzingScorer(answers="probability")]
R = record(7)
TRUTH = {example: truth for (_, example), truth in truth_of([R]).items()}


def grades(request: Request, yes: int = 8, no: int = 2) -> list[int]:
    """What a judge that knows the truth grades."""
    assert request.task is not None
    return [yes if TRUTH[e.id] else no for e in request.task.examples]


def graded(values: Sequence[Any]) -> str:
    return json.dumps({"answers": list(values)})


def sure(p: float) -> Response:
    return Response("1" if p > 0.5 else "0", finish="length", probabilities={"0": 1 - p, "1": p})


# --------------------------------------------------------------------------------------------------------------- grades


@pytest.mark.parametrize("scorer", GRADED, ids=lambda s: s.id)
def test_grades_are_asked_for_in_packs_and_count_above_five(scorer: Scorer) -> None:
    score, ((*requests,),) = run(scorer, R, lambda q: graded(grades(q, 6, 5)))
    assert len(requests) == 4
    assert score.scorer.endswith("@2?answers=graded")
    for request in requests:
        assert request.schema is not None
        assert request.schema["properties"]["answers"]["items"]["enum"] == list(range(11))
        assert "Above 5 counts as yes" in request.messages[0].content
        assert (request.choices, request.max_tokens) == ((), 104)
    assert (score.value, score.metrics["auroc"], score.n_failed) == (1.0, 1.0, 0)
    assert (score.metrics["auroc_from"], score.metrics["rule"]) == ("grades from 0 to 10", "grade > 5")
    assert {(t.truth, t.predicted, t.probability) for t in score.trials} == {(True, True, 0.6), (False, False, 0.5)}
    score, _ = run(scorer, R, lambda q: graded(grades(q, 5, 0)))  # ranked rightly, but never called active
    assert (score.value, score.metrics["auroc"]) == (0.5, 1.0)


@pytest.mark.parametrize("seed", range(4))
def test_the_auroc_is_that_of_scikit_learn_on_the_answered_trials(seed: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(seed)
    judges: list[tuple[Scorer, Judge]] = [
        (GRADED[0], lambda q: graded(np.clip(grades(q, 6, 4) + rng.integers(-4, 5, len(grades(q))), 0, 10).tolist())),
        (SINGLE[0], lambda q: sure(float(rng.random()))),
    ]
    for scorer, judge in judges:
        calls = iter(range(999))
        score, _ = run(scorer, R, lambda q: Failure("server", "") if next(calls) == 1 else judge(q))  # noqa: B023
        answered = [t for t in score.trials if t.predicted is not None]
        assert 0 < score.n_failed == 20 - len(answered)
        truth, values = [t.truth for t in answered], [t.probability for t in answered]
        assert score.metrics["auroc"] == pytest.approx(metrics.roc_auc_score(truth, values))
        predicted = [v > 0.5 for v in values]  # type: ignore[operator]
        assert score.value == pytest.approx(metrics.balanced_accuracy_score(truth, predicted))


GRADED_REPLIES: list[tuple[str | Response, str]] = [
    (graded([8, 2, 9, 1]), "wrong count"),
    (graded([8, 2, 9, 1, 4, 4]), "wrong count"),
    (graded([8, 2, 9, 1, 11]), "not 0 to 10"),
    (graded([8, 2, 9, 1, -1]), "not 0 to 10"),
    (graded([8, 2, 9, 1, 4.5]), "not 0 to 10"),
    (graded([8, 2, 9, 1, True]), "not 0 to 10"),
    (graded([8, 2, 9, 1, "7"]), "not 0 to 10"),
    (graded([8, 2, 9, 1, None]), "not 0 to 10"),
    ("8/10, 2/10, 9/10, 1/10, 4/10", "unparsed"),
    ("", "unparsed"),
    (Response('{"answers": [8, 2, 9', finish="length"), "truncated"),
    (Response("I will not judge this.", finish="refusal"), "refusal"),
    ("I'm sorry, but I cannot judge this.", "unparsed"),
]


@pytest.mark.parametrize(("reply", "failure"), GRADED_REPLIES)
@pytest.mark.parametrize("scorer", GRADED, ids=lambda s: s.id)
def test_an_unreadable_reply_is_asked_again_once_and_then_failed(
    scorer: Scorer, reply: str | Response, failure: str
) -> None:
    calls = iter(range(99))
    score, rounds = run(scorer, R, lambda q: reply if next(calls) in (0, 4) else graded(grades(q)))
    assert [len(requests) for requests in rounds] == [4, 1]
    (again,) = rounds[1]
    assert "5 whole numbers, each from 0 to 10" in again.messages[3].content
    assert again.max_tokens == (208 if failure == "truncated" else 104)
    assert (score.n, score.n_failed, score.value) == (20, 5, 1.0)
    assert score.metrics["failures"] == {failure: 5}
    assert score.metrics["n_reasked"] == 1
    assert all((t.predicted, t.probability, t.failure) == (None, None, failure) for t in score.trials[:5])
    assert 0 < score.metrics["worst"] < score.metrics["best"] == 1.0


@pytest.mark.parametrize(
    "form", ["```json\n{}\n```", "The grades are {}. Ask me for more.", "<think>maybe [1]</think>\n{}"]
)
def test_fences_prose_and_thoughts_are_read_past(form: str) -> None:
    score, rounds = run(GRADED[0], R, lambda q: form.replace("{}", graded(grades(q))))
    assert (score.value, score.n_failed, len(rounds)) == (1.0, 0, 1)


@pytest.mark.parametrize("answers", ["binary", "graded"])
def test_a_short_last_batch_is_counted_by_its_own_length(answers: Any) -> None:
    scorer = DetectionScorer(8, answers=answers)
    yes, no = (1, 0) if answers == "binary" else (9, 1)
    score, ((*requests,),) = run(scorer, R, lambda q: graded(grades(q, yes, no)))
    assert [len(grades(q)) for q in requests] == [8, 8, 4]
    assert (score.value, score.n_failed) == (1.0, 0)
    score, rounds = run(scorer, R, lambda q: graded([yes] * 8))  # a judge that fills the last batch up
    assert (len(rounds[1]), score.n_failed, score.metrics["failures"]) == (1, 4, {"wrong count": 4})


# -------------------------------------------------------------------------------------------------------- probabilities


@pytest.mark.parametrize("scorer", SINGLE, ids=lambda s: s.id)
def test_probabilities_are_of_one_digit_for_one_example(scorer: Scorer) -> None:
    score, ((*requests,),) = run(scorer, R, lambda q: sure(0.7 if grades(q)[0] > 5 else 0.5))
    assert len(requests) == 20
    assert scorer.needs == frozenset({"logprobs"})
    for request in requests:
        assert (request.choices, request.max_tokens, request.schema) == (("0", "1"), 1, None)
        assert request.messages[0].content.endswith("one digit and nothing else: 0 or 1")
        assert request.task is not None
        (example,) = request.task.examples
        explained, (shown,) = read(request.messages[1].content).fences
        assert explained == [EXPLANATION.text]
        assert re.sub("[<>]{2}", "", shown) == example.text
    assert (score.value, score.metrics["auroc"], score.n_failed) == (1.0, 1.0, 0)
    assert (score.metrics["auroc_from"], score.metrics["rule"]) == ("probabilities", "probability > 0.5")
    assert {t.probability for t in score.trials} == {0.7, 0.5}
    assert sorted(t.prompt for t in score.trials) == list(range(20))


@pytest.mark.parametrize(
    ("outcome", "failure"),
    [
        (Response("1"), "no probability"),
        (Response("1", probabilities={}), "no probability"),
        (Response("1", probabilities={"0": 0.0, "1": float("nan")}), "no probability"),
        (Response("No.", finish="refusal"), "refusal"),
    ],
)
def test_an_answer_without_probability_is_a_failure_and_no_answer(outcome: Outcome, failure: str) -> None:
    first: list[str] = []

    def judge(request: Request) -> Outcome:
        first[:] = first or [request.messages[1].content]
        return outcome if request.messages[1].content == first[0] else sure(0.01 * grades(request)[0] * 10)

    score, rounds = run(SINGLE[0], R, judge)
    assert [len(requests) for requests in rounds] == [20, 1]
    (again,) = rounds[1]
    assert (again.choices, again.max_tokens) == (("0", "1"), 1)
    assert (score.n_failed, score.value, score.metrics["failures"]) == (1, 1.0, {failure: 1})


def test_one_class_alone_has_no_auroc() -> None:
    score, _ = run(
        GRADED[0], R, lambda q: graded(grades(q)) if any(g > 5 for g in grades(q)) else Failure("server", "")
    )
    assert score.metrics["auroc"] == 1.0
    score, _ = run(GRADED[0], R, lambda q: Failure("server", ""))
    assert (score.value, score.metrics["auroc"]) == (None, None)
    score, _ = run(DetectionScorer(), R, lambda q: graded(g > 5 for g in grades(q)))  # type: ignore[arg-type]
    assert not {"auroc", "auroc_from", "rule"} & set(score.metrics)  # plain answers rank nothing
    assert {t.probability for t in score.trials} == {None}


# ----------------------------------------------------------------------------------------------------------------- auto

PAID, FREE = Capabilities(schema=True), Capabilities(free=True)
LOCAL = Capabilities(logprobs=True, free=True, prefix_cache=True)
HOSTED = Capabilities(logprobs=True, prefix_cache=True)


@pytest.mark.parametrize(
    ("capabilities", "n", "answers", "order"),
    [
        (PAID, 2, "graded", "explanation-first"),
        (FREE, 2, "graded", "explanation-first"),
        (HOSTED, 1, "graded", "explanation-first"),
        (HOSTED, 2, "graded", "examples-first"),
        (LOCAL, 2, "probability", "explanation-first"),
    ],
)
@pytest.mark.parametrize("scorer", [DetectionScorer, FuzzingScorer])
def test_auto_follows_from_what_the_backend_can_do(
    scorer: Any, capabilities: Capabilities, n: int, answers: str, order: str
) -> None:
    found = scorer(answers="auto", order="auto").resolved(capabilities, n)
    assert (found.answers, found.order) == (answers, order)
    assert type(found) is scorer
    assert found.resolved(PAID, 1) == found  # what is decided stays
    assert scorer().resolved(LOCAL, 5) == scorer()
    packed = scorer(order="auto").resolved(capabilities, n)
    assert packed.order == ("examples-first" if capabilities.prefix_cache and n > 1 else "explanation-first")
    assert scorer(1, order="auto").resolved(capabilities, n).order == "explanation-first"


@pytest.mark.parametrize("settings", [{"answers": "auto"}, {"order": "auto"}])
def test_an_undecided_scorer_says_what_to_do(settings: dict[str, Any]) -> None:
    for scorer in (DetectionScorer(**settings), FuzzingScorer(**settings)):
        assert scorer.needs == frozenset()
        with pytest.raises(UsageError, match=r"auto depends on the judge; take scorer.resolved\(client.capabilities\)"):
            next(scorer.score(R, EXPLANATION))


# ---------------------------------------------------------------------------------------------------------------- order


def conversation(request: Request) -> str:
    return "\n".join(m.content for m in request.messages)


def shared(a: Request, b: Request) -> int:
    """Characters that two conversations have in common before they part."""
    one, two = conversation(a), conversation(b)
    return next((i for i, (x, y) in enumerate(zip(one, two, strict=False)) if x != y), min(len(one), len(two)))


def prompts(scorer: Scorer, text: str, feature: int = 7) -> list[Request]:
    return list(next(scorer.score(record(feature), Explanation(feature, text, "default@2"))))


OWN = "Fires on the histidines of zinc fingers, most of all on the second of a pair."
OTHER = "Fires on transmembrane helices."


@pytest.mark.parametrize(
    ("order", "batches", "explanations", "features"),
    [("explanation-first", 819, 689, 689), ("examples-first", 698, 861, 699)],
)
def test_what_two_prompts_share(order: Any, batches: int, explanations: int, features: int) -> None:
    """In characters: two batches of one explanation, two explanations of one batch, two features."""
    scorer = DetectionScorer(order=order)
    own, other, stranger = prompts(scorer, OWN), prompts(scorer, OTHER), prompts(scorer, OTHER, 8)
    system = len(own[0].messages[0].content)
    found = shared(own[0], own[1]), shared(own[0], other[0]), shared(own[0], stranger[0])
    assert found == (batches, explanations, features)
    assert min(found) > system  # byte for byte the same between features
    assert own[0].messages[0] == stranger[0].messages[0]


@pytest.mark.parametrize("order", ["explanation-first", "examples-first"])
def test_the_shared_part_comes_before_the_varying_one(order: Any) -> None:
    scorer = FuzzingScorer(order=order)
    own, other = prompts(scorer, OWN), prompts(scorer, OTHER)
    first = "explanation" if order == "explanation-first" else "examples"
    same = {"explanation": (own[0], own[1]), "examples": (own[0], other[0])}
    for what, (a, b) in same.items():
        block = a.messages[1].content.split("\n\n")[0]
        assert (shared(a, b) >= len(a.messages[0].content) + 1 + len(block)) == (what == first)
    again = prompts(scorer, OWN)
    assert [q.key("m") for q in again] == [q.key("m") for q in own]  # the fence follows from the content
