"""The tables of ``run.db``, as a numbered list of migrations; the ones applied are counted in ``user_version``."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from autointerp.errors import FormatError

MIGRATIONS = (
    """
    CREATE TABLE study (name TEXT PRIMARY KEY, value TEXT NOT NULL);
    CREATE TABLE attempts (
        id INTEGER PRIMARY KEY, key TEXT NOT NULL, spec TEXT NOT NULL, tag TEXT NOT NULL, reserved_usd REAL,
        started REAL NOT NULL, finished REAL, outcome TEXT, message TEXT,
        input_tokens INTEGER, output_tokens INTEGER, cached_tokens INTEGER, cost_usd REAL);
    CREATE INDEX attempts_key ON attempts (key);
    CREATE TABLE responses (
        key TEXT PRIMARY KEY, text TEXT NOT NULL, finish TEXT NOT NULL, model TEXT NOT NULL,
        input_tokens INTEGER, output_tokens INTEGER, cached_tokens INTEGER, cost_usd REAL) WITHOUT ROWID;
    CREATE TABLE explanations (
        feature INTEGER, explainer TEXT, client TEXT, text TEXT NOT NULL, model TEXT NOT NULL, failure TEXT,
        details TEXT NOT NULL, statistics TEXT NOT NULL, PRIMARY KEY (feature, explainer, client));
    CREATE TABLE scores (
        id INTEGER PRIMARY KEY, feature INTEGER, explainer TEXT, explainer_client TEXT, scorer TEXT, client TEXT,
        is_null INTEGER, partner INTEGER, value REAL, ci_low REAL, ci_high REAL, n INTEGER, n_failed INTEGER,
        is_spoilt INTEGER, metrics TEXT NOT NULL, model TEXT NOT NULL,
        UNIQUE (feature, explainer, explainer_client, scorer, client, is_null));
    CREATE TABLE trials (
        score INTEGER NOT NULL REFERENCES scores (id), place INTEGER, example TEXT, kind TEXT, quantile INTEGER,
        truth INTEGER, predicted INTEGER, failure TEXT, prompt INTEGER, PRIMARY KEY (score, place)) WITHOUT ROWID;
    CREATE TABLE skipped (feature INTEGER PRIMARY KEY, reason TEXT NOT NULL, have INTEGER, need INTEGER);
    CREATE TABLE events (id INTEGER PRIMARY KEY, time REAL NOT NULL, kind TEXT NOT NULL, text TEXT NOT NULL);
    """,
)


def connect(path: Path, *, readonly: bool = False) -> sqlite3.Connection:
    """Open ``run.db`` in WAL mode and bring it up to date.

    Raises
    ------
    FormatError : not a SQLite file, or written by a newer version of autointerp.
    """
    try:
        if readonly:
            db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False, timeout=30)
        else:
            db = sqlite3.connect(path, check_same_thread=False, timeout=30, isolation_level=None)
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=NORMAL")
        version = db.execute("PRAGMA user_version").fetchone()[0]
    except sqlite3.DatabaseError as error:
        raise FormatError(path, "a run store (SQLite)", str(error)) from None
    if version > len(MIGRATIONS) or (readonly and version < len(MIGRATIONS)):
        raise FormatError(path, f"a run store of version {len(MIGRATIONS)}", f"version {version}")
    for number in range(version, len(MIGRATIONS)):
        db.executescript(f"BEGIN; {MIGRATIONS[number]} PRAGMA user_version = {number + 1}; COMMIT;")
    return db
