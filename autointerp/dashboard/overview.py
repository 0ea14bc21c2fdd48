"""The overview: one table of every feature, sent as columns; the browser searches, sorts and filters it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from autointerp.dashboard.columns import all_columns, maker_names
from autointerp.dashboard.page import Page, missing
from autointerp.dashboard.run import Run
from autointerp.dashboard.site import as_bytes
from autointerp.errors import UsageError

CHUNK = 1000
"""Features whose other explanations are one payload."""


def table(run: Run) -> bytes:
    """Every column, made again when the study has grown."""
    return run.cached("table", lambda: as_bytes(_table(run)))


def _table(run: Run) -> dict[str, Any]:
    from autointerp.dashboard.pages import pages

    own = list(all_columns(run))
    more = [column for page in pages().values() for column in page.columns(run)]
    return {
        "stamp": run.stamp(),
        "features": run.features,
        "columns": [column.json() for column in (*own, *more)],
        "chunk": CHUNK,
        "several": len(run.makers) > 1,
        "no_map": run.why_no("analysis/features", "No map of the features yet.", run.analyze),
    }


def texts(run: Run, chunk: str) -> dict[str, Any]:
    """Every explanation of the features of one chunk, for search."""
    if not chunk.isdigit():
        raise UsageError(f"chunk {chunk!r}: a number is needed")
    part = run.features[int(chunk) * CHUNK : (int(chunk) + 1) * CHUNK].tolist()
    makers = run.makers
    place = {maker: i for i, maker in enumerate(makers)}
    told = [row for row in run.store.texts(part) if row[1:3] in place]  # a running study may have begun others since
    return {
        "makers": maker_names(makers),
        "feature": [row[0] for row in told],
        "maker": [place[row[1], row[2]] for row in told],
        "text": [row[3] for row in told],
    }


def _exported(run: Run) -> Iterator[str]:
    yield "table"
    if len(run.makers) > 1:
        yield from (f"texts/{i}" for i in range(-(-len(run.features) // CHUNK)))


def _about(run: Run) -> dict[str, Any]:
    """What the run is of."""
    told = {} if run.cache is None else run.cache.manifest
    facts = {
        "subject": Path(told.get("subject", {}).get("name") or "").name,
        "hook": told.get("subject", {}).get("hook"),
        "coder": told.get("coder", {}).get("architecture"),
        "client": run.settings.get("client"),
        "explainer": run.settings.get("explainer"),
        "binding": run.store.study().get("coder") if run.has_study else None,
    }
    empty = {} if run.has_study else missing("Nothing has been written into this run yet.", "autointerp run …")
    return {name: value for name, value in facts.items() if value} | empty


PAGE = Page(
    scripts=("map.js", "overview.js", "compare.js"),
    payloads={"table": table, "texts/{chunk}": texts},
    exported=_exported,
    about=_about,
)
