"""Following a study that is being run: counters that cost little, asked for again and again."""

from __future__ import annotations

import time
from typing import Any

from autointerp.dashboard.page import Page, missing
from autointerp.dashboard.run import Run

LATEST = 30


def status(run: Run) -> dict[str, Any]:
    """How far the study is, what it costs, how quickly it answers, what failed, what was scored last."""
    if not run.has_study:
        return missing("Nothing has been written into this run yet.", "autointerp run …")
    return run.brief("status", lambda: _status(run))


def _status(run: Run) -> dict[str, Any]:
    store = run.store
    far, spend = store.progress(), store.spend()
    answered, workers = store.pulse()
    latest = store.latest(LATEST).to_pydict()
    events = store.events().slice(max(len(store.events()) - 20, 0)).to_pylist()
    return {
        "now": time.time(),
        "stamp": run.stamp(),
        "table": run.next_stamp("table"),
        "running": workers > 0,
        "workers": workers,
        "answered_last_minute": answered,
        "explained": far.explained,
        "failed": far.failed,
        "skipped": far.skipped,
        "scores": far.scores,
        "nulls": far.nulls,
        "last": far.last,
        "asked": _asked(run, far.skipped),
        "usd": spend.confirmed_usd,
        "maybe_usd": spend.maybe_usd + spend.reserved_usd,
        "unpriced": spend.unpriced,
        "budget": run.settings.get("budget"),
        "attempts": spend.attempts,
        "answers": spend.answers,
        "in_flight": spend.in_flight,
        "input_tokens": spend.input_tokens,
        "output_tokens": spend.output_tokens,
        "failures": store.failures(),
        "models": {name: one.answers for name, one in store.spend_by_model().items()},
        "latest": latest,
        "events": events,
    }


def _asked(run: Run, skipped: int) -> int | None:
    """How many features the run is to try; None where run.toml does not say. A draw goes on for each one skipped."""
    given = run.settings.get("features")
    if not isinstance(given, str) or not given:
        drawn = run.settings.get("n_features")
        return drawn + skipped if isinstance(drawn, int) else None
    total = 0
    for part in given.split(","):
        first, colon, last = part.strip().partition(":")
        if not colon:
            total += 1
        elif last.isdigit():
            total += int(last) - int(first or 0)
        else:
            return None
    return total


def _exported(run: Run) -> list[str]:
    return ["status"]


PAGE = Page(scripts=("live.js",), payloads={"status": status}, exported=_exported)
