"""What readers of a study write: notes, tags and bookmarks of features, and their blind ratings.

They are written beside the process that runs the study, in transactions of their own: open the store with
``RunStore.open(run, beside=True)``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autointerp.errors import UsageError
from autointerp.store.core import Core, text
from autointerp.store.database import Database, Statement

if TYPE_CHECKING:
    import pyarrow as pa

LONGEST_NOTE = 20_000
"""Characters of a note at most."""
LONGEST_TAG = 64
MOST_TAGS = 50
KINDS = ("context", "explanation")
"""What is rated: whether a feature fires in a context, by its explanation; whether an explanation fits contexts."""
EMPTY = (
    "DELETE FROM notes WHERE study = ? AND feature = ? AND text = '' AND is_bookmarked = 0 AND NOT EXISTS"
    " (SELECT 1 FROM tags WHERE tags.study = notes.study AND tags.feature = notes.feature)"
)
RATING = "rater, kind, feature, explainer, client, shown, truth, answer, seconds"
RATE = (
    f"INSERT INTO ratings (study, {RATING}, time) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, unixnow())"
    " ON CONFLICT (study, rater, kind, feature, explainer, client, shown) DO UPDATE SET"
    " truth = excluded.truth, answer = excluded.answer, seconds = excluded.seconds, time = excluded.time"
)


@dataclass(frozen=True, slots=True)
class Note:
    """What readers noted of one feature; ``changed`` in Unix seconds, None when nothing ever was."""

    text: str = ""
    tags: tuple[str, ...] = ()
    is_bookmarked: bool = False
    changed: float | None = None


@dataclass(frozen=True, slots=True)
class Rating:
    """A reader's answer to one blind question.

    Attributes
    ----------
    rater : the reader's name. kind : one of :data:`KINDS`.
    feature, explainer, client : whose contexts were shown, and who made the explanation.
    shown : ``context``: the id of the example that was judged. ``explanation``: the number of the feature whose
        explanation was shown.
    truth, answer : whether it is so (the feature fires there; the explanation is its own), and what the reader said.
    seconds : that the answer took; None when unknown.
    """

    rater: str
    kind: str
    feature: int
    explainer: str
    client: str
    shown: str
    truth: bool
    answer: bool
    seconds: float | None = None


class NoteTables(Core):
    """Notes, tags, bookmarks and ratings of a study."""

    def note(self, feature: int) -> Note:
        """What was noted of ``feature``; an empty note if nothing was."""
        where = (self._study, feature)
        tags = self._rows("SELECT tag FROM tags WHERE study = ? AND feature = ? ORDER BY tag", where)
        rows = self._rows("SELECT text, is_bookmarked, changed FROM notes WHERE study = ? AND feature = ?", where)
        words, bookmarked, changed = rows[0] if rows else ("", 0, None)
        return Note(words, tuple(tag for (tag,) in tags), bool(bookmarked), changed)

    def put_note(
        self,
        feature: int,
        *,
        text: str | None = None,
        tags: Iterable[str] | None = None,
        bookmarked: bool | None = None,
    ) -> Note:
        """Change the note, the tags or the bookmark of ``feature``; what is None stays. The note as it is then.

        Raises
        ------
        UsageError : the store is read-only, or a text or tag is too long.
        """
        if text is not None and len(text) > LONGEST_NOTE:
            raise UsageError(f"a note of {len(text):,} characters; at most {LONGEST_NOTE:,} are kept")
        kept = None if tags is None else _clean(tags)
        self._write_beside(lambda db: _put(db, self._study, feature, text, kept, bookmarked))
        return self.note(feature)

    def notes(self) -> pa.Table:
        """One row per feature that has a note, a tag or a bookmark: feature, text, is_bookmarked, changed."""
        return self._table(
            "SELECT feature, text, is_bookmarked, changed FROM notes WHERE study = ? ORDER BY feature", (self._study,)
        )

    def tags(self) -> pa.Table:
        """One row per feature and tag."""
        return self._table("SELECT feature, tag FROM tags WHERE study = ? ORDER BY feature, tag", (self._study,))

    def rateable(self, scorer: str) -> list[tuple[int, str, str]]:
        """(feature, explainer, client) of the explanations that ``scorer`` judged, whatever its version; in order."""
        sql = (
            "SELECT DISTINCT feature, explainer, explainer_client FROM scores WHERE study = ? AND is_null = 0"
            " AND (scorer = ? OR scorer LIKE ?) ORDER BY 1, 2, 3"
        )
        return [(row[0], row[1], row[2]) for row in self._rows(sql, (self._study, scorer, f"{scorer}@%"))]

    def put_rating(self, rating: Rating) -> None:
        """Store a reader's answer, replacing an earlier one to the same question.

        Raises
        ------
        UsageError : the store is read-only, or the rater has no name.
        """
        rater = " ".join(text(rating.rater).split())
        if not rater or len(rater) > LONGEST_TAG:
            raise UsageError(f"rater {rater[:80]!r}: a name of 1 … {LONGEST_TAG} characters is needed")
        if rating.kind not in KINDS:
            raise UsageError(f"rating {rating.kind!r}; valid: {', '.join(KINDS)}")
        asked = (rater, rating.kind, rating.feature, rating.explainer, rating.client, rating.shown)
        said = (int(rating.truth), int(rating.answer), rating.seconds)
        self._write_beside(self._execute(RATE, (self._study, *asked, *said)))

    def ratings(self) -> pa.Table:
        """One row per rating, oldest first: rater, kind, feature, explainer, client, shown, truth, answer, …"""
        return self._table(f"SELECT {RATING}, time FROM ratings WHERE study = ? ORDER BY time, id", (self._study,))

    def _write_beside(self, statement: Statement) -> Any:
        """Run ``statement`` in a transaction of its own, or with the others of who runs the study."""
        if self._turn is None:
            return self._submit(statement).result()
        db = self._db
        with self._turn:
            while True:
                try:
                    db.begin()
                    value = statement(db)
                    db.commit()
                    return value
                except Exception as error:  # noqa: BLE001 - whatever it is, the transaction is undone
                    db.rollback()
                    if not db.passing(error):
                        raise db.plain(error) from None


def _put(
    db: Database, study: int, feature: int, words: str | None, tags: Sequence[str] | None, bookmarked: bool | None
) -> None:
    where = (study, feature)
    # taken first, so that of two who change different parts of a note neither undoes the other's
    db.execute("INSERT INTO notes VALUES (?, ?, '', 0, unixnow()) ON CONFLICT (study, feature) DO NOTHING", where)
    db.execute("UPDATE notes SET changed = unixnow() WHERE study = ? AND feature = ?", where)
    if words is not None:
        db.execute("UPDATE notes SET text = ? WHERE study = ? AND feature = ?", (text(words), *where))
    if bookmarked is not None:
        db.execute("UPDATE notes SET is_bookmarked = ? WHERE study = ? AND feature = ?", (int(bookmarked), *where))
    if tags is not None:
        db.execute("DELETE FROM tags WHERE study = ? AND feature = ?", where)
        db.executemany("INSERT INTO tags (study, feature, tag) VALUES (?, ?, ?)", [(*where, tag) for tag in tags])
    db.execute(EMPTY, where)


def _clean(tags: Iterable[str]) -> list[str]:
    """Tags without doubles and needless spaces, in alphabetical order."""
    kept = sorted({" ".join(text(tag).split()) for tag in tags} - {""})
    if len(kept) > MOST_TAGS or any(len(tag) > LONGEST_TAG for tag in kept):
        raise UsageError(f"tags: at most {MOST_TAGS}, of {LONGEST_TAG} characters each")
    return kept
