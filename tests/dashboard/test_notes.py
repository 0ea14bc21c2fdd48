"""Notes, tags and bookmarks: kept through the site, shown as columns, and in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from autointerp.dashboard.notes import columns, notes, put
from autointerp.dashboard.run import Run
from autointerp.errors import UsageError
from autointerp.store import RunStore
from tests.dashboard.planted import NASTY, Browser, asked, until


def test_a_note_is_kept_beside_a_running_study(run: Run) -> None:
    with RunStore.open(run.folder):  # holds the lock, as `autointerp run` does
        kept = put(run, {"feature": 3, "text": "zinc?", "tags": ["motif"]})
        assert (kept["text"], kept["tags"], kept["bookmarked"]) == ("zinc?", ("motif",), False)
        assert put(run, {"feature": 3, "bookmarked": True})["text"] == "zinc?"
    found = notes(run)
    assert found["tags"] == {"motif": 1}
    assert {k: v for k, v in found["features"][3].items() if k != "changed"} == {
        "text": "zinc?", "bookmarked": True, "tags": ["motif"],
    }  # fmt: skip


def test_columns_of_the_overview(run: Run) -> None:
    assert list(columns(run)) == []
    put(run, {"feature": 3, "text": "n", "tags": ["b", "a"], "bookmarked": True})
    put(run, {"feature": 5, "tags": ["b"]})
    found = {c.name: c for c in columns(run)}
    place = {int(f): i for i, f in enumerate(run.features)}
    assert found["bookmark"].values[place[3]] == 0
    assert found["bookmark"].values[place[5]] == -1
    words = found["tag"].words
    assert [[words[c] for c in found["tag"].values[place[f]]] for f in (3, 5, 0)] == [["a", "b"], ["b"], []]
    assert found["note"].values[place[3]] == "n"
    assert len(found["note"].values) == len(run.features)


@pytest.mark.parametrize(
    "body",
    [{}, {"feature": "3"}, {"feature": True}, {"feature": -1}, {"feature": 3, "text": 5}, {"feature": 3, "tags": "a"},
     {"feature": 3, "tags": [1]}, {"feature": 3, "bookmarked": 1}],
)  # fmt: skip
def test_what_is_no_note_is_refused(run: Run, body: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        put(run, body)
    assert notes(run)["features"] == {}


async def test_the_site_keeps_notes(run: Run) -> None:
    async def ask(client: Any) -> None:
        headers = {"X-Autointerp": "1"}
        answer = await client.post("/act/demo/note", json={"feature": 2, "text": NASTY}, headers=headers)
        assert (answer.status, (await answer.json())["text"]) == (200, NASTY)
        answer = await client.post("/act/demo/note", json={"feature": 2, "text": "a" * 30000}, headers=headers)
        assert (answer.status, "20,000" in (await answer.json())["error"]) == (400, True)
        found = await (await client.get("/data/demo/notes")).json()
        assert found["features"]["2"]["text"] == NASTY

    await asked(run, ask)


def test_a_reader_notes_in_the_browser(browser: Browser, run: Run) -> None:
    page = browser.open("feature/3")
    panel = page.locator(".notes-panel")
    panel.get_by_role("button", name="bookmark").click()
    panel.get_by_text("★ bookmarked").wait_for()
    panel.get_by_label("note on feature 3").fill(NASTY)
    panel.get_by_label("add a tag").fill("<b>motif</b>")
    panel.get_by_label("add a tag").press("Enter")
    panel.get_by_text("<b>motif</b>").wait_for()
    until(page, "async () => (await (await fetch('data/demo/notes')).json()).features[3]?.text")
    note = run.store.note(3)
    assert (note.text, note.tags, note.is_bookmarked) == (NASTY, ("<b>motif</b>",), True)
    page.reload()
    assert page.get_by_label("note on feature 3").input_value() == NASTY
    page.get_by_label("remove tag").click()
    page.get_by_text("kept", exact=True).wait_for()
    assert run.store.note(3).tags == ()


def test_a_folder_without_results_has_no_notes(tmp_path: Path) -> None:
    from autointerp.dashboard.run import open_runs

    RunStore.open(tmp_path).close()
    (one,) = open_runs({"empty": tmp_path})
    assert notes(one) == {"features": {}, "tags": {}}
    assert put(one, {"feature": 1, "text": "first"})["text"] == "first"
    assert notes(one)["features"][1]["text"] == "first"
    one.close()
