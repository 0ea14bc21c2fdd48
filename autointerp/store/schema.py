"""The tables of a run store, as a numbered list of migrations in the SQL that SQLite and PostgreSQL share.

They are written with SQLite's types; :func:`~autointerp.store.postgres.translated` turns them into PostgreSQL's.
``unixnow()`` is the database's clock in Unix seconds. How many migrations were applied is kept by each database.
"""

from __future__ import annotations

import re
from functools import lru_cache

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
    # several studies in one store, workers and their claims, batch jobs, probabilities
    """
    CREATE TABLE studies (
        id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, coder TEXT, series TEXT, subject TEXT, hook TEXT,
        layer INTEGER, created REAL NOT NULL);
    INSERT INTO studies (name, created) SELECT 'default', unixnow() WHERE EXISTS (SELECT 1 FROM study)
        OR EXISTS (SELECT 1 FROM attempts) OR EXISTS (SELECT 1 FROM explanations) OR EXISTS (SELECT 1 FROM skipped);
    CREATE TABLE settings (
        study INTEGER NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (study, name));
    INSERT INTO settings SELECT 1, name, value FROM study;
    DROP TABLE study;
    CREATE TABLE workers (
        id INTEGER PRIMARY KEY, study INTEGER NOT NULL, name TEXT NOT NULL, started REAL NOT NULL, seen REAL NOT NULL);
    CREATE TABLE claims (
        study INTEGER NOT NULL, work TEXT NOT NULL, feature INTEGER NOT NULL, worker INTEGER NOT NULL,
        PRIMARY KEY (study, work, feature));
    CREATE TABLE jobs (
        id INTEGER PRIMARY KEY, study INTEGER NOT NULL, worker INTEGER NOT NULL, spec TEXT NOT NULL, external TEXT,
        state TEXT NOT NULL, created REAL NOT NULL, keys TEXT NOT NULL);
    ALTER TABLE attempts ADD COLUMN study INTEGER;
    ALTER TABLE attempts ADD COLUMN worker INTEGER;
    UPDATE attempts SET study = 1;
    ALTER TABLE responses ADD COLUMN probabilities TEXT;
    ALTER TABLE events ADD COLUMN study INTEGER;
    UPDATE events SET study = 1;
    CREATE TABLE new_explanations (
        study INTEGER NOT NULL, feature INTEGER NOT NULL, explainer TEXT NOT NULL, client TEXT NOT NULL,
        text TEXT NOT NULL, model TEXT NOT NULL, failure TEXT, details TEXT NOT NULL, statistics TEXT NOT NULL,
        is_spoilt INTEGER NOT NULL, PRIMARY KEY (study, feature, explainer, client));
    INSERT INTO new_explanations SELECT 1, feature, explainer, client, text, model, failure, details, statistics,
        CASE WHEN failure LIKE 'timeout:%' OR failure LIKE 'connection:%' OR failure LIKE 'server:%'
        OR failure LIKE 'rate_limit:%' OR failure LIKE 'overloaded:%' OR failure LIKE 'bad_answer:%' THEN 1 ELSE 0 END
        FROM explanations;
    DROP TABLE explanations;
    ALTER TABLE new_explanations RENAME TO explanations;
    CREATE TABLE new_trials (
        score INTEGER NOT NULL, place INTEGER NOT NULL, example TEXT, kind TEXT, quantile INTEGER, truth INTEGER,
        predicted INTEGER, failure TEXT, prompt INTEGER, probability REAL, PRIMARY KEY (score, place)) WITHOUT ROWID;
    INSERT INTO new_trials
        SELECT score, place, example, kind, quantile, truth, predicted, failure, prompt, NULL FROM trials;
    DROP TABLE trials;
    ALTER TABLE new_trials RENAME TO trials;
    CREATE TABLE new_scores (
        id INTEGER PRIMARY KEY, study INTEGER NOT NULL, feature INTEGER NOT NULL, explainer TEXT NOT NULL,
        explainer_client TEXT NOT NULL, scorer TEXT NOT NULL, client TEXT NOT NULL, is_null INTEGER NOT NULL,
        partner INTEGER, value REAL, ci_low REAL, ci_high REAL, n INTEGER, n_failed INTEGER, is_spoilt INTEGER NOT NULL,
        metrics TEXT NOT NULL, model TEXT NOT NULL,
        UNIQUE (study, feature, explainer, explainer_client, scorer, client, is_null));
    INSERT INTO new_scores SELECT id, 1, feature, explainer, explainer_client, scorer, client, is_null, partner, value,
        ci_low, ci_high, n, n_failed, is_spoilt, metrics, model FROM scores;
    DROP TABLE scores;
    ALTER TABLE new_scores RENAME TO scores;
    CREATE TABLE new_skipped (
        study INTEGER NOT NULL, feature INTEGER NOT NULL, reason TEXT NOT NULL, have INTEGER, need INTEGER,
        PRIMARY KEY (study, feature));
    INSERT INTO new_skipped SELECT 1, feature, reason, have, need FROM skipped;
    DROP TABLE skipped;
    ALTER TABLE new_skipped RENAME TO skipped;
    """,
    # what readers of the results write: notes, tags and bookmarks of features, and blind ratings
    """
    CREATE TABLE notes (
        study INTEGER NOT NULL, feature INTEGER NOT NULL, text TEXT NOT NULL, is_bookmarked INTEGER NOT NULL,
        changed REAL NOT NULL, PRIMARY KEY (study, feature));
    CREATE TABLE tags (
        study INTEGER NOT NULL, feature INTEGER NOT NULL, tag TEXT NOT NULL, PRIMARY KEY (study, feature, tag));
    CREATE TABLE ratings (
        id INTEGER PRIMARY KEY, study INTEGER NOT NULL, rater TEXT NOT NULL, kind TEXT NOT NULL,
        feature INTEGER NOT NULL, explainer TEXT NOT NULL, client TEXT NOT NULL, shown TEXT NOT NULL,
        truth INTEGER NOT NULL, answer INTEGER NOT NULL, seconds REAL, time REAL NOT NULL,
        UNIQUE (study, rater, kind, feature, explainer, client, shown));
    """,
)


def statements(migration: str) -> list[str]:
    """The statements of one migration."""
    return [one.strip() for one in migration.split(";") if one.strip()]


@lru_cache(maxsize=1)
def column_types() -> dict[str, str]:
    """Arrow's name for the type of every column, by the column's name; ``study`` is left out, a number or a name."""
    arrow = {"INTEGER": "int64", "REAL": "float64", "TEXT": "string"}
    found = [pair for sql in MIGRATIONS for pair in re.findall(r"(\w+) (INTEGER|REAL|TEXT)\b", sql)]
    return {name: arrow[kind] for name, kind in found if name != "study"}
