"""Notes, tags and bookmarks of features, which readers keep in the run's store."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from autointerp.dashboard.page import Column, Page
from autointerp.errors import UsageError
from autointerp.store import RunStore

if TYPE_CHECKING:
    from autointerp.dashboard.run import Run
    from autointerp.store.notes import Note


def kept(run: Run) -> RunStore:
    """The run's store, opened so that readers can write beside a running study."""
    name = run.settings.get("study")
    return run.once("beside", lambda: RunStore.open(run.folder, study=name, beside=True))


def notes(run: Run) -> dict[str, Any]:
    """What was noted of all features: ``features`` by number, ``tags`` with how often they are used."""
    found: dict[int, dict[str, Any]] = {}
    counts: dict[str, int] = {}
    if run.has_study:
        for row in run.store.notes().to_pylist():
            about = {"text": row["text"], "bookmarked": bool(row["is_bookmarked"]), "tags": []}
            found[row["feature"]] = about | {"changed": row["changed"]}
        for row in run.store.tags().to_pylist():
            counts[row["tag"]] = counts.get(row["tag"], 0) + 1
            if row["feature"] in found:
                found[row["feature"]]["tags"].append(row["tag"])
    return {"features": found, "tags": counts}


def put(run: Run, body: dict[str, Any]) -> dict[str, Any]:
    """Change what is noted of ``feature``: ``text``, ``tags``, ``bookmarked``; what is left out stays."""
    feature, text, tags, bookmarked = (body.get(name) for name in ("feature", "text", "tags", "bookmarked"))
    if not isinstance(feature, int) or isinstance(feature, bool) or not 0 <= feature < 2**31:
        raise UsageError("feature: a number is needed")
    if not isinstance(text, str | None) or not isinstance(bookmarked, bool | None):
        raise UsageError("text must be a text, bookmarked true or false")
    if tags is not None and not (isinstance(tags, list) and all(isinstance(tag, str) for tag in tags)):
        raise UsageError("tags must be a list of words")
    note = kept(run).put_note(feature, text=text, tags=tags, bookmarked=bookmarked)
    run.forget("table")
    return _json(note)


def _json(note: Note) -> dict[str, Any]:
    return {"text": note.text, "tags": note.tags, "bookmarked": note.is_bookmarked, "changed": note.changed}


def columns(run: Run) -> Iterable[Column]:
    """Bookmark, tags and note of every feature, for the overview; none where nothing was noted."""
    found = notes(run)["features"]
    if not found:
        return []
    rows = [found.get(feature, {}) for feature in run.features.tolist()]
    words = tuple(sorted({tag for about in found.values() for tag in about["tags"]}))
    code = {tag: i for i, tag in enumerate(words)}
    marked = [0 if about.get("bookmarked") else -1 for about in rows]
    tagged = [[code[tag] for tag in about.get("tags", ())] for about in rows]
    return [
        Column("bookmark", "bookmark", "category", marked, "notes", ("★",)),
        Column("tag", "tags", "tags", tagged, "notes", words),
        Column("note", "note", "text", [about.get("text") or None for about in rows], "notes"),
    ]


PAGE = Page(
    scripts=("notes.js",),
    payloads={"notes": notes},
    actions={"note": put},
    exported=lambda run: ["notes"],
    columns=columns,
)
