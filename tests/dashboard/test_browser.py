"""The pages as a reader has them, in Chromium without a window."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from autointerp.dashboard import export_site
from autointerp.dashboard.run import Run
from tests.dashboard.planted import N_FEATURES, NASTY, Browser, planted, served, until
from tests.dashboard.tabled import OTHER, tabled

__all__ = ["planted", "tabled"]
PAGES = ("overview", "feature/1", "feature/0", "live")
EXPLAINED = 9
"""Rows of the table at first: eight explanations and a failed one."""


@contextmanager
def chromium(address: str, **settings: Any) -> Iterator[Browser]:
    """A browser on a site."""
    api = pytest.importorskip("playwright.sync_api")
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if not path:
        pytest.skip("no Chromium: apt-get install chromium")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1366, "height": 768}, **settings)
        page.set_default_timeout(30_000)
        one = Browser(page, address)
        yield one
        browser.close()
    one.check()


@pytest.fixture
def site(tabled: Run) -> Iterator[Browser]:
    """A browser on a live site."""
    with served(tabled) as address, chromium(address) as browser:
        yield browser


def rows(page: Any) -> list[int]:
    """Numbers of the features that the table shows."""
    return [int(text) for text in page.locator(".tbody .tr .cell:first-child").all_inner_texts()]


def waited(page: Any, wanted: list[int]) -> None:
    """Waits until the table shows these features."""
    until(
        page,
        "w => [...document.querySelectorAll('.tbody .tr .cell:first-child')].map(e => +e.textContent).join() === w",
        arg=",".join(map(str, wanted)),
    )


def test_search_sort_filter_open_and_back(site: Browser) -> None:
    page = site.open("overview")
    page.wait_for_selector(".tr")
    assert len(rows(page)) == EXPLAINED
    page.fill(".search", "number 3")
    waited(page, [3])
    assert "q=number+3" in page.url
    page.fill(".search", "")
    page.click("button.sort:has-text('feature')")
    waited(page, [0, 1, 2, 3, 4, 5, 6, 7, 9])
    page.click("button.sort:has-text('feature')")
    waited(page, [9, 7, 6, 5, 4, 3, 2, 1, 0])
    page.click(".chip:has-text('long')")
    waited(page, [6, 4, 2, 0])
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_selector("h1:has-text('Feature 4')")
    page.click("a[aria-label='next feature (j)']")
    page.wait_for_selector("h1:has-text('Feature 2')")
    page.go_back()
    page.wait_for_selector("h1:has-text('Feature 4')")
    page.go_back()
    waited(page, [6, 4, 2, 0])


def test_the_search_of_every_explanation_reads_the_others(site: Browser) -> None:
    page = site.open("overview")
    page.wait_for_selector(".tr")
    page.fill(".search", OTHER)
    page.wait_for_selector(".none")
    page.check("label:has-text('every explanation') input")
    until(page, "() => document.querySelectorAll('.tbody .tr').length === 5")
    assert sorted(rows(page)) == [0, 1, 2, 3, 4]


@pytest.mark.full
def test_a_range_drawn_on_a_histogram_filters(site: Browser) -> None:
    page = site.open("overview?sort=feature")
    page.wait_for_selector(".tr")
    box = page.locator("svg.histogram[aria-label*='of detection']").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.88, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 1, box["y"] + 20, steps=3)
    page.mouse.up()
    until(page, "() => location.hash.includes('score.detection=')")
    shown = rows(page)
    scores = page.evaluate("async () => [...(await Dashboard.table('demo')).get('score.detection').values]")
    low = page.evaluate("Dashboard.range(Dashboard.place.params.get('score.detection'))[0]")
    assert 0.84 < low < 0.92
    assert shown == [f for f in range(N_FEATURES) if scores[f] is not None and scores[f] >= low]


@pytest.mark.full
def test_an_address_brings_a_page_back(site: Browser) -> None:
    page = site.open("overview?q=explanation&sort=feature&concept=Domain%3A+SH2")
    waited(page, [4])
    page = site.open("feature/1?quantile=2&trials=contrastive%2Fdetection")
    page.wait_for_selector("[role=tab][aria-selected=true]:has-text('60–80 %')")
    page.wait_for_selector(".scoreline[aria-pressed=true]")
    page.keyboard.press("q")
    page.wait_for_selector("[role=tab][aria-selected=true]:has-text('40–60 %')")
    assert "quantile=3" in page.url


def test_trials_can_be_told_apart(site: Browser) -> None:
    page = site.open("feature/3")
    page.wait_for_selector(".trial")
    score = page.evaluate("async () => (await Dashboard.load('demo/feature/3')).explanations[0].scores[0].trials")
    found = sum(t == p == "1" for t, p in zip(score["truth"], score["predicted"], strict=True))
    page.click(".chip.hit")
    while page.locator("button:has-text('more of')").is_visible():
        page.click("button:has-text('more of')")
    until(page, "n => document.querySelectorAll('.trial').length === n", arg=found)
    assert page.locator(".verdict:not(.hit)").count() == 0
    assert page.locator(".trial [class*='peak']").count() == found


@pytest.mark.full
def test_a_token_tells_its_activation(site: Browser) -> None:
    page = site.open("feature/3")
    page.wait_for_selector(".panel-contexts .peak")  # and all other cards, for what comes late moves what was there
    until(page, "() => [...document.querySelectorAll('.card .body')].every((body) => body.childNodes.length)")
    peak = page.locator(".panel-contexts .peak").first
    peak.scroll_into_view_if_needed()
    page.evaluate("() => new Promise((seen) => requestAnimationFrame(() => requestAnimationFrame(seen)))")
    peak.hover()  # only now: the event of scrolling comes with the next frame, and hides what is told
    assert "activation" in page.wait_for_selector(".tip:not([hidden]):has-text('activation')").inner_text()


@pytest.mark.full
def test_themes_and_help_by_key(site: Browser) -> None:
    page = site.open("overview")
    page.wait_for_selector(".tr")
    backgrounds = set()
    for _ in range(3):
        page.keyboard.press("t")
        backgrounds.add(
            (
                page.locator("html").get_attribute("data-theme"),
                page.evaluate("getComputedStyle(document.body).backgroundColor"),
            )
        )
    assert {name for name, _ in backgrounds} == {"auto", "light", "dark"}
    assert len({colour for _, colour in backgrounds}) == 2
    page.keyboard.press("?")
    page.wait_for_selector("dialog[open] kbd")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="detached")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.type") == "search"


def test_nothing_that_is_shown_can_run(site: Browser) -> None:
    for place in ("overview", "feature/0", "feature/1"):
        page = site.open(place)
        page.wait_for_selector(".tr, .context")
        page.wait_for_load_state("networkidle")
        assert page.locator("img, iframe, object, embed").count() == 0
        assert page.evaluate("[...document.querySelectorAll('script')].every(s => s.src && !s.textContent)")
        assert page.evaluate(
            "[...document.querySelectorAll('a')].every(a => !/^\\s*javascript/i.test(a.getAttribute('href') || ''))"
        )
        assert "\u202e" not in page.content()
    page = site.open("feature/0")
    shown = page.locator(".explanation .told").first.inner_text()
    assert shown == NASTY.replace("\u202e", "\ufffd")


@pytest.mark.full
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(tabled: Run, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    with served(tabled) as address, chromium(address, color_scheme=scheme, bypass_csp=True) as browser:
        for place in PAGES:
            page = browser.open(place)
            page.wait_for_selector(".tr, .context, .figure")
            page.wait_for_load_state("networkidle")
            found = axe.run(page).response["violations"]
            grave = [v for v in found if v["impact"] in ("serious", "critical")]
            told = [(v["id"], v["nodes"][0]["html"][:200], v["nodes"][0]["failureSummary"][:200]) for v in grave]
            assert not told, f"{place}, {scheme}: {told}"


def test_a_static_site_opens_from_disk(tabled: Run, tmp_path: Path) -> None:
    export_site([tabled], tmp_path / "site", processes=1)
    with chromium((tmp_path / "site" / "index.html").as_uri()) as browser:
        requests: list[str] = []
        browser.page.on("request", lambda request: requests.append(request.url))
        page = browser.open("overview")
        page.wait_for_selector(".tr")
        page.fill(".search", "number 3")
        waited(page, [3])
        page.click(".tr")
        page.wait_for_selector(".context")
        assert page.locator("h1").inner_text() == "Feature 3"
        page.go_back()
        waited(page, [3])
        page = browser.open("feature/1")
        page.wait_for_selector("svg.dag")
        assert all(url.startswith(("file:", "data:")) for url in requests)
        assert [u for u in requests if "feature/1.js" in u]
