"""What the store asks of a database: a thin layer, under which SQLite and PostgreSQL run the same statements.

Statements are written with ``?`` for a value, ``unixnow()`` for the database's clock and ``json_group_array`` for many
values as one JSON array, and keep to the SQL that both speak (``ON CONFLICT``, ``RETURNING``, ``FILTER``, ``CAST``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias


class Rows(NamedTuple):
    """What a query found: the columns' names, and the rows."""

    names: list[str]
    rows: Sequence[Sequence[Any]]


class Database(Protocol):
    """One connection that writes, used by one thread, and a way to read from any thread."""

    name: str
    """Where it is, for messages and ``run.toml``; without a password."""
    shared: bool
    """Whether other processes may write it now."""

    @property
    def execute(self) -> Callable[..., Any]:
        """(sql, values) on the writing connection, inside a transaction; the cursor has ``fetchall``, ``rowcount``."""
        ...

    @property
    def executemany(self) -> Callable[..., Any]:
        """(sql, rows): the same for many rows of values."""
        ...

    def read(self, sql: str, values: Sequence[Any] = ()) -> Rows:
        """Run a query outside any transaction; callable from every thread."""
        ...

    def begin(self) -> None:
        """Begin a transaction."""
        ...

    def commit(self) -> None:
        """End it; durable on return."""
        ...

    def rollback(self) -> None:
        """Undo it, if one is open."""
        ...

    def passing(self, error: Exception) -> bool:
        """Whether the transaction that ``error`` undid is worth another try: a lost connection, a deadlock.

        Returns once the database can be reached again, False when it cannot.
        """
        ...

    def plain(self, error: Exception) -> Exception:
        """``error`` as a user should read it."""
        ...

    def close(self) -> None:
        """Close all connections; for a database of ours alone, give it back."""
        ...


Statement: TypeAlias = Callable[[Database], Any]
"""Something to do inside a transaction; it may be done again from its start, after all it did was undone."""
