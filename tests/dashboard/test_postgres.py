"""Runs that are studies of one PostgreSQL database, against the same run in SQLite."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from autointerp.commands import export as command
from autointerp.dashboard import export_site, live
from autointerp.dashboard.notes import notes, put
from autointerp.dashboard.rated import results
from autointerp.dashboard.rating import answer, deal, draw
from autointerp.dashboard.run import Run, open_runs
from autointerp.errors import UsageError
from autointerp.records import Explanation, FeatureStatistics, Skipped
from autointerp.store import RunStore
from tests.dashboard.planted import N_FEATURES, Browser, until
from tests.dashboard.tabled import tabled
from tests.databases import Place

__all__ = ["tabled"]
OF_THE_MOMENT = {"now", "stamp", "table", "last", "latest"}
CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'autointerp'"


async def copied(source: RunStore, target: RunStore) -> None:
    """Every result of a study."""
    for row in source.explanations().to_pylist():
        details, statistics = orjson.loads(row["details"]), FeatureStatistics(**orjson.loads(row["statistics"]))
        told = Explanation(row["feature"], row["text"], row["explainer"], row["model"], row["failure"], details)
        await target.put_explanation(told, row["client"], statistics)
    for by in source.made_scores():
        score = source.get_score(by.feature, by.explainer, by.explainer_client, by.scorer, by.client, null=by.null)
        assert score is not None
        await target.put_score(score, by.explainer_client, by.client)
    for row in source.skipped().to_pylist():
        target.note_skipped(Skipped(**row))


@pytest.fixture
def shared(tabled: Run, postgres: Place, tmp_path: Path) -> Iterator[tuple[Run, Run]]:
    """Two studies of one database: the run as it is in SQLite, and one that knows a single feature."""
    for name in ("first", "second"):
        shutil.copytree(tabled.folder, tmp_path / name, ignore=shutil.ignore_patterns("run.db*", "run.lock"))
        with open(tmp_path / name / "run.toml", "a", encoding="utf-8") as file:
            file.write(f'store = "{postgres.where}"\nstudy = "{name}"\n')
    with RunStore.open(tmp_path / "first") as store:
        asyncio.run(copied(tabled.store, store))
    with RunStore.open(tmp_path / "second") as store:
        statistics = FeatureStatistics(10, 1.0, 0.5, 0.1, 5, 5)
        asyncio.run(store.put_explanation(Explanation(5, "of the second", "default@1"), "c", statistics))
    assert not list(tmp_path.glob("*nd/run.db"))
    first, second = open_runs({"demo": tmp_path / "first", "second": tmp_path / "second"})
    yield first, second
    first.close()
    second.close()


@pytest.fixture
def run(shared: tuple[Run, Run]) -> Run:
    """What the browser is shown."""
    return shared[0]


def payloads(run: Run, out: Path) -> dict[str, Any]:
    """Everything that is sent of a run, but for what the moment decides."""
    export_site([run], out, processes=1)
    found = {}
    for path in (out / "data" / run.slug).rglob("*.js"):
        body = path.read_bytes().replace(str(run.folder).encode(), b"RUN")
        value = orjson.loads(body[body.index(b'",') + 2 : body.rindex(b")")])
        found[str(path.relative_to(out / "data" / run.slug))] = {
            k: v for k, v in value.items() if k not in OF_THE_MOMENT
        }
    return found


def test_pages_are_those_of_the_run_in_sqlite(shared: tuple[Run, Run], tabled: Run, tmp_path: Path) -> None:
    here, there = payloads(shared[0], tmp_path / "a"), payloads(tabled, tmp_path / "b")
    assert here.keys() == there.keys()
    assert len(here) > N_FEATURES
    for name, value in here.items():
        assert value == there[name], name
    other = payloads(shared[1], tmp_path / "c")
    texts = next(c for c in other["table.js"]["columns"] if c["name"] == "explanation")["values"]
    assert [(f, text) for f, text in enumerate(texts) if text] == [(5, "of the second")]
    assert other["feature/3.js"]["explanations"] == []


def test_readers_write_while_the_study_runs(shared: tuple[Run, Run], postgres: Place) -> None:
    first, second = shared
    with RunStore.open(first.folder):
        assert (live.status(first)["running"], live.status(second)["running"]) == (True, False)
        put(first, {"feature": 5, "text": "zinc?", "tags": ["motif"]})
        postgres.rows(CUT)  # the server goes away and comes back
        put(first, {"feature": 5, "bookmarked": True})
        put(second, {"feature": 5, "text": "another"})
        cards = draw(first, "context", 1, 8)
        dealt = deal(first, {"rater": "Ada", "kind": "context", "seed": 1, "n": 8})
        for i, card in enumerate(cards):
            answer(first, {"deal": dealt["deal"], "card": i, "rater": "Ada", "answer": card.truth})
    note = notes(first)["features"][5]
    assert (note["text"], note["tags"], note["bookmarked"]) == ("zinc?", ["motif"], True)
    assert notes(second)["features"][5]["text"] == "another"
    assert notes(second)["tags"] == {}
    found = results(first)
    (ada,) = [one for one in found["accuracy"] if one["who"] == "Ada"]
    assert (ada["n"], ada["observed"]) == (8, 1.0)
    assert {pair["second"] for pair in found["agreement"]} == {"judge detection"}
    assert results(second)["ratings"] == []
    with pytest.raises(UsageError, match="Nothing to rate"):
        deal(second, {"rater": "Ada", "kind": "context", "seed": 1, "n": 8})


def test_tables_are_exported_alike(shared: tuple[Run, Run], tabled: Run, tmp_path: Path) -> None:
    for name, folder in (("a", shared[0].folder), ("b", tabled.folder)):
        for of_the_pages in ("concepts", "go"):
            shutil.rmtree(folder / of_the_pages)
        command.run(command.Config(run=folder, format="csv", out=tmp_path / name))
    for path in (tmp_path / "b").iterdir():
        assert (tmp_path / "a" / path.name).read_bytes() == path.read_bytes()
    assert (tmp_path / "a" / "scores.csv").read_text().count("\n") > 8


def test_a_folder_that_names_none_of_two_studies(shared: tuple[Run, Run]) -> None:
    path = shared[0].folder / "run.toml"
    path.write_text(path.read_text().replace('study = "first"\n', ""))
    with pytest.raises(UsageError, match="several studies, name one of them: first, second"):
        open_runs({"neither": shared[0].folder})


def test_a_shared_study_in_the_browser(browser: Browser, run: Run) -> None:
    page = browser.open("overview?sort=feature")
    page.wait_for_selector(".tr >> nth=8")
    page = browser.open("feature/3")
    page.wait_for_selector(".trial")
    page.get_by_label("note on feature 3").fill("kept in PostgreSQL")
    page.get_by_label("note on feature 3").blur()
    page.get_by_text("kept", exact=True).wait_for()
    page.reload()
    until(page, "() => document.querySelector('.notes-panel textarea')?.value === 'kept in PostgreSQL'")
    assert run.store.note(3).text == "kept in PostgreSQL"
    with RunStore.open(run.folder) as store:
        page = browser.open("live")
        page.wait_for_selector("h1:has-text('Running')")
        store.note_skipped(Skipped(21, "activating contexts", 3, 10))
        until(page, "() => document.querySelector('.figure p').textContent.endsWith('2 skipped')")
