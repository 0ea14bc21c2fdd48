"""The heart of the store: which database, which study in it, who works on it, and how statements get there."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import tomllib
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import orjson

from autointerp.errors import FormatError, UsageError
from autointerp.store.database import Database, Rows, Statement
from autointerp.store.postgres import Postgres, is_url
from autointerp.store.schema import column_types
from autointerp.store.sqlite import DATABASE, open_sqlite
from autointerp.store.writer import Writer

if TYPE_CHECKING:
    import pyarrow as pa

LEASE_S = 60.0
"""Seconds of silence after which a worker counts as dead, by the database's clock."""
BEAT_S = 15.0
"""Seconds between two signs of life."""
DEFAULT = "default"
"""Name of a study that was given none."""


class Core:
    """An open store and its study.

    Attributes
    ----------
    folder : where reports of the study go; ``run.db`` lies there if the store is a SQLite one.
    where : the folder, or the URL without password.
    shared : whether other processes may work on the study at the same time (PostgreSQL).
    """

    def __init__(
        self, database: Database, folder: Path, study: str | None, *, readonly: bool, beside: bool = False
    ) -> None:
        self.folder, self.where, self.shared = folder, database.name, database.shared
        self._db, self._lost = database, False
        self._claimed: set[tuple[str, int]] = set()
        self._writer: Writer | None = None
        self._turn = threading.Lock() if beside else None
        try:
            self._name, self._number = study, self._find(study)
            if not readonly and not beside:
                self._worker = self._enter()
                self._writer = Writer(database, self._beat, BEAT_S)
        except BaseException:
            database.close()
            raise

    @classmethod
    def open(
        cls,
        where: str | Path,
        *,
        study: str | None = None,
        folder: str | Path | None = None,
        readonly: bool = False,
        beside: bool = False,
    ) -> Self:
        """Open a store; create it unless ``readonly``.

        Parameters
        ----------
        where : a folder, for SQLite in it; or ``postgresql://USER@HOST/DATABASE[?schema=NAME]``; or the folder of a run
            whose ``run.toml`` names such a store.
        study : which study of the store; by default the only one it holds, or else one named ``default``.
        folder : where reports go, if ``where`` is a URL; by default the study's name in the current folder.
        readonly : look on while others write; what writes raises ``UsageError``.
        beside : as ``readonly``, but what readers write (:class:`~autointerp.store.notes.NoteTables`) can be written.

        Raises
        ------
        UsageError : another process writes this folder, or the URL is wrong. FormatError : no store there
            (``readonly``), or a damaged or newer one. AutointerpError : the server cannot be reached.
        """
        if not is_url(where):
            place = Path(where)
            url, named = _named_in(place)
            if url is None:
                database = open_sqlite(place, readonly=readonly, beside=beside)
                return cls(database, place, study or named, readonly=readonly, beside=beside)
            where, study, folder = url, study or named, folder or place
        place = Path(folder or study or DEFAULT)
        return cls(Postgres(str(where), readonly=readonly), place, study, readonly=readonly, beside=beside)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.where}>"

    def close(self) -> None:
        """Write what is queued, let go of what was claimed, and give the database back."""
        writer, self._writer = self._writer, None
        if writer:
            writer.submit(self._leave)  # if it fails, the lease runs out
            writer.close()
        self._db.close()

    def lost(self) -> bool:
        """Whether this process was silent for so long that another has taken over what it had claimed."""
        return self._lost

    # ----------------------------------------------------------------------------------------------------------- inside

    @property
    def _study(self) -> int:
        """Number of the study."""
        if self._number is None and (number := self._find(self._name)) is not None:
            self._number = number
        if self._number is None:
            names = [row[0] for row in self._rows("SELECT name FROM studies ORDER BY name")]
            if self._name is None and names:
                raise UsageError(f"{self.where} holds several studies, name one of them: {', '.join(names)}")
            raise UsageError(
                f"{self.where} holds no study {self._name or DEFAULT!r}; it has {', '.join(names) or 'none'}"
            )
        return self._number

    def _find(self, name: str | None) -> int | None:
        """Number of the study of that name, or of the only one; None if it is not there."""
        sql = "SELECT id FROM studies" + (" WHERE name = ?" if name is not None else " LIMIT 2")
        found = self._rows(sql, (name,) if name is not None else ())
        return found[0][0] if len(found) == 1 else None

    def _enter(self) -> int:
        """Register this process with its study; its number."""
        db = self._db
        if self._name is None and self._rows("SELECT 1 FROM studies LIMIT 1"):
            self._study  # noqa: B018 - several of them: says so
        self._name = self._name or DEFAULT
        db.begin()
        if self._number is None:
            db.execute(
                "INSERT INTO studies (name, created) VALUES (?, unixnow()) ON CONFLICT (name) DO NOTHING", (self._name,)
            )
            self._number = db.execute("SELECT id FROM studies WHERE name = ?", (self._name,)).fetchall()[0][0]
        if not self.shared:  # whoever wrote before is dead, or we should not have got the lock
            db.execute("UPDATE workers SET seen = 0 WHERE seen > 0")
            db.execute("DELETE FROM claims")
        number = db.execute(
            "INSERT INTO workers (study, name, started, seen) VALUES (?, ?, unixnow(), unixnow()) RETURNING id",
            (self._number, f"{socket.gethostname()}:{os.getpid()}"),
        ).fetchall()[0][0]
        db.commit()
        return number

    def _leave(self, db: Database) -> None:
        db.execute("UPDATE workers SET seen = 0 WHERE id = ?", (self._worker,))
        db.execute("DELETE FROM claims WHERE worker = ?", (self._worker,))

    def _beat(self, db: Database) -> None:
        held = len(self._claimed)
        db.execute("UPDATE workers SET seen = unixnow() WHERE id = ?", (self._worker,))
        if held > db.execute("SELECT COUNT(*) FROM claims WHERE worker = ?", (self._worker,)).fetchall()[0][0]:
            self._lost = True

    def _rows(self, sql: str, values: Sequence[Any] = ()) -> Sequence[Sequence[Any]]:
        return self._db.read(sql, values).rows

    async def _rows_soon(self, sql: str, values: Sequence[Any] = ()) -> Sequence[Sequence[Any]]:
        """:meth:`_rows` from an event loop, which does not wait for a server."""
        return await asyncio.to_thread(self._rows, sql, values) if self.shared else self._rows(sql, values)

    def _table(self, sql: str, values: Sequence[Any] = ()) -> pa.Table:
        return arrow(self._db.read(sql, values))

    async def _do(self, statement: Statement) -> Any:
        """Run ``statement``; its value once committed. Cancelling the caller does not cancel the statement."""
        return await self._writing().run(statement)

    def _submit(self, statement: Statement) -> Future[Any]:
        return self._writing().submit(statement)

    def _writing(self) -> Writer:
        if self._writer is None:
            raise UsageError(f"{self.where} was opened for reading only")
        return self._writer

    def _execute(self, sql: str, values: Sequence[Any] = ()) -> Statement:
        """The statement that runs ``sql``; its value is the number of rows it changed."""
        return partial(_run, sql=sql, values=values)


def _run(db: Database, sql: str, values: Sequence[Any]) -> int:
    return db.execute(sql, values).rowcount


def _named_in(folder: Path) -> tuple[str | None, str | None]:
    """(URL of the store, name of the study) that the folder's ``run.toml`` names."""
    path = folder / "run.toml"
    if not path.exists():
        return None, None
    try:
        section = tomllib.loads(path.read_text(encoding="utf-8")).get("run", {})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FormatError(path, "TOML", str(error)) from None
    url = section.get("store")
    return (url if url and is_url(url) and not (folder / DATABASE).exists() else None), section.get("study")


def arrow(found: Rows) -> pa.Table:
    """What a query found, as a table."""
    import pyarrow as pa

    columns = list(zip(*found.rows, strict=True)) if found.rows else [()] * len(found.names)
    declared, arrays = column_types(), {}
    for name, values in zip(found.names, columns, strict=True):
        array = pa.array(values)
        if pa.types.is_null(array.type) and name in declared:  # nothing in it: as in runs that have something
            array = array.cast(declared[name])
        arrays[name] = array
    return pa.table(arrays)


def text(value: str) -> str:
    """``value`` as every database can hold it: lone surrogates and NUL, which a reply's escapes can make, become ?."""
    return value.replace("\0", "?").encode("utf-8", "replace").decode()


def as_json(value: Any) -> str:
    """JSON of a result's numbers and words."""
    return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY).decode()
