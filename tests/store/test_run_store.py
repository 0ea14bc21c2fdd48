from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from autointerp.clients import Limits, Scripted, connect
from autointerp.errors import AutointerpError, DiskFull, FormatError, UsageError
from autointerp.records import (
    Explanation,
    Failure,
    FeatureStatistics,
    Message,
    NotSent,
    Request,
    Response,
    Score,
    Skipped,
    Trial,
    Usage,
)
from autointerp.store import RunStore, results, writer
from autointerp.store.database import Database
from autointerp.store.schema import MIGRATIONS
from autointerp.store.spend import TagUsage
from autointerp.store.writer import Item, Writer
from tests.databases import Place

STATISTICS = FeatureStatistics(20, 4.0, 2.0, 0.01, 18, 9)


def request(text: str = "hello", tag: str = "explain") -> Request:
    return Request((Message("user", text),), tag=tag)


def score(feature: int = 1, *, null: bool = False, value: float | None = 0.75) -> Score:
    trials = (
        Trial("0:0:8", "activating", 3, True, True),
        Trial("1:0:8", "random", -1, False, None, "unparsed", 1, probability=0.1),
    )
    metrics = {"tpr": 1.0, "hits_by_quantile": {"3": [1, 1]}}
    return Score(feature, "e@1", "d@1", value, 0.5, 0.9, 2, 1, metrics, trials, "judge-m", null, 5 if null else None)


async def test_the_attempt_is_on_disk_before_the_request_is_sent_and_the_answer_before_the_caller_wakes(
    place: Place,
) -> None:
    seen = []

    def answer(r: Request) -> str:
        seen.append(place.rows("SELECT tag, spec, outcome, finished FROM attempts"))
        return "the answer"

    with place.open() as store:
        client = connect(Scripted(answer), store=store)
        outcome = await client.generate(request())
        assert place.rows("SELECT text FROM responses") == [("the answer",)]
    assert seen == [[("explain", "scripted", None, None)]]
    assert isinstance(outcome, Response)
    assert place.rows("SELECT outcome, cost_usd FROM attempts") == [("answer", 0.0)]


async def test_an_answer_is_found_again_with_everything_that_came_with_it(place: Place) -> None:
    sent = Response("text « ü", Usage(10, 5, 2), 0.25, "length", "m-1", probabilities={"0": 0.25, "1": 0.75})
    with place.open() as store:
        number = await store.begin("k", spec="s", tag="t", reserved_usd=1.0)
        assert await store.lookup("k") is None
        await store.finish(number, sent)
        found = await store.lookup("k")
        assert found == sent
        assert found is not None
        assert found.cached
        assert await store.lookup("other") is None
    with place.open() as store:
        assert store.get_response("k") == sent


async def test_what_was_expected_at_placeholders_is_found_again(place: Place) -> None:
    for key, at in {"many": ({"0": 0.25, "9": 1.2345e-10}, {}, {"10": 0.5}), "none": ()}.items():
        with place.open() as store:
            await store.finish(await store.begin(key, spec="s", tag="t", reserved_usd=None), Response("x", at=at))
            found = await store.lookup(key)
            assert found is not None
            assert (found.at, found.probabilities) == (at, None)
        with place.open() as store:
            assert store.get_response(key) == Response("x", at=at)


async def test_a_failure_is_no_answer_and_a_later_answer_wins(place: Place) -> None:
    with place.open() as store:
        for outcome in (Failure("server", "boom"), Response("late", cost_usd=0.0)):
            assert store.get_response("k") is None
            await store.finish(await store.begin("k", spec="s", tag="t", reserved_usd=None), outcome)
        found = store.get_response("k")
        assert found is not None
        assert found.text == "late"
        assert found.usage is None
        assert store.failures() == {"server": 1}


async def test_text_that_no_file_can_hold_costs_nobody_an_answer(place: Place) -> None:
    with place.open() as store:
        texts = ["fine", "half a pair \ud83d", "nul \0 inside", "\u202eright to left"]
        numbers = [await store.begin(f"k{i}", spec="s", tag="t", reserved_usd=None) for i in range(len(texts))]
        await asyncio.gather(*(store.finish(n, Response(t)) for n, t in zip(numbers, texts, strict=True)))
        found = [store.get_response(f"k{i}") for i in range(len(texts))]
        assert [f and f.text for f in found] == [texts[0], "half a pair ?", "nul ? inside", texts[3]]
        await store.finish(numbers[0], Failure("server", "\udcff"))
        await store.put_explanation(Explanation(1, "\udcff", "e@1"), "c", STATISTICS)


async def test_a_statement_that_fails_is_undone_alone(place: Place) -> None:
    def half_done(db: Database) -> None:
        db.execute("INSERT INTO events (time, kind, text) VALUES (0, 'half', '')")
        db.execute("INSERT INTO events (time, kind, text) VALUES (0, NULL, '')")

    with place.open() as store:
        work = [store.event("a", "1"), store._do(half_done), store.event("b", "2"), store.event("c", "3")]
        outcomes = await asyncio.gather(*work, return_exceptions=True)
        assert [isinstance(o, Exception) for o in outcomes] == [False, True, False, False]
        assert "null" in str(outcomes[1]).lower()
        assert [k for (k,) in place.rows("SELECT kind FROM events ORDER BY id")] == ["a", "b", "c"]


async def test_a_full_disk_is_said_plainly_and_what_was_written_stays(tmp_path: Path) -> None:
    with RunStore.open(tmp_path) as store:
        await store.event("before", "")
        await store._do(lambda db: db.execute("PRAGMA max_page_count = 40"))
        with pytest.raises(DiskFull, match="the same command continues"):
            await store.event("large", "x" * 1_000_000)
        await store._do(lambda db: db.execute("PRAGMA max_page_count = 100000"))
        await store.event("after", "")
    written = Place("sqlite", tmp_path, tmp_path).rows("SELECT kind FROM events ORDER BY id")
    assert written == [("before",), ("after",)]


async def test_cancelling_who_waits_does_not_cancel_the_write(place: Place) -> None:
    with place.open() as store:
        task = asyncio.create_task(store.event("kept", ""))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await store.event("next", "")
        assert place.rows("SELECT kind FROM events ORDER BY id") == [("kept",), ("next",)]


async def test_what_comes_soon_after_another_is_written_with_it(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "GATHER_S", 0.5)
    commit, batches = Writer._commit, []

    def noted(self: Writer, batch: list[Item]) -> None:
        batches.append(len(batch))
        commit(self, batch)

    monkeypatch.setattr(Writer, "_commit", noted)
    with place.open() as store:
        first = asyncio.create_task(store.event("a", "x"))
        for _ in range(10):
            await asyncio.sleep(0)
        await store.event("b", "x")
        assert (first.done(), batches) == (True, [2])
        await store.event("c", "x")
        assert batches == [2, 1]


def test_what_a_loop_gathered_that_has_ended_is_written_at_the_latest_when_the_store_is_closed(place: Place) -> None:
    async def leave() -> None:
        task = asyncio.create_task(store.event("a", "x"))
        await asyncio.sleep(0)
        task.cancel()

    with place.open() as store:
        asyncio.run(leave())
    with place.open() as store:
        assert store.events()["kind"].to_pylist() == ["a"]


async def test_an_attempt_cancelled_before_it_was_sent_costs_nothing(place: Place) -> None:
    with place.open() as store:
        task = asyncio.create_task(store.begin("k", spec="s", tag="t", reserved_usd=5.0))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await store.event("after", "")
        assert place.rows("SELECT outcome, cost_usd FROM attempts") == [("cancelled", 0.0)]
        assert store.spend().total_usd == 0


# --------------------------------------------------------------------------------------------------------------- money


async def test_spend_tells_confirmed_from_maybe_from_unpriced(place: Place) -> None:
    usage = Usage(100, 20, 40)
    outcomes: list[Any] = [
        Response("a", usage, 0.5),  # confirmed 0.5
        Response("b", usage, 0.25),  # confirmed 0.25
        Response("c"),  # usage never came: its reservation stays, and its price is unknown
        None,  # in flight: set aside while this process lives
        Failure("cancelled", ""),
        Failure("timeout", ""),
        Failure("rate_limit", ""),  # refused: free
        Failure("refusal", ""),
        NotSent("connection", ""),  # never left this machine: free
        Failure("connection", ""),  # cut off after sending
    ]
    with place.open() as store:
        for i, outcome in enumerate(outcomes):
            number = await store.begin(f"k{i}", spec="s", tag="t", reserved_usd=2.0**i)
            if outcome is not None:
                await store.finish(number, outcome)
        unpriced = await store.begin("free of reservation", spec="s", tag="t", reserved_usd=None)
        await store.finish(unpriced, Response("d", usage, None))
        spend, by_model = store.spend(), store.spend_by_model()
    assert spend.confirmed_usd == 0.75
    assert spend.maybe_usd == 2.0**2 + 2.0**4 + 2.0**5 + 2.0**9
    assert (spend.reserved_usd, spend.in_flight) == (2.0**3, 1)
    assert spend.total_usd == spend.confirmed_usd + spend.maybe_usd + spend.reserved_usd
    assert by_model == {"s": spend}
    assert (spend.attempts, spend.answers, spend.failed, spend.unpriced) == (11, 4, 6, 2)
    assert (spend.input_tokens, spend.output_tokens, spend.cached_tokens) == (300, 60, 120)
    with place.open(readonly=True) as store:  # who waited for it is gone: an orphan
        after = store.spend()
    assert (after.maybe_usd, after.reserved_usd, after.in_flight) == (spend.maybe_usd + 2.0**3, 0, 0)


async def test_what_answers_take_is_learned_by_tag(place: Place) -> None:
    told: list[tuple[str, str, Any]] = [
        ("m", "a", Response("x", Usage(100, 10), 0.5)),
        ("m", "a", Response("x", Usage(50, 20), 0.25)),
        ("m", "a", Failure("timeout", "")),
        ("m", "b", Response("x", Usage(7, 1), 0.5)),
        ("m", "b", Response("x", None, None)),
        ("other", "a", Response("x", Usage(1, 1), 1.0)),
    ]
    with place.open() as store:
        for i, (spec, tag, outcome) in enumerate(told):
            await store.finish(await store.begin(f"{i}", spec=spec, tag=tag, reserved_usd=1.0), outcome)
        learned = store.usage_by_tag("m")
        assert learned == {"a": TagUsage(2, 75.0, 15.0, 0.375), "b": TagUsage(2, 7.0, 1.0, None)}
        assert store.usage_by_tag("none") == {}
        assert {type(value) for value in vars(learned["a"]).values()} == {int, float}


async def test_an_attempt_cancelled_in_flight_stays_on_the_bill(place: Place) -> None:
    started = asyncio.Event()

    class Slow(Scripted):
        async def generate(self, request: Request) -> Any:
            started.set()
            await asyncio.Event().wait()

    with place.open() as store:
        client = connect(Slow([]), store=store, limits=Limits(max_in_flight=1))
        task = asyncio.create_task(client.generate(request()))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert store.failures() == {"cancelled": 1}


# ------------------------------------------------------------------------------------------------------------- results


async def test_results_come_back_as_they_went_in_and_are_replaced_not_doubled(place: Place) -> None:
    explanation = Explanation(1, "fires on ü", "e@1", "m", None, {"reasoning": "because"})
    with place.open() as store:
        assert store.get_explanation(1, "e@1", "c") is None
        assert store.get_score(1, "e@1", "c", "d@1", "j") is None
        for _ in range(2):
            await store.put_explanation(explanation, "c", STATISTICS)
            await store.put_score(score(), "c", "j")
            await store.put_score(score(null=True, value=None), "c", "j")
        assert store.get_explanation(1, "e@1", "c") == explanation
        assert store.get_explanation(1, "e@1", "another client") is None
        assert store.get_score(1, "e@1", "c", "d@1", "j") == score()
        assert store.get_score(1, "e@1", "c", "d@1", "j", null=True) == score(null=True, value=None)
        assert store.has_score(1, "e@1", "c", "d@1", "j", null=True)
        assert not store.has_score(1, "e@1", "c", "d@2", "j")
        store.note_skipped(Skipped(9, "activating contexts", 1, 10))
        await store.event("drain", "")
        assert store.skipped().to_pylist() == [{"feature": 9, "reason": "activating contexts", "have": 1, "need": 10}]
        assert len(store.explanations()) == 1
    assert place.rows("SELECT COUNT(*) FROM trials") == [(4,)]


async def test_tables_have_a_row_for_each_result(place: Place) -> None:
    with place.open() as store:
        assert (len(store.scores()), len(store.explanations()), len(store.skipped())) == (0, 0, 0)
        for feature in (4, 2):
            await store.put_explanation(Explanation(feature, "t", "e@1"), "c", STATISTICS)
            await store.put_score(score(feature), "c", "j")
            await store.put_score(score(feature, null=True), "c", "j")
        table = store.scores().to_pylist()
        assert [(r["feature"], r["is_null"], r["partner"]) for r in table] == [
            (2, 0, None), (2, 1, 5), (4, 0, None), (4, 1, 5)
        ]  # fmt: skip
        assert {(r["value"], r["ci_low"], r["ci_high"], r["n"], r["n_failed"]) for r in table} == {
            (0.75, 0.5, 0.9, 2, 1)
        }
        first = store.explanations().to_pylist()[0]
        assert first["statistics"] == (
            '{"count":20,"max":4.0,"mean":2.0,"frequency":0.01,"n_sequences":18,"n_groups":9,"context_frequency":null}'
        )


async def test_trials_stand_in_the_order_of_the_scores(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "SCORES_AT_ONCE", 2)
    with place.open() as store:
        assert len(store.trials()) == 0
        for feature in (9, 2, 5):
            for null in (True, False):
                await store.put_score(score(feature, null=null), "c", "j")
        await store.put_score(score(5), "c", "j")  # again: a younger number, the same place
        table = store.trials().to_pylist()
        wanted = [
            (s["feature"], s["is_null"], t)
            for s in store.scores().to_pylist()
            for t in store.get_score(s["feature"], "e@1", "c", "d@1", "j", null=bool(s["is_null"])).trials
        ]
    names = ("example", "kind", "quantile", "truth", "predicted", "failure", "prompt", "probability")
    assert len(table) == 12
    for row, (feature, null, trial) in zip(table, wanted, strict=True):
        assert (row["feature"], row["is_null"], row["scorer"], row["client"]) == (feature, null, "d@1", "j")
        assert {n: row[n] for n in names} == {n: getattr(trial, n) for n in names}


async def test_a_run_with_results_is_bound_to_its_settings(place: Place) -> None:
    with place.open() as store:
        store.bind({"n_test": 50, "seed": 0})
        store.bind({"n_test": 20, "seed": 0})  # nothing made yet: an estimate with other settings binds nobody
        await store.put_explanation(Explanation(1, "t", "e@1"), "c", STATISTICS)
        store.bind({"seed": 0, "n_test": 20})
        with pytest.raises(UsageError, match=r"n_test = 20, this run has 50; choose another --(out|study)"):
            store.bind({"seed": 0, "n_test": 50})
        assert store.study() == {"n_test": 20, "seed": 0}


# ---------------------------------------------------------------------------------------------------- opening and locks


def test_a_second_writer_is_refused_with_the_number_of_the_first(tmp_path: Path) -> None:
    import os
    import subprocess
    import sys

    code = f"from autointerp.store import RunStore; RunStore.open({str(tmp_path)!r})"
    with RunStore.open(tmp_path):
        said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert said.returncode == 1
        assert f"number {os.getpid()}) is running this study" in said.stderr
        with RunStore.open(tmp_path, readonly=True) as reader:  # looking on is allowed
            assert len(reader.scores()) == 0
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


async def test_a_reader_sees_what_a_writer_writes_and_cannot_write(place: Place) -> None:
    with place.open() as store, place.open(readonly=True) as reader:
        await store.put_explanation(Explanation(1, "t", "e@1"), "c", STATISTICS)
        assert len(reader.explanations()) == 1
        with pytest.raises(UsageError, match="opened for reading only"):
            await reader.event("x", "y")
        with pytest.raises((sqlite3.OperationalError, AutointerpError), match=r"read-?only"):
            reader._rows("DELETE FROM explanations")


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"expected a run folder .*; found no run\.db"):
        RunStore.open(tmp_path / "nothing", readonly=True)
    assert not (tmp_path / "nothing").exists()
    (tmp_path / "run.db").write_bytes(b"certainly not a database, but long enough to look at" * 99)
    for readonly in (True, False):
        with pytest.raises(FormatError, match="SQLite"):
            RunStore.open(tmp_path, readonly=readonly)


def test_a_newer_schema_is_refused_and_the_lock_is_given_back(tmp_path: Path) -> None:
    RunStore.open(tmp_path).close()
    with contextlib.closing(sqlite3.connect(tmp_path / "run.db")) as db:
        db.execute("PRAGMA user_version = 99")
    for _ in range(2):
        with pytest.raises(FormatError, match=f"expected a run store of version {len(MIGRATIONS)}; found version 99"):
            RunStore.open(tmp_path)
    with pytest.raises(FormatError, match="version 99"):
        RunStore.open(tmp_path, readonly=True)


async def test_many_threads_read_at_once(place: Place) -> None:
    with place.open() as store:
        await store.begin("k", spec="s", tag="t", reserved_usd=2.0)
        store.bind({"seed": 0}, about={"coder": "c"})

        def look() -> None:
            for _ in range(100):
                assert store.spend().reserved_usd == 2.0
                assert len(store.query(text="x")) == 0
                assert store.get_response("k") is None

        await asyncio.gather(*(asyncio.to_thread(look) for _ in range(8)))


def test_closing_leaves_one_file_that_holds_everything(tmp_path: Path) -> None:
    store = RunStore.open(tmp_path)
    store.note_skipped(Skipped(1, "r", 0, 1))
    store.close()
    store.close()
    assert not (tmp_path / "run.db-wal").exists()
    assert Place("sqlite", tmp_path, tmp_path).rows("SELECT feature FROM skipped") == [(1,)]
