"""A store of an older version is brought up to date, with everything in it."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest

from autointerp.records import Response, Trial, Usage
from autointerp.store import RunStore
from autointerp.store.schema import MIGRATIONS

OLD = """
    INSERT INTO study VALUES ('seed', '3');
    INSERT INTO attempts VALUES (5, 'k', 's', 't', 1.0, 10.0, 11.0, 'answer', NULL, 7, 3, 2, 0.25);
    INSERT INTO attempts VALUES (6, 'l', 's', 't', 2.0, 12.0, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
    INSERT INTO responses VALUES ('k', 'the answer', 'stop', 'm', 7, 3, 2, 0.25);
    INSERT INTO explanations VALUES (1, 'e', 'c', 'words', 'm', NULL, '{}', '{}');
    INSERT INTO explanations VALUES (2, 'e', 'c', '', 'm', 'timeout: slow', '{}', '{}');
    INSERT INTO explanations VALUES (3, 'e', 'c', '', 'm', 'refusal: no', '{}', '{}');
    INSERT INTO scores VALUES (9, 1, 'e', 'c', 'd', 'j', 0, NULL, 0.5, 0.25, 0.75, 1, 0, 0, '{}', 'm');
    INSERT INTO trials VALUES (9, 0, '0:0:8', 'activating', 3, 1, 0, NULL, 2);
    INSERT INTO skipped VALUES (4, 'r', 1, 2);
    INSERT INTO events (time, kind, text) VALUES (1.0, 'k', 't');
"""


@pytest.mark.parametrize("readonly", [True, False])
def test_a_store_of_version_one_opens_with_everything_in_it(tmp_path: Path, readonly: bool) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "run.db")) as db:
        db.executescript(MIGRATIONS[0] + OLD + "PRAGMA user_version = 1;")
    with RunStore.open(tmp_path, readonly=readonly) as store:
        assert store.study() == {"seed": 3}
        assert store.get_response("k") == Response("the answer", Usage(7, 3, 2), 0.25, "stop", "m")
        spend = store.spend()
        assert (spend.confirmed_usd, spend.maybe_usd, spend.attempts) == (0.25, 2.0, 2)
        found = [store.get_explanation(feature, "e", "c") for feature in (1, 2, 3)]
        assert [e and (e.text, e.failure) for e in found] == [("words", None), None, ("", "refusal: no")]
        score = store.get_score(1, "e", "c", "d", "j")
        assert score is not None
        assert (score.value, score.trials) == (0.5, (Trial("0:0:8", "activating", 3, True, False, None, 2),))
        assert store.skipped().to_pylist() == [{"feature": 4, "reason": "r", "have": 1, "need": 2}]
        assert len(store.events()) == 1
        assert store.studies()["name"].to_pylist() == ["default"]


def test_a_new_store_has_no_study_until_it_is_opened_with_one(tmp_path: Path) -> None:
    with RunStore.open(tmp_path, study="mine") as store:
        assert store.studies()["name"].to_pylist() == ["mine"]
    with RunStore.open(tmp_path) as store:  # the only one
        assert store.studies()["name"].to_pylist() == ["mine"]
