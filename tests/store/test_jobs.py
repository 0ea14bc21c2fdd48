"""Batch jobs in the journal: both databases, and the one that lasts as long as the process."""

from __future__ import annotations

import pytest

from autointerp.clients.journal import MemoryJournal
from autointerp.records import Failure, NotSent, Response
from tests.databases import Place

KEYS = ["a" * 64, "b" * 64]


async def begun(journal: MemoryJournal, key: str) -> int:
    return await journal.begin(key, spec="batch+s", tag="t", reserved_usd=3.0)


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def journal(request: pytest.FixtureRequest):
    if request.param == "memory":
        yield MemoryJournal()
        return
    place = request.getfixturevalue("postgres")
    if request.param == "sqlite":
        place = Place("sqlite", place.folder, place.folder)
    with place.open() as store:
        yield store


async def test_a_job_is_found_until_it_is_settled(journal: MemoryJournal) -> None:
    number = await journal.begin_job("batch+s", KEYS)
    other = await journal.begin_job("batch+other", KEYS[:1])
    job = (await journal.open_jobs("batch+s"))[0]
    assert (job.id, job.spec, job.external, job.state, job.keys) == (number, "batch+s", None, "begun", tuple(KEYS))
    assert job.created > 1.7e9
    await journal.submitted_job(number, "msgbatch_1")
    job = (await journal.open_jobs("batch+s"))[0]
    assert (job.external, job.state) == ("msgbatch_1", "submitted")
    await journal.settle_job(number, "done")
    assert await journal.open_jobs("batch+s") == []
    assert [j.id for j in await journal.open_jobs("batch+other")] == [other]


async def test_open_attempts_are_those_whose_end_nobody_saw(journal: MemoryJournal) -> None:
    numbers = {key: await begun(journal, key) for key in "abcdef"}
    again = await begun(journal, "a")
    await journal.finish(numbers["b"], Response("x", cost_usd=0.1))
    await journal.finish(numbers["c"], Failure("cancelled", ""))
    await journal.finish(numbers["d"], NotSent("cancelled", ""))
    await journal.finish(numbers["e"], Failure("timeout", ""))
    assert await journal.open_attempts("batch+s") == {"a": again, "c": numbers["c"], "f": numbers["f"]}
    assert await journal.open_attempts("batch+s", before=0.0) == {}
    assert await journal.open_attempts("other") == {}


async def test_an_answer_is_finished_once(journal: MemoryJournal) -> None:
    number = await begun(journal, "a")
    await journal.finish(number, Response("x", cost_usd=0.1))
    await journal.finish(number, Response("x", cost_usd=0.1))
    await journal.finish(number, Failure("cancelled", "its waiter left"))
    found = await journal.lookup("a")
    assert found is not None
    assert found.text == "x"
    assert await journal.open_attempts("batch+s") == {}


async def test_what_was_paid_with_an_adopted_job_is_counted_once(place: Place) -> None:
    with place.open() as store:
        for key in KEYS:
            await store.begin(key, spec="batch+s", tag="t", reserved_usd=3.0)
        await store.begin("c" * 64, spec="s", tag="t", reserved_usd=1.0)
        await store.submitted_job(await store.begin_job("batch+s", KEYS), "x")
    with place.open() as store:  # another process: the first is dead
        (job,) = await store.open_jobs("batch+s")
        assert store.spend().maybe_usd == 7.0
        for key in job.keys:
            number = await store.begin(key, spec="batch+s", tag="t", reserved_usd=3.0)
            await store.finish(number, Response("answer", cost_usd=0.5))
        await store.settle_job(job.id, "done")
        spend = store.spend()
        assert (spend.confirmed_usd, spend.maybe_usd, spend.failed) == (1.0, 1.0, 0)
        assert store.failures() == {}


async def test_a_living_workers_jobs_are_its_own(postgres: Place) -> None:
    with postgres.open() as one, postgres.open() as two:
        await one.begin_job("batch+s", KEYS)
        await one.begin("k", spec="batch+s", tag="t", reserved_usd=1.0)
        assert await two.open_jobs("batch+s") == []
        assert await two.open_attempts("batch+s") == {}
        postgres.rows(f"UPDATE workers SET seen = 0 WHERE id = {one._worker}")
        assert len(await two.open_jobs("batch+s")) == 1
        assert list(await two.open_attempts("batch+s")) == ["k"]
