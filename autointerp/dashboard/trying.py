"""Try it: paste a sequence or a text, and see all features that fire on it, ranked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from autointerp.dashboard.models import Models, cleaned
from autointerp.dashboard.page import Page
from autointerp.dashboard.tracks import parse_ranges, track
from autointerp.errors import UsageError

if TYPE_CHECKING:
    from autointerp.annotating import Annotated, FeatureTables
    from autointerp.clients.local.studied import Studied
    from autointerp.dashboard.run import Run

N_SHOWN, MOST_SHOWN = 40, 200
"""Features listed, unless another number is asked for; and at most."""


def try_text(run: Run, body: dict[str, Any]) -> dict[str, Any]:
    """Every feature that fires on a text.

    Parameters
    ----------
    body : ``text``; ``positions`` (``"5-30, 50"``), ``min_share``, ``coverage`` (two shares), ``by``, ``top``.

    Returns
    -------
    ``name``, ``text``, ``ends`` (of tokens, for texts), ``n``, ``n_fired``, ``n_kept``, ``features``: of each
    ``feature``, ``max``, ``share``, ``peak``, ``coverage``, ``sum``, ``about`` and its :func:`track`.
    """
    return run.once("models", lambda: Models(run)).ask(lambda studied: _tried(run, body, studied))


def _tried(run: Run, body: dict[str, Any], studied: Studied) -> dict[str, Any]:
    from autointerp.annotating import FeatureTables, annotate

    subject, coder = studied.subject, studied.coder
    name, text = cleaned(body.get("text"), subject.kind)
    tables: FeatureTables = run.once("feature tables", lambda: FeatureTables.open(run.folder))
    coverage = body.get("coverage") or (0.0, 1.0)
    top = max(1, min(_number(body, "top", N_SHOWN, int), MOST_SHOWN))
    cache = run.cache
    pooling = "states" if cache is None else cache.manifest.get("pooling") or "states"
    (found,) = annotate(
        [text],
        subject,
        coder,
        tables,
        ids=[name or "pasted"],
        hook=studied.hook,
        level=studied.level,
        pooling=pooling,
        min_share=_number(body, "min_share", 0.0),
        positions=parse_ranges(str(body.get("positions") or "")),
        coverage=(float(coverage[0]), float(coverage[1])),
        by=str(body.get("by") or "share"),
    )
    return _shown(found, name, subject.kind, top) | {"level": studied.level}


def _number(body: dict[str, Any], key: str, default: float, kind: Any = float) -> Any:
    try:
        return kind(default if body.get(key) in (None, "") else body[key])
    except (TypeError, ValueError):
        raise UsageError(f"{key} {body[key]!r}: a number is needed") from None


def _shown(found: Annotated, name: str, kind: str, top: int) -> dict[str, Any]:
    n = found.n_tokens
    rows = [
        {
            "feature": f.feature,
            "max": f.max,
            "share": f.share,
            "peak": f.peak,
            "coverage": f.coverage,
            "sum": float(np.sum(f.values)),
            "about": f.about,
        }
        | track(f.positions, f.values[: len(f.positions)], 0, n)
        for f in found.firings[:top]
    ]
    facts = {"name": name, "kind": kind, "text": found.text, "n": n, "features": rows}
    counts = {"n_fired": found.n_fired, "n_kept": len(found.firings)}
    return facts | counts | ({} if kind == "protein" else {"ends": found.ends})


PAGE = Page(scripts=("trying.js",), actions={"try": try_text})
