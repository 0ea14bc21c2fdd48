"""What readers write: beside the process that runs the study, and in both databases."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from autointerp.errors import AutointerpError, UsageError
from autointerp.store import RunStore
from autointerp.store.notes import LONGEST_NOTE, Note, Rating
from autointerp.store.schema import MIGRATIONS
from tests.databases import Place

RATED = Rating("Ada", "context", 3, "default@1", "c", "17:0:32", True, False, 2.5)


@pytest.fixture
def beside(place: Place) -> Any:
    """A store that a study is running on, and a reader's view of it."""
    with place.open(study="mine") as running, place.open(study="mine", beside=True) as reader:
        yield running, reader, place


def test_a_reader_notes_while_the_study_runs(beside: Any) -> None:
    running, reader, _ = beside
    assert reader.note(5) == Note()
    note = reader.put_note(5, text="zinc?", tags=["motif", " to  check ", "motif", ""])
    assert (note.text, note.tags, note.is_bookmarked) == ("zinc?", ("motif", "to check"), False)
    note = reader.put_note(5, bookmarked=True)
    assert (note.text, note.tags, note.is_bookmarked) == ("zinc?", ("motif", "to check"), True)
    running.describe(coder="topk")  # the study goes on writing
    assert running.note(5) == note
    assert running.put_note(6, text="from the run").text == "from the run"
    running.put_note(6, text="")
    rows = running.notes().select(["feature", "text", "is_bookmarked"]).to_pylist()
    assert rows == [{"feature": 5, "text": "zinc?", "is_bookmarked": 1}]
    assert reader.tags().to_pylist() == [{"feature": 5, "tag": "motif"}, {"feature": 5, "tag": "to check"}]
    assert reader.workers() == running.workers()  # a reader is none
    with pytest.raises(UsageError, match="reading only"):
        reader.bind({"seed": 1})


def test_what_is_emptied_is_gone(beside: Any) -> None:
    _, reader, place = beside
    reader.put_note(5, text="a", tags=["b"], bookmarked=True)
    reader.put_note(6, tags=["b"])
    reader.put_note(5, text="", tags=[], bookmarked=False)
    assert reader.note(5) == Note()
    assert place.rows("SELECT feature FROM notes") == [(6,)]


def test_text_is_kept_as_the_database_can_hold_it(beside: Any) -> None:
    _, reader, _ = beside
    words = "<script>alert('x')</script> %s ? \u202egnp\u202c\n\0\ud800 ü"
    assert reader.put_note(1, text=words).text == words.replace("\0", "?").replace("\ud800", "?")
    with pytest.raises(UsageError, match="20,000"):
        reader.put_note(1, text="a" * (LONGEST_NOTE + 1))
    for tags in (["t" * 65], map(str, range(51))):
        with pytest.raises(UsageError, match="at most 50"):
            reader.put_note(1, tags=tags)


def test_a_second_answer_replaces_the_first(beside: Any) -> None:
    running, reader, _ = beside
    reader.put_rating(RATED)
    reader.put_rating(Rating("  Ada ", "context", 3, "default@1", "c", "17:0:32", True, True))
    reader.put_rating(Rating("Bo", "explanation", 3, "default@1", "c", "9", False, False, 1.0))
    found = running.ratings().drop_columns(["time", "explainer", "client"]).to_pylist()
    assert found == [
        {"rater": "Ada", "kind": "context", "feature": 3, "shown": "17:0:32", "truth": 1, "answer": 1, "seconds": None},
        {"rater": "Bo", "kind": "explanation", "feature": 3, "shown": "9", "truth": 0, "answer": 0, "seconds": 1.0},
    ]
    for rater, kind in ((" ", "context"), ("a" * 65, "context"), ("Ada", "guess")):
        with pytest.raises(UsageError):
            reader.put_rating(Rating(rater, kind, 1, "e", "c", "1", True, True))


def test_studies_keep_their_notes_apart(place: Place) -> None:
    for study in ("one", "two"):
        place.open(study=study).close()
    with place.open(study="one", beside=True) as one, place.open(study="two", beside=True) as two:
        one.put_note(1, text="of one", tags=["t"])
        two.put_note(1, text="of two")
        assert (one.note(1).text, two.note(1).text) == ("of one", "of two")
        assert (one.note(1).tags, two.note(1).tags) == (("t",), ())


def test_looking_on_writes_nothing(place: Place) -> None:
    place.open().close()
    with place.open(readonly=True) as store:
        for write in (lambda: store.put_note(1, text="a"), lambda: store.put_rating(RATED)):
            with pytest.raises(UsageError, match="reading only"):
                write()
        assert store.ratings().num_rows == 0


def test_an_older_store_is_not_changed_beneath_who_runs_it(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "run.db")) as db:
        db.executescript(MIGRATIONS[0] + MIGRATIONS[1].replace("unixnow()", "1.0") + "PRAGMA user_version = 2;")
        db.execute("INSERT INTO studies (name, created) VALUES ('default', 1.0)")
        db.commit()
    from autointerp.locks import acquire

    with acquire(tmp_path / "run.lock", "running this study"), pytest.raises(UsageError, match="another process"):
        RunStore.open(tmp_path, beside=True)
    with RunStore.open(tmp_path, beside=True) as store:
        assert store.put_note(2, text="now").text == "now"


def test_a_locked_database_is_an_error_that_says_so(tmp_path: Path) -> None:
    RunStore.open(tmp_path).close()
    with RunStore.open(tmp_path, beside=True) as store, contextlib.closing(sqlite3.connect(tmp_path / "run.db")) as db:
        store._db.execute("PRAGMA busy_timeout = 10")  # type: ignore[attr-defined]
        db.execute("BEGIN IMMEDIATE")
        with pytest.raises(AutointerpError, match="locked"):
            store.put_note(1, text="a")
        db.execute("ROLLBACK")
        assert store.put_note(1, text="a").text == "a"


@pytest.mark.skipif(os.getuid() == 0, reason="root writes everywhere")
def test_a_folder_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    RunStore.open(tmp_path).close()
    (tmp_path / "run.db").chmod(0o444)
    with RunStore.open(tmp_path, beside=True) as store, pytest.raises(AutointerpError, match="readonly"):
        store.put_note(1, text="a")
