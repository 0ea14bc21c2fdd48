"""Both databases: SQLite in a folder, and a PostgreSQL server of our own where Debian's package is installed."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from autointerp.store import RunStore

NUMBERS = count()


class Place:
    """Where a test keeps its store: opens it, and looks into it past our code."""

    def __init__(self, kind: str, where: str | Path, folder: Path) -> None:
        self.kind, self.where, self.folder = kind, where, folder
        self.schema = str(where).partition("&schema=")[2]

    def open(self, **how: Any) -> RunStore:
        more = {} if self.kind == "sqlite" else {"folder": self.folder}
        return RunStore.open(self.where, **(more | how))

    def rows(self, sql: str) -> list[Any]:
        """What another connection sees."""
        if self.kind == "sqlite":
            with contextlib.closing(sqlite3.connect(self.folder / "run.db")) as db:
                return db.execute(sql).fetchall()
        import psycopg

        url = str(self.where).partition("&schema=")[0]
        with psycopg.connect(url, options=f"-csearch_path={self.schema}", autocommit=True) as db:
            cursor = db.execute(sql)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """URL of a PostgreSQL server of our own on a Unix socket; skips where its programs are not installed."""
    pytest.importorskip("psycopg")
    pytest.importorskip("sqlalchemy")
    found = shutil.which("initdb") or max(map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb")), default=None)
    if found is None:
        pytest.skip("no PostgreSQL server here: apt-get install postgresql")
    programs = Path(found).parent
    folder = Path(tempfile.mkdtemp(prefix="autointerp-pg-"))
    who: dict[str, Any] = {"cwd": folder}
    if os.getuid() == 0:  # the server refuses to be root
        user = next(u for u in pwd.getpwall() if u.pw_name in ("postgres", "nobody"))
        shutil.chown(folder, user.pw_uid, user.pw_gid)
        who |= {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}

    def call(program: str, *words: str) -> None:
        with open(folder.with_suffix(".log"), "ab") as said:
            subprocess.run(
                [programs / program, "-D", folder / "data", *words], stdout=said, stderr=said, check=True, **who
            )

    try:
        call("initdb", "--auth=trust", "--username=tester", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8")
        options = f"-k {folder} -c listen_addresses= -c fsync=off -c max_connections=50"
        call("pg_ctl", "start", "-w", "-o", options)
        yield f"postgresql://tester@/postgres?host={folder}"
        call("pg_ctl", "stop", "-w", "-m", "immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        folder.with_suffix(".log").unlink(missing_ok=True)


@pytest.fixture
def postgres(server: str, tmp_path: Path) -> Place:
    """A schema of its own on the server."""
    return Place("postgres", f"{server}&schema=test_{next(NUMBERS)}", tmp_path)


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A store to be, in each database."""
    if request.param == "sqlite":
        return Place("sqlite", tmp_path, tmp_path)
    return request.getfixturevalue("postgres")
