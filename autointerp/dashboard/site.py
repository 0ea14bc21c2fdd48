"""What live and static sites share: the page, its policy, the list of runs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Any

import orjson

from autointerp.dashboard.pages import pages
from autointerp.dashboard.run import Run

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self' https://alphafold.ebi.ac.uk; worker-src blob:; form-action 'self'; base-uri 'none'"
)
"""Nothing but the package's own scripts and styles; structures may come from AlphaFold DB."""
CORE = ("core.js", "draw.js", "columns.js", "sequence.js", "frame.js")
"""Scripts that every page builds on, in order."""
OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS


def as_bytes(value: Any) -> bytes:
    """``value`` as JSON; bytes are JSON already. NaN becomes null."""
    return value if isinstance(value, bytes) else orjson.dumps(value, option=OPTIONS)


@lru_cache(maxsize=1)
def asset_names() -> frozenset[str]:
    """Names of the files in ``assets/``, those of ``make assets`` as ``vendor/NAME``."""
    folder = files("autointerp.dashboard") / "assets"
    found = {entry.name: entry for entry in folder.iterdir()}
    vendor = found["vendor"].iterdir() if "vendor" in found else ()
    named = {f"vendor/{entry.name}": entry for entry in vendor} | found
    return frozenset(name for name, entry in named.items() if entry.is_file())


def scripts_and_styles() -> tuple[list[str], list[str]]:
    """Every page's scripts and styles, in order."""
    found = list(pages().values())
    scripts = [*CORE, *(s for page in found for s in page.scripts)]
    return [*scripts, "start.js"], ["style.css", *(s for page in found for s in page.styles)]


def index_html(*, live: bool) -> str:
    """The only HTML page; scripts fill it."""
    scripts, styles = scripts_and_styles()
    # a page that was opened from disk is not from 'self' to a browser
    policy = POLICY if live else POLICY.replace("'self'", "'self' file:")
    lines = [
        "<!doctype html>",
        f'<html lang="en" data-mode="{"live" if live else "static"}"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        "<title>autointerp</title>",
        '<link rel="icon" href="assets/icon.svg" type="image/svg+xml">',
        *(f'<link rel="stylesheet" href="assets/{name}">' for name in styles),
        *(f'<script src="assets/{name}" defer></script>' for name in scripts),
        "</head><body>",
        "<noscript>This page needs JavaScript; it loads nothing from elsewhere.</noscript></body></html>",
    ]
    return "\n".join(lines) + "\n"


def site(runs: Sequence[Run], *, live: bool) -> dict[str, Any]:
    """What every page knows: the runs, and what each page says about them."""
    from importlib.metadata import version

    return {"version": version("autointerp"), "live": live, "runs": [_about(run) for run in runs]}


def _about(run: Run) -> dict[str, Any]:
    found = {name: page.about(run) for name, page in pages().items() if page.about}
    return {"slug": run.slug, "name": run.name, "folder": str(run.folder), "protein": run.is_protein, "about": found}
