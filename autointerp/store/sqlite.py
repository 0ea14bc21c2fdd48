"""SQLite: one file in the run's folder, in WAL mode, written by one process at a time."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autointerp.errors import AutointerpError, DiskFull, FormatError, UsageError
from autointerp.locks import acquire
from autointerp.store.database import Rows
from autointerp.store.schema import MIGRATIONS, statements

DATABASE = "run.db"
LOCK = "run.lock"


class SQLite:
    """``run.db`` in ``folder``; see :class:`~autointerp.store.database.Database`.

    Raises
    ------
    UsageError : another process writes it. FormatError : not a run store, or one of a newer version.
    """

    shared = False

    def __init__(self, folder: Path, *, readonly: bool, beside: bool = False) -> None:
        self.folder, self.name = folder, str(folder)
        path = folder / DATABASE
        if (readonly or beside) and not path.exists():
            raise FormatError(folder, "a run folder (written by `autointerp run`)", f"no {DATABASE}")
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = None if readonly or beside else acquire(folder / LOCK, "running this study")
        self._write: sqlite3.Connection | None = None
        try:
            if beside:  # an older store is brought up to date by who holds the lock
                _connect(path, readonly=True).close()
            if not readonly:
                self._write = _connect(path)
                self.execute, self.executemany = self._write.execute, self._write.executemany
            self._idle = [_connect(path, readonly=True)]
        except BaseException:
            if self._lock:
                self._lock.close()
            raise

    def read(self, sql: str, values: Sequence[Any] = ()) -> Rows:
        """See :class:`~autointerp.store.database.Database`."""
        try:  # one thread at a time uses a connection: two that call functions of ours would wait for each other
            db = self._idle.pop()
        except IndexError:
            db = _connect(self.folder / DATABASE, readonly=True)
        try:
            cursor = db.execute(sql, values)
            return Rows([column[0] for column in cursor.description], cursor.fetchall())
        finally:
            self._idle.append(db)

    def begin(self) -> None:
        """See :class:`~autointerp.store.database.Database`."""
        self.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """See :class:`~autointerp.store.database.Database`."""
        self.execute("COMMIT")

    def rollback(self) -> None:
        """See :class:`~autointerp.store.database.Database`."""
        if self._write is not None and self._write.in_transaction:  # a full disk has undone it already
            self.execute("ROLLBACK")

    def passing(self, error: Exception) -> bool:
        """See :class:`~autointerp.store.database.Database`; a file of our own has no passing troubles."""
        return False

    def plain(self, error: Exception) -> Exception:
        """See :class:`~autointerp.store.database.Database`."""
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the extended codes have the plain one below
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_READONLY):
            return AutointerpError(f"{self.folder / DATABASE} cannot be written: {error}")
        if code == sqlite3.SQLITE_FULL:
            return DiskFull(
                f"disk full in {self.folder}: what was finished is kept; free space, the same command continues"
            )
        return error

    def close(self) -> None:
        """See :class:`~autointerp.store.database.Database`."""
        for db in self._idle:  # first: the last to close folds the write-ahead log into run.db
            db.close()
        if self._write is not None:
            self._write.close()
        if self._lock:
            self._lock.close()


def _connect(path: Path, *, readonly: bool = False) -> sqlite3.Connection:
    """A connection to ``path``, brought up to date where it may be written."""
    try:
        if readonly:
            db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False, timeout=30)
            db.create_function("lower", 1, lambda text: None if text is None else str(text).lower(), deterministic=True)
        else:
            db = sqlite3.connect(path, check_same_thread=False, timeout=30, isolation_level=None)
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=NORMAL")
        db.create_function("unixnow", 0, time.time)
        version = db.execute("PRAGMA user_version").fetchone()[0]
    except sqlite3.DatabaseError as error:
        raise FormatError(path, "a run store (SQLite)", str(error)) from None
    if version > len(MIGRATIONS) or (readonly and version == 0):
        raise FormatError(path, f"a run store of version {len(MIGRATIONS)}", f"version {version}")
    if readonly and version < len(MIGRATIONS):
        db.close()
        raise _Older(f"{path}: a run store of version {version}; open it for writing once to bring it up to date")
    for number in range(version, len(MIGRATIONS)):
        db.execute("BEGIN IMMEDIATE")
        for statement in statements(MIGRATIONS[number]):
            db.execute(statement)
        db.execute(f"PRAGMA user_version = {number + 1}")
        db.execute("COMMIT")
    return db


class _Older(UsageError):
    """A store of an older version, opened for reading only."""


def open_sqlite(folder: Path, *, readonly: bool, beside: bool = False) -> SQLite:
    """Open ``folder``; a store of an older version is brought up to date first, even if it is only to be read.

    ``beside`` : for writing next to the process that holds the lock.
    """
    try:
        return SQLite(folder, readonly=readonly, beside=beside)
    except _Older:
        SQLite(folder, readonly=False).close()
        return SQLite(folder, readonly=readonly, beside=beside)
