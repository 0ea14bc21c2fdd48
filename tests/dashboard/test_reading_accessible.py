"""The pages on which readers try, steer, rate and look at sequences, checked by axe-core."""

from __future__ import annotations

import pytest

from tests.dashboard.planted import Browser

TEXT = "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQAPILSRVGDGTQDNLSGAEKAVQ"
PAGES = {
    "protein": ".found li",
    "protein/0": ".reading [data-at]",
    f"try?text={TEXT}": "[data-found]",
    f"steer?feature=2&value=5&text={TEXT}": "[data-steered]",
    "rate": "form",
    "rate/explanation?rater=Eve&n=4&seed=0": ".answers",
    "rate/results": "main h1",
    "feature/2": ".notes-panel",
}


@pytest.mark.full
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_serious_findings(browser: Browser, theme: str) -> None:
    api = pytest.importorskip("axe_playwright_python.sync_playwright")
    own = browser.page.context.browser.new_context(color_scheme=theme, bypass_csp=True)  # axe is put in as a script
    page = own.new_page()
    found = {}
    for place, shown in PAGES.items():
        page.goto(f"{browser.address}#/demo/{place}")
        page.wait_for_selector(shown)
        results = api.Axe().run(page).response
        found[place] = [v["id"] for v in results["violations"] if v["impact"] in ("serious", "critical")]
    own.close()
    assert {place: ids for place, ids in found.items() if ids} == {}
