"""A run in progress: what a reader sees in Chromium while another process writes the study."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Coroutine
from typing import Any

import orjson
import pytest

from autointerp.dashboard import live, overview
from autointerp.dashboard.run import Run
from autointerp.records import Explanation, Failure, FeatureStatistics, Response, Score, Skipped, Usage
from autointerp.store import RunStore
from tests.dashboard.planted import EXPLAINED, Browser, until

STATISTICS = FeatureStatistics(10, 1.0, 0.5, 0.1, 5, 5)
ROWS = "[...document.querySelectorAll('.tbody .tr .cell:first-child')].map(e => +e.textContent)"
FIGURES = "Object.fromEntries([...document.querySelectorAll('.figure')].map(e => [e.querySelector('h2').textContent,\
 [e.querySelector('.figure-value').textContent, e.querySelector('p').textContent]]))"


def written(coroutine: Coroutine[Any, Any, Any]) -> None:
    """Have it done: Playwright runs an event loop in this thread."""
    thread = threading.Thread(target=asyncio.run, args=(coroutine,))
    thread.start()
    thread.join()


async def explained(store: RunStore, feature: int, text: str) -> None:
    """An explanation, as a run writes it: an attempt that is answered, then what was made of it."""
    number = await store.begin(f"e{feature}", spec="remote/m", tag="explain", reserved_usd=0.5)
    await store.finish(number, Response("a", Usage(100, 20), cost_usd=0.25))
    await store.put_explanation(Explanation(feature, text, "default@1"), "c", STATISTICS)


async def scored(store: RunStore, feature: int, value: float) -> None:
    """A score, after an attempt that failed."""
    number = await store.begin(f"s{feature}", spec="remote/m", tag="detection", reserved_usd=0.5)
    await store.finish(number, Failure("rate_limit", "slower"))
    score = Score(feature, "default@1", "detection@2", value, value - 0.1, value + 0.01, 20, 0)
    await store.put_score(score, "c", "judge")


def test_what_a_run_writes_appears_on_the_progress_page(browser: Browser, run: Run) -> None:
    with RunStore.open(run.folder) as store:
        page = browser.open("live")
        page.wait_for_selector("h1:has-text('Running')")
        before = page.evaluate(FIGURES)
        assert before["Features"] == ["8", "8 explained, 0 failed, 0 skipped"]
        assert (before["Spend"][0], before["Scores"][0]) == ("$0.00", "8")
        page.get_by_text("No attempt has failed.").wait_for()
        written(explained(store, 20, "seen while it runs"))
        written(scored(store, 20, 0.97))
        store.note_skipped(Skipped(21, "activating contexts", 3, 10))
        written(store.event("note", "half way"))
        until(page, f"() => ({FIGURES}).Spend[0] !== '$0.00'")
        after = page.evaluate(FIGURES)
        assert after["Features"] == ["10", "9 explained, 0 failed, 1 skipped"]
        assert (after["Scores"][0], after["Rate"]) == ("9", ["1 a minute", "0 requests in flight, 1 answered"])
        assert after["Spend"] == ["$0.25", "100 tokens in, 20 out"]
        assert page.locator("section:has(h2:text('Scored last')) tbody tr").first.inner_text().split() == (
            ["20", "default@1", "detection@2", "0.97"]
        )
        assert page.locator("section:has(h2:text('Failures')) table").all_inner_texts() == [
            "rate_limit\t1",
            "remote/m\t1",
        ]
        page.get_by_text("note: half way").wait_for()
        assert page.locator("#status").inner_text() == "running, 9 features"
    until(page, "() => document.querySelector('h1').textContent === 'Not running'")
    assert page.locator("#status").inner_text() == ""


def test_the_table_takes_new_results_in_and_leaves_the_reader_alone(browser: Browser, run: Run) -> None:
    with RunStore.open(run.folder) as store:
        page = browser.open("overview?sort=feature")
        page.wait_for_selector(".tr")
        assert page.evaluate(ROWS) == list(EXPLAINED)
        page.get_by_label("search explanations").fill("number")
        until(page, f"() => ({ROWS}).length === {len(EXPLAINED) - 1}")
        page.keyboard.type(" 7")
        until(page, f"() => ({ROWS}).join() === '7'")
        page.evaluate("document.querySelector('.scroller').kept = true")
        written(explained(store, 20, "seen while it runs, number 7"))  # not scored yet
        until(page, f"() => ({ROWS}).join() === '7,20'")
        assert page.evaluate("[document.activeElement.value, document.activeElement.selectionStart]") == ["number 7", 8]
        written(scored(store, 20, 0.97))
        until(page, "() => document.querySelector('.tbody .tr:last-child').innerText.includes('0.97')")
        assert page.evaluate("document.querySelector('.scroller').kept")  # no page was drawn anew
        assert "9" in page.locator(".stats").inner_text()
        page.keyboard.press("Escape")
        page.keyboard.press("j")
        page.keyboard.press("Enter")  # a page that was not looked at yet is as the study is now
        page.wait_for_selector("h1:has-text('Feature 20')")
        assert page.locator(".scoreline").inner_text().count("0.97") == 1


def aged(run: Run, *kept: str) -> None:
    """As if so much time had passed that all may be made again but what is ``kept``."""
    for name in list(run._made):
        run._made[name] = run._made[name]._replace(until=math.inf if name in kept else 0.0)
    run.forget("stamp")
    run.forget("status")


def grown(run: Run, feature: int, explainer: str = "default@1") -> None:
    """Another explanation of the study."""
    with RunStore.open(run.folder) as store:
        asyncio.run(store.put_explanation(Explanation(feature, "new", explainer), "c", STATISTICS))


def texts(run: Run) -> dict[int, str]:
    """The table's explanations by feature."""
    table = orjson.loads(overview.table(run))
    values = next(c["values"] for c in table["columns"] if c["name"] == "explanation")
    return {f: text for f, text in zip(table["features"], values, strict=True) if text}


def test_the_page_is_told_when_a_newer_table_can_be_had(run: Run) -> None:
    before = overview.table(run)
    grown(run, 20)
    aged(run, "table")
    status = live.status(run)
    assert overview.table(run) is before  # not made again so soon
    assert status["table"] == orjson.loads(before)["stamp"] != status["stamp"]
    aged(run)
    status = live.status(run)
    assert status["table"] == status["stamp"] == orjson.loads(overview.table(run))["stamp"]


def test_a_table_is_of_one_state_of_the_study(run: Run) -> None:
    before = texts(run)
    grown(run, 20)
    aged(run, "shown", "makers", "features")  # were made so lately that a page that asks for them gets them as they are
    assert run.explanation(20) == ""
    assert texts(run) == before | {20: "new"}


def test_what_comes_while_a_table_is_made_is_left_to_the_next(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "settings", {})  # no cache: the features are those of the study
    before = texts(run)
    told = run.store.first_told
    monkeypatch.setattr(run.store, "first_told", lambda makers: {100: told(makers)[1]} | told(makers))
    grown(run, 30)
    aged(run)
    assert texts(run) == before | {30: "new"}
    grown(run, 3, "contrastive@1")
    aged(run, "makers")
    told_now = overview.texts(run, "0")  # whose makers are those of a moment ago
    assert (told_now["makers"], told_now["feature"]) == (["default"], [*EXPLAINED, 30])
