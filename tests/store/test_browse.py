"""What a page reads of a study, in both databases, against what was put."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from autointerp.errors import UsageError
from autointerp.records import Explanation, Failure, FeatureStatistics, Response, Score, Skipped, Trial
from tests.databases import Place

ODD = 'a "quoted", [bracketed]\nline \\ ü 💡'


def trials(seed: int) -> tuple[Trial, ...]:
    """Thirty trials, some unanswered, with texts that JSON has to escape."""
    return tuple(
        Trial(
            ODD if t == 7 else f"{t}:{seed}:16",
            "activating" if t % 3 else "random",
            t % 5,
            t % 3 > 0,
            None if t == 4 else (t * seed) % 2 == 0,
            failure="refused" if t == 4 else None,
            prompt=t // 5,
            probability=None if t == 4 else t / 32,
        )
        for t in range(30)
    )


def test_trials_come_as_columns_in_their_order(place: Place) -> None:
    put = {f"e{seed}@1": trials(seed) for seed in (1, 2, 3)}
    with place.open() as store:

        async def fill() -> None:
            for explainer, own in put.items():
                score = Score(5, explainer, "detection@2", 0.5, 0.4, 0.6, 30, 1, {}, own, "m")
                await store.put_score(score, "c", "judge")

        asyncio.run(fill())
        of = {row["explainer"]: row["id"] for row in store.judged_of(5)}
        found: dict[int, dict[str, list[Any]]] = store.trials_of([of["e1@1"], of["e3@1"]])
        some = store.trials_of([of["e2@1"]], ("truth", "predicted"))
        assert store.trials_of([]) == {}
    assert set(found) == {of["e1@1"], of["e3@1"]}
    for explainer in ("e1@1", "e3@1"):
        for name, column in found[of[explainer]].items():
            wanted = [getattr(trial, name) for trial in put[explainer]]
            assert column == wanted, name
    assert list(some[of["e2@1"]]) == ["truth", "predicted"]
    assert [bool(t) for t in some[of["e2@1"]]["truth"]] == [t.truth for t in put["e2@1"]]


async def test_the_mark_tells_every_new_result(place: Place) -> None:
    made = Explanation(3, "a", "default@1")
    with place.open() as store, place.open(readonly=True) as reader:
        marks = [reader.mark()]
        await store.put_explanation(made, "c", FeatureStatistics(10, 1.0, 0.5, 0.1, 5, 5))  # nothing was asked for it
        marks.append(reader.mark())
        await store.put_score(Score(3, "default@1", "detection@2", 0.5, 0.4, 0.6, 30, 1), "c", "judge")
        marks.append(reader.mark())
        await store.put_score(Score(4, "default@1", "detection@2", 0.5, 0.4, 0.6, 30, 1), "c", "judge")
        marks.append(reader.mark())
        store.note_skipped(Skipped(5, "activating contexts", 3, 10))
        await store.event("note", "so far")
        marks.append(reader.mark())
        store.replace_explanation(made, "c")  # takes the score of 3 away, which is not the newest
        marks.append(reader.mark())
        assert reader.mark() == marks[-1]
    assert len(set(marks)) == len(marks)


async def test_the_pulse_counts_answers(place: Place) -> None:
    with place.open() as store:
        for outcome in (Response("a"), Failure("rate_limit", "slower"), Response("b"), None):
            number = await store.begin("k", spec="s", tag="t", reserved_usd=None)
            if outcome is not None:
                await store.finish(number, outcome)
        assert store.pulse() == (2, 1)


def test_one_of_several_studies_must_be_named(place: Place) -> None:
    for name in ("one", "two"):
        place.open(study=name).close()
    with place.open(readonly=True) as store, pytest.raises(UsageError, match="several studies, name one of them: one"):
        store.begun()
    with place.open(study="three", readonly=True) as store:
        assert not store.begun()
    with place.open(study="two", readonly=True) as store:
        assert store.begun()
