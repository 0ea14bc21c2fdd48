"""Blind rating: the deal, what a card hides, what is kept, and agreement recomputed from the exported table."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from sklearn.metrics import cohen_kappa_score

from autointerp.cache import ActivationCache
from autointerp.dashboard.rated import results
from autointerp.dashboard.rating import answer, deal, draw
from autointerp.dashboard.run import Run
from autointerp.errors import UsageError
from tests.dashboard.planted import EXPLAINED, NASTY, Browser

ADA = {"rater": "Ada", "kind": "context", "seed": 1, "n": 24}


def said(run: Run, who: str, kind: str, answers: list[bool | None], seed: int = 1) -> None:
    """Answers to the cards of a deal, in their order; None leaves one out."""
    dealt = deal(run, {"rater": who, "kind": kind, "seed": seed, "n": len(answers)})
    for i, one in enumerate(answers):
        if one is not None:
            answer(run, {"deal": dealt["deal"], "card": i, "rater": who, "answer": one, "seconds": 1.5})


def test_contexts_are_judged_without_seeing_where_it_fires(run: Run, planted: Path) -> None:
    cards = draw(run, "context", 1, 24)
    cache = ActivationCache.open(planted.parent / "cache")
    for card in cards:
        row, start, n = map(int, card.shown.split(":"))
        first = int(cache.offsets[row]) + start
        tokens = cache[card.feature][0]
        assert card.truth == bool(((tokens >= first) & (tokens < first + n)).any())
    dealt = deal(run, ADA)
    assert {name for card in dealt["cards"] for name in card} == {"text", "contexts"}
    assert {name for card in dealt["cards"] for context in card["contexts"] for name in context} == {"text"}
    assert 4 <= sum(card.truth for card in cards) <= 20
    texts = [run.explanation(card.feature) for card in cards]
    assert [card["text"] for card in dealt["cards"]] == texts


def test_explanations_are_a_features_own_or_its_partners(run: Run) -> None:
    cards = draw(run, "explanation", 0, 100)
    assert 0 < sum(card.truth for card in cards) < len(cards) <= len(EXPLAINED)
    for card in cards:
        owner = card.feature if card.truth else (card.feature + 1) % len(EXPLAINED)
        assert (card.text, card.shown) == (run.explanation(owner), str(owner))
    dealt = deal(run, ADA | {"kind": "explanation"})
    hidden = {"row", "id", "title", "start", "of", "whole", "notes"}
    assert not hidden & {name for card in dealt["cards"] for context in card["contexts"] for name in context}


def test_the_seed_decides_the_deal(run: Run) -> None:
    assert draw(run, "context", 1, 24) == draw(run, "context", 1, 24)
    assert draw(run, "context", 1, 24) != draw(run, "context", 2, 24)
    assert draw(run, "context", 1, 8) == draw(run, "context", 1, 24)[:8]


def test_a_rater_goes_on_where_they_stopped(run: Run) -> None:
    said(run, "Ada", "context", [True, None, False])
    assert deal(run, ADA | {"n": 3})["answered"] == [0, 2]
    assert deal(run, ADA | {"n": 3, "rater": "Bo"})["answered"] == []
    assert deal(run, ADA | {"n": 3, "seed": 7})["answered"] in ([], [0], [1], [2])


@pytest.mark.parametrize(
    "body",
    [{"rater": " "}, {"kind": "guess"}, {"n": 0}, {"n": 10**6}, {"seed": -1}, {"seed": "x"}],
)
def test_a_deal_that_cannot_be_made(run: Run, body: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        deal(run, ADA | body)


@pytest.mark.parametrize(
    "body",
    [{"deal": "context"}, {"deal": "context-1-x"}, {"deal": "guess-1-3"}, {"card": 99}, {"card": "x"},
     {"answer": 1}, {"rater": ""}, {"deal": None}],
)  # fmt: skip
def test_an_answer_that_cannot_be_kept(run: Run, body: dict[str, Any]) -> None:
    good = {"deal": "context-1-3", "card": 0, "rater": "Ada", "answer": True}
    with pytest.raises(UsageError):
        answer(run, good | body)
    assert answer(run, good) == {"kept": True}


def test_agreement_is_that_of_the_exported_table(run: Run) -> None:
    truth = [card.truth for card in draw(run, "context", 1, 24)]
    said(run, "Ada", "context", [t if i % 6 else not t for i, t in enumerate(truth)])
    said(run, "=Bo", "context", [t if i % 4 else not t for i, t in enumerate(truth[:20])] + [None] * 4)
    own = [card.truth for card in draw(run, "explanation", 1, 8)]
    said(run, "Ada", "explanation", own)
    found = results(run)
    table = list(csv.DictReader(io.StringIO(found["csv"])))
    assert len(table) == 24 + 20 + len(own)
    assert {row["rater"] for row in table} == {"Ada", "'=Bo"}  # no formula for a spreadsheet

    def column(who: str, kind: str, name: str) -> dict[tuple[str, ...], str]:
        rows = [r for r in table if r["kind"] == kind and r["rater"].lstrip("'") == who and r[name]]
        return {(r["feature"], r["shown"]): r[name] for r in rows}

    judge = "judge detection"
    pairs = {(p["kind"], p["first"], p["second"]): p for p in found["agreement"]}
    of_contexts = [("Ada", "=Bo"), ("Ada", judge), ("=Bo", judge)]
    assert set(pairs) == {("context", *pair) for pair in of_contexts} | {("explanation", "Ada", judge)}
    for (kind, first, second), pair in pairs.items():
        one = column(first, kind, "answer")
        other = column(first, kind, judge) if second == judge else column(second, kind, "answer")
        both = [key for key in one if key in other]
        answers = [one[key] for key in both], [other[key] for key in both]
        assert pair["n"] == len(both)
        assert pair["kappa"] == pytest.approx(cohen_kappa_score(*answers))
        assert pair["kappa_low"] <= pair["kappa"] <= pair["kappa_high"]
    right = {(a["kind"], a["who"]): a for a in found["accuracy"]}
    assert right["context", "Ada"]["observed"] == pytest.approx(20 / 24)
    assert right["explanation", "Ada"]["observed"] == 1.0
    assert right["context", judge]["judge"] is True


def test_the_judge_answers_what_its_trials_say(run: Run) -> None:
    cards = draw(run, "context", 1, 24)
    said(run, "Ada", "context", [True] * 24)
    stored = {
        (trial.example, f): trial.predicted
        for f in EXPLAINED
        for trial in run.store.get_score(f, "default@1", "c", "detection@2", "judge").trials  # type: ignore[union-attr]
    }
    for row in results(run)["ratings"]:
        assert row["judges"]["judge detection"] == stored[row["shown"], row["feature"]]
    assert len(cards) == 24


def test_nothing_rated_yet(run: Run) -> None:
    found = results(run)
    assert (found["ratings"], found["accuracy"], found["agreement"]) == ([], [], [])
    assert found["csv"].startswith("rater,kind,feature")


def test_rating_and_export_in_the_browser(browser: Browser, run: Run, tmp_path: Path) -> None:
    page = browser.open("rate")
    page.get_by_label("your name").fill("Ada")
    page.get_by_label("cards").fill("6")
    page.get_by_text("Whose explanation?").click()
    page.get_by_role("button", name="Begin").click()
    page.get_by_text("Does this explanation fit").wait_for()
    page.keyboard.press("y")
    page.get_by_text("1 of 6").wait_for()
    page.keyboard.press("u")
    page.get_by_text("0 of 6").wait_for()
    for i in range(6):
        page.get_by_role("button", name="it fits" if i % 2 else "it does not").click()
        page.get_by_text(f"{i + 1} of 6").wait_for()
    page.get_by_role("link", name="See the results").click()
    page.get_by_role("heading", name="Agreement").wait_for()
    for name in ("CSV", "JSON"):
        with page.expect_download() as waiting:
            page.get_by_role("button", name=name).click()
        waiting.value.save_as(tmp_path / name)
    rows = list(csv.DictReader((tmp_path / "CSV").read_text().splitlines()))
    assert [int(row["answer"]) for row in rows] == [0, 1] * 3
    exported = json.loads((tmp_path / "JSON").read_text())
    assert (exported["format"], len(exported["ratings"])) == ("autointerp-ratings", 6)
    assert len(run.store.ratings()) == 6


@pytest.mark.full
def test_an_explanation_is_text(browser: Browser) -> None:
    page = browser.open("rate/context?rater=Ada&n=32&seed=1")
    page.get_by_text("Does a feature with this explanation").wait_for()
    seen = set()
    for i in range(32):
        seen.add(page.locator("blockquote").inner_text())
        page.keyboard.press("n")
        page.get_by_text(f"{i + 1} of 32").wait_for()
    assert any("<script>alert(3)</script>" in text for text in seen), NASTY
