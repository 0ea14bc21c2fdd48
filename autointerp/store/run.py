"""RunStore: the journal of requests and the results of a study."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from autointerp.errors import FormatError, UsageError
from autointerp.locks import acquire
from autointerp.records import (
    TRANSIENT,
    Explanation,
    Failure,
    FeatureStatistics,
    NotSent,
    Outcome,
    Response,
    Score,
    Skipped,
    Trial,
    Usage,
    maybe_billed,
)
from autointerp.store.schema import connect
from autointerp.store.writer import Statement, Writer

if TYPE_CHECKING:
    import pyarrow as pa

DATABASE = "run.db"
LOCK = "run.lock"


@dataclass(frozen=True)
class Spend:
    """Dollars and requests of a run, from its journal.

    ``confirmed_usd`` was reported or priced from reported usage; ``maybe_usd`` is the worst case of attempts whose
    usage never came back (sent, then cut off); ``unpriced`` counts answers whose price is unknown.
    """

    confirmed_usd: float
    maybe_usd: float
    unpriced: int
    attempts: int
    answers: int
    failed: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int

    @property
    def total_usd(self) -> float:
        """The most that can have been spent."""
        return self.confirmed_usd + self.maybe_usd


class RunStore:
    """A folder with ``run.db``; open one with :meth:`open`, close it with :meth:`close` (or ``with``)."""

    def __init__(self, folder: Path, readonly: bool) -> None:
        self.folder = folder
        self._lock = None if readonly else acquire(folder / LOCK, "running this study")
        try:
            self._writer = None if readonly else Writer(connect(folder / DATABASE), folder)
            self._db = connect(folder / DATABASE, readonly=True)
        except BaseException:
            if self._lock:
                self._lock.close()
            raise

    @classmethod
    def open(cls, path: str | Path, *, readonly: bool = False) -> RunStore:
        """Open the store in folder ``path``; create it unless ``readonly``.

        Raises
        ------
        UsageError : another process writes it. FormatError : no store there (``readonly``), or a damaged or newer one.
        """
        folder = Path(path)
        if readonly and not (folder / DATABASE).exists():
            raise FormatError(folder, "a run folder (written by `autointerp run`)", "no run.db")
        folder.mkdir(parents=True, exist_ok=True)
        return cls(folder, readonly)

    def __enter__(self) -> RunStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Write what is queued and release the lock."""
        self._db.close()  # before the writer, which then is the last and folds the write-ahead log into run.db
        if self._writer:
            self._writer.close()
        if self._lock:
            self._lock.close()

    # -------------------------------------------------------------------------------------------- the journal (clients)

    async def lookup(self, key: str) -> Response | None:
        """The stored answer to the request with this key."""
        return self.get_response(key)

    def get_response(self, key: str) -> Response | None:
        """:meth:`lookup` for callers outside an event loop."""
        row = self._db.execute(
            "SELECT text, finish, model, input_tokens, output_tokens, cached_tokens, cost_usd FROM responses"
            " WHERE key = ?",
            (key,),
        ).fetchone()
        if row is None:
            return None
        usage = None if row[3] is None else Usage(*row[3:6])
        return Response(row[0], usage, row[6], row[1], row[2], cached=True)

    async def begin(self, key: str, *, spec: str, tag: str, reserved_usd: float | None) -> int:
        """Journal an attempt before its first byte is sent; durable on return. Returns the attempt's number.

        Cancelled meanwhile, the attempt is written down as never sent.
        """
        sql = "INSERT INTO attempts (key, spec, tag, reserved_usd, started) VALUES (?, ?, ?, ?, ?)"
        numbers: list[Any] = []

        def insert(db: sqlite3.Connection) -> int:
            numbers.append(db.execute(sql, (key, spec, tag, reserved_usd, time.time())).lastrowid)
            return numbers[0]

        try:
            return await self._do(insert)
        except asyncio.CancelledError:
            self._submit(lambda db: _finish(db, numbers[0], NotSent("cancelled", "cancelled before it was sent")))
            raise

    async def finish(self, attempt: int, outcome: Outcome) -> None:
        """Complete an attempt; durable on return, and an answer is then the answer to its key."""
        await self._do(lambda db: _finish(db, attempt, outcome))

    # ----------------------------------------------------------------------------------------------- results (pipeline)

    def bind(self, settings: Mapping[str, Any]) -> None:
        """Tie the run to the settings that decide its examples; a run without results takes the new ones.

        Raises
        ------
        UsageError : the run has results of other settings; the differing one is named.
        """
        stored = dict(self._db.execute("SELECT name, value FROM study").fetchall())
        fresh = {name: orjson.dumps(value).decode() for name, value in settings.items()}
        empty = "SELECT NOT EXISTS (SELECT 1 FROM explanations) AND NOT EXISTS (SELECT 1 FROM skipped)"
        if not self._db.execute(empty).fetchone()[0]:
            for name, value in fresh.items():
                if stored.get(name, value) != value:
                    raise UsageError(
                        f"{self.folder} holds results made with {name} = {stored[name]}, this run has {value}; "
                        "choose another --out"
                    )
        self._submit(
            lambda db: db.executemany("INSERT OR REPLACE INTO study VALUES (?, ?)", list(fresh.items()))
        ).result()

    async def put_explanation(self, explanation: Explanation, client: str, statistics: FeatureStatistics) -> None:
        """Store an explanation (or its failure), replacing an earlier one of the same explainer and client."""
        e = explanation
        row = (
            e.feature,
            e.explainer,
            client,
            _text(e.text),
            e.model,
            e.failure and _text(e.failure),
            _json(dict(e.details)),
            _json(asdict(statistics)),
        )
        await self._do(
            lambda db: db.execute("INSERT OR REPLACE INTO explanations VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
        )

    def get_explanation(self, feature: int, explainer: str, client: str) -> Explanation | None:
        """The stored explanation; None if there is none yet, or a passing failure (``TRANSIENT``) spoilt it."""
        sql = (
            "SELECT text, model, failure, details FROM explanations WHERE feature = ? AND explainer = ? AND client = ?"
        )
        row = self._db.execute(sql, (feature, explainer, client)).fetchone()
        if row is None or (row[2] or "").partition(":")[0] in TRANSIENT:
            return None
        return Explanation(feature, row[0], explainer, row[1], row[2], orjson.loads(row[3]))

    async def put_score(self, score: Score, explainer_client: str, client: str) -> None:
        """Store a score with its trials, replacing an earlier one of the same producers."""
        await self._do(lambda db: _put_score(db, score, explainer_client, client))

    def has_score(
        self, feature: int, explainer: str, explainer_client: str, scorer: str, client: str, *, null: bool = False
    ) -> bool:
        """Whether :meth:`get_score` would find one."""
        row = (feature, explainer, explainer_client, scorer, client, null)
        sql = f"SELECT 1 FROM scores WHERE {_SCORE_KEY} AND NOT is_spoilt"
        return self._db.execute(sql, row).fetchone() is not None

    def get_score(
        self, feature: int, explainer: str, explainer_client: str, scorer: str, client: str, *, null: bool = False
    ) -> Score | None:
        """The stored score with its trials; None if there is none yet or passing failures (``TRANSIENT``) spoilt it."""
        columns = "id, value, ci_low, ci_high, n, n_failed, metrics, model, partner"
        sql = f"SELECT {columns} FROM scores WHERE {_SCORE_KEY} AND NOT is_spoilt"
        row = self._db.execute(sql, (feature, explainer, explainer_client, scorer, client, null)).fetchone()
        if row is None:
            return None
        number, value, low, high, n, n_failed, metrics, model, partner = row
        columns = "example, kind, quantile, truth, predicted, failure, prompt"
        sql = f"SELECT {columns} FROM trials WHERE score = ? ORDER BY place"
        trials = tuple(
            Trial(e, k, q, bool(t), None if p is None else bool(p), f, i)
            for e, k, q, t, p, f, i in self._db.execute(sql, (number,))
        )
        measured = orjson.loads(metrics)
        return Score(feature, explainer, scorer, value, low, high, n, n_failed, measured, trials, model, null, partner)

    def note_skipped(self, skipped: Skipped) -> None:
        """Record that a feature could not be explained, and why; returns before it is written."""
        row = (skipped.feature, skipped.reason, skipped.have, skipped.need)
        self._submit(lambda db: db.execute("INSERT OR REPLACE INTO skipped VALUES (?, ?, ?, ?)", row))

    async def event(self, kind: str, text: str) -> None:
        """Record something that happened to the run."""
        await self._do(
            lambda db: db.execute("INSERT INTO events (time, kind, text) VALUES (?, ?, ?)", (time.time(), kind, text))
        )

    # ----------------------------------------------------------------------------------------------------------- tables

    def scores(self) -> pa.Table:
        """One row per (feature, explainer, scorer, null): value, ci_low, ci_high, n, n_failed, metrics (JSON), …"""
        return self._table(
            "SELECT feature, explainer, explainer_client, scorer, client, is_null, partner, value, ci_low, ci_high, n,"
            " n_failed, metrics, model FROM scores"
            " ORDER BY feature, explainer, explainer_client, scorer, client, is_null"
        )

    def explanations(self) -> pa.Table:
        """One row per (feature, explainer, client): text, failure, details and feature statistics (JSON)."""
        return self._table("SELECT * FROM explanations ORDER BY feature, explainer, client")

    def skipped(self) -> pa.Table:
        """One row per feature that was asked for and skipped."""
        return self._table("SELECT * FROM skipped ORDER BY feature")

    def study(self) -> dict[str, Any]:
        """The settings that the run is bound to."""
        return {name: orjson.loads(value) for name, value in self._db.execute("SELECT name, value FROM study")}

    def spend(self) -> Spend:
        """What the run has cost so far."""
        row = self._db.execute(
            "SELECT COALESCE(SUM(cost_usd), 0), COALESCE(SUM(CASE WHEN cost_usd IS NULL THEN reserved_usd END), 0),"
            " COALESCE(SUM(outcome = 'answer' AND cost_usd IS NULL), 0), COUNT(*),"
            " COALESCE(SUM(outcome = 'answer'), 0), COALESCE(SUM(outcome IS NOT NULL AND outcome != 'answer'), 0),"
            " COALESCE(SUM(input_tokens), 0), COALESCE(SUM(output_tokens), 0), COALESCE(SUM(cached_tokens), 0)"
            " FROM attempts"
        ).fetchone()
        return Spend(*row)

    def failures(self) -> dict[str, int]:
        """Failed attempts by kind."""
        sql = "SELECT outcome, COUNT(*) FROM attempts WHERE outcome != 'answer' GROUP BY outcome ORDER BY 2 DESC"
        return dict(self._db.execute(sql).fetchall())

    # ----------------------------------------------------------------------------------------------------------- inside

    def _table(self, sql: str) -> pa.Table:
        import pyarrow as pa

        cursor = self._db.execute(sql)
        names = [column[0] for column in cursor.description]
        rows = cursor.fetchall()
        columns = list(zip(*rows, strict=True)) if rows else [()] * len(names)
        return pa.table({name: pa.array(column) for name, column in zip(names, columns, strict=True)})

    async def _do(self, statement: Statement) -> Any:
        """Run ``statement``; its value once committed. Cancelling the caller does not cancel the statement."""
        return await asyncio.shield(asyncio.wrap_future(self._submit(statement)))

    def _submit(self, statement: Statement) -> Future[Any]:
        if self._writer is None:
            raise UsageError(f"{self.folder} was opened for reading only")
        return self._writer.submit(statement)


_SCORE_KEY = "feature = ? AND explainer = ? AND explainer_client = ? AND scorer = ? AND client = ? AND is_null = ?"


def _text(text: str) -> str:
    """``text`` with every lone surrogate as a question mark: a reply's escapes can make one, no file can hold one."""
    return text.encode("utf-8", "replace").decode()


def _json(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY).decode()


def _finish(db: sqlite3.Connection, attempt: int, outcome: Outcome) -> None:
    if isinstance(outcome, Failure):
        sql = "UPDATE attempts SET finished = ?, outcome = ?, message = ?, cost_usd = ? WHERE id = ?"
        cost = None if maybe_billed(outcome) else 0.0
        db.execute(sql, (time.time(), outcome.kind, _text(outcome.message), cost, attempt))
        return
    usage = outcome.usage
    tokens = (None, None, None) if usage is None else (usage.input_tokens, usage.output_tokens, usage.cached_tokens)
    db.execute(
        "UPDATE attempts SET finished = ?, outcome = 'answer', input_tokens = ?, output_tokens = ?, cached_tokens = ?,"
        " cost_usd = ? WHERE id = ?",
        (time.time(), *tokens, outcome.cost_usd, attempt),
    )
    db.execute(
        "INSERT OR REPLACE INTO responses SELECT key, ?, ?, ?, ?, ?, ?, ? FROM attempts WHERE id = ?",
        (_text(outcome.text), outcome.finish, outcome.model, *tokens, outcome.cost_usd, attempt),
    )


def _put_score(db: sqlite3.Connection, score: Score, explainer_client: str, client: str) -> None:
    key = (score.feature, score.explainer, explainer_client, score.scorer, client, score.null)
    db.execute(f"DELETE FROM trials WHERE score IN (SELECT id FROM scores WHERE {_SCORE_KEY})", key)
    db.execute(f"DELETE FROM scores WHERE {_SCORE_KEY}", key)
    number = db.execute(
        "INSERT INTO scores (feature, explainer, explainer_client, scorer, client, is_null, partner, value, ci_low,"
        " ci_high, n, n_failed, is_spoilt, metrics, model) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *key,
            score.partner,
            score.value,
            score.ci_low,
            score.ci_high,
            score.n,
            score.n_failed,
            any(t.failure in TRANSIENT for t in score.trials),
            _json(dict(score.metrics)),
            score.model,
        ),
    ).lastrowid
    db.executemany(
        "INSERT INTO trials VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (number, i, t.example, t.kind, t.quantile, t.truth, t.predicted, t.failure, t.prompt)
            for i, t in enumerate(score.trials)
        ],
    )
