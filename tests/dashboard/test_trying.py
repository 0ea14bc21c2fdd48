"""Try it: what fires on a pasted sequence, against the coder by hand; and in a browser."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autointerp.dashboard.models import LONGEST, Models, cleaned
from autointerp.dashboard.run import Run
from autointerp.dashboard.trying import try_text
from autointerp.errors import AutointerpError, UsageError
from tests.dashboard.planted import HOOK, NASTY, Browser, asked

TEXT = "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQAPILSRVGDGTQDNLSGAEKAVQ"


def codes_of(planted: Path, text: str) -> np.ndarray:
    """(n_tokens, n_features) by subject and coder alone."""
    from autointerp.coders import load_coder
    from autointerp.subjects import load_subject

    subject = load_subject("planted-esm")
    states = subject.states([subject.tokenize([text])[0].ids], [HOOK])[HOOK]
    return load_coder(planted.parent / "coder").encode(states).dense().numpy()


def test_every_feature_that_fires_is_found(run: Run, planted: Path) -> None:
    dense = codes_of(planted, TEXT)
    found = try_text(run, {"text": f">my protein\n{TEXT[:30]}\n{TEXT[30:]}*\n", "top": 100})
    assert (found["name"], found["text"], found["n"]) == ("my protein", TEXT, len(TEXT))
    assert {f["feature"] for f in found["features"]} == set(np.flatnonzero(dense.max(0)))
    assert found["n_fired"] == found["n_kept"] == int((dense.max(0) > 0).sum())
    for one in found["features"]:
        expected = dense[:, one["feature"]]
        assert one["at"].tolist() == np.flatnonzero(expected).tolist()
        assert one["v"] == pytest.approx(expected[expected > 0], rel=2e-3)
        assert one["max"] == pytest.approx(expected.max(), rel=1e-5)
    shares = [f["share"] for f in found["features"] if f["share"] is not None]
    assert shares == sorted(shares, reverse=True)


def test_filters(run: Run, planted: Path) -> None:
    dense = codes_of(planted, TEXT)
    inside = dense[4:9]
    found = try_text(run, {"text": TEXT, "positions": "5-9", "by": "activation", "top": "3"})
    assert found["n_kept"] == int((inside.max(0) > 0).sum())
    assert [f["feature"] for f in found["features"]] == np.argsort(-inside.max(0), kind="stable")[:3].tolist()
    cover = (dense > 0).mean(0)
    found = try_text(run, {"text": TEXT, "coverage": [0.2, 0.5], "top": 100})
    assert {f["feature"] for f in found["features"]} == set(np.flatnonzero((cover >= 0.2) & (cover <= 0.5)))


@pytest.mark.parametrize(
    ("body", "said"),
    [({}, "Paste"), ({"text": " \n"}, "Paste"), ({"text": ">only a name"}, "empty"),
     ({"text": ">a\nAC\n>b\nDE"}, "2 seq"), ({"text": "ACD3"}, "'3' is no residue"),
     ({"text": NASTY}, "is no residue"), ({"text": "A" * (LONGEST + 1)}, "100,000"),
     ({"text": TEXT, "top": "many"}, "a number"), ({"text": TEXT, "positions": "9-3"}, "counting from 1"),
     ({"text": TEXT, "by": "luck"}, "luck"), ({"text": 5}, "Paste")],
)  # fmt: skip
def test_what_cannot_be_tried(run: Run, body: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        try_text(run, body)


def test_texts_keep_their_spaces() -> None:
    assert cleaned(" >a\n b ", "text") == ("", " >a\n b ")
    assert cleaned("ac de\n\nFG", "protein") == ("", "acdeFG")


def test_one_question_at_a_time(run: Run) -> None:
    models, inside, leave = Models(run), threading.Event(), threading.Event()

    def slow(studied: Any) -> str:
        inside.set()
        leave.wait(20)
        return "answered"

    answers: list[str] = []
    thread = threading.Thread(target=lambda: answers.append(models.ask(slow)))
    thread.start()
    assert inside.wait(60)
    with pytest.raises(AutointerpError, match="at another question"):
        models.ask(lambda studied: "second")
    leave.set()
    thread.join(20)
    assert answers == ["answered"]
    assert models.ask(lambda studied: "third") == "third"


def test_a_missing_coder_is_said_and_may_come_later(planted: Path, tmp_path: Path) -> None:
    import shutil

    from autointerp.dashboard.run import open_runs

    shutil.copytree(planted, tmp_path / "runs" / "run")
    settings = (planted / "run.toml").read_text()
    toml = tmp_path / "runs" / "run" / "run.toml"
    toml.write_text("\n".join(line for line in settings.splitlines() if not line.startswith("coder")))
    (one,) = open_runs({"bare": toml.parent})
    with pytest.raises(UsageError, match="coder"):
        try_text(one, {"text": TEXT})
    toml.write_text(settings)
    assert try_text(one, {"text": TEXT})["features"]
    one.close()


async def test_a_slow_model_does_not_hold_up_the_site(run: Run) -> None:
    import asyncio

    models, inside, leave = run.once("models", lambda: Models(run)), threading.Event(), threading.Event()

    def slow(studied: Any) -> None:
        inside.set()
        leave.wait(20)

    async def ask(client: Any) -> None:
        waiting = asyncio.create_task(asyncio.to_thread(models.ask, slow))
        assert await asyncio.to_thread(inside.wait, 60)
        headers = {"X-Autointerp": "1"}
        answer = await client.post("/act/demo/try", json={"text": TEXT}, headers=headers)
        assert (answer.status, "ask again" in (await answer.json())["error"]) == (500, True)
        assert (await client.get("/data/demo/notes")).status == 200
        leave.set()
        await waiting

    await asked(run, ask)


def test_a_sequence_is_pasted_in_the_browser(browser: Browser) -> None:
    page = browser.open("try")
    page.get_by_label("protein sequence").fill(f">{NASTY}\n{TEXT}")
    page.get_by_label("only at positions").fill("5-20")
    page.get_by_role("button", name="Try it").click()
    page.locator(".card").get_by_text("within the filters").wait_for()
    assert page.get_by_role("heading", level=2).first.inner_text().startswith("<img src=x")
    page.get_by_role("radio").nth(1).click()
    feature = page.get_by_role("radio").nth(1).get_attribute("aria-label").rpartition(" ")[2]  # type: ignore[union-attr]
    page.get_by_role("link", name=f"feature {feature}", exact=True).wait_for()
    assert page.locator(".reading [class^=a]").count() > 0
    page.reload()
    page.locator(".card").get_by_text("within the filters").wait_for()
    assert page.get_by_label("only at positions").input_value() == "5-20"
    page.get_by_role("link", name="steer it").click()
    page.get_by_role("heading", name="Steer").wait_for()
    assert page.get_by_label("number of the feature").input_value() == feature
    page.go_back()
    page.locator(".card").get_by_text("within the filters").wait_for()
    browser.allowed = re.compile("400")
    page.get_by_label("protein sequence").fill("123")
    page.get_by_label("protein sequence").press("Control+Enter")
    page.get_by_text("is no residue").wait_for()
