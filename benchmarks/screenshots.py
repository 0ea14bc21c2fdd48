"""Pictures of every page of the dashboard, light and dark, as PNG: to be looked at.

    python benchmarks/screenshots.py RUN [RUN…] --out DIR [--feature N]

Needs Chromium and Playwright. Of the first run the best-scored feature is shown, unless one is named.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

SIZE = {"width": 1366, "height": 768}
SETTLED = 900
"""Milliseconds after the last request, for what is drawn later."""


def views(page: Any, address: str, slug: str, feature: str) -> dict[str, str]:
    """Name to address of the pages with a tab, of a feature, and of those that show nothing until they are asked."""
    tabs = page.evaluate("[...document.querySelectorAll('.tab')].map(a => a.getAttribute('href').split('/').pop())")
    found = {tab: tab for tab in tabs} | {f"feature-{feature}": f"feature/{feature}"}
    text = asked(f"{address}data/{slug}/sequence/0").get("text", "")[:200]
    largest = asked(f"{address}data/{slug}/steerable/{feature}").get("max") or 1
    if text:
        steer = {"feature": feature, "how": "clamp", "value": 2 * largest, "text": text}
        found |= {"protein-0": "protein/0", "try-asked": f"try?{urlencode({'text': text})}"}
        found |= {"steer-asked": f"steer?{urlencode(steer)}"}
    return found | {"rate-card": "rate/context?rater=reader&n=8"}


def asked(address: str) -> dict[str, Any]:
    """What a payload holds; nothing where it is refused."""
    try:
        return dict(json.loads(urllib.request.urlopen(address).read()))
    except urllib.error.HTTPError:
        return {}


def shoot(address: str, out: Path, slugs: list[str], feature: str | None) -> None:
    """Take the pictures."""
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        for scheme in ("light", "dark"):
            page = browser.new_context(viewport=SIZE, color_scheme=scheme).new_page()
            page.set_default_timeout(60_000)
            for slug in slugs:
                page.goto(f"{address}#/{slug}/overview")
                page.wait_for_selector(".tr")
                shown = feature or page.locator(".tr .cell").first.inner_text()
                for name, view in views(page, address, slug, shown).items():
                    page.goto(f"{address}#/{slug}/{view}")
                    if name.endswith("-asked"):
                        page.wait_for_selector("[data-found], [data-steered], [role=alert]")
                    page.wait_for_load_state("networkidle")
                    page.wait_for_timeout(SETTLED)
                    path = out / f"{slug}-{name}-{scheme}.png"
                    page.screenshot(path=path, full_page=not view.startswith("overview"))
                    print(path)
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--names")
    parser.add_argument("--feature")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "autointerp.commands", "dashboard", *map(str, options.runs)]
    command += ["--port", "0", "--no-open", *(["--names", options.names] if options.names else [])]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        address = server.stdout.readline().strip()
        site = json.loads(urllib.request.urlopen(f"{address}data/site").read())
        shoot(address, options.out, [run["slug"] for run in site["runs"]], options.feature)
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
