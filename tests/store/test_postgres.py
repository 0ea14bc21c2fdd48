"""What PostgreSQL alone has to do: URLs without passwords, schemas, a server that goes away."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from autointerp.errors import AutointerpError, FormatError, MissingDependency, UsageError
from autointerp.records import Response
from autointerp.store import RunStore
from autointerp.store.postgres import redacted
from tests.databases import Place

SECRET = "c4nary-p@ss"
QUOTED = "c4nary-p%40ss"


def test_a_password_is_shown_nowhere(postgres: Place, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    url = str(postgres.where).replace("tester@", f"tester:{QUOTED}@")
    shown = []
    with RunStore.open(url, folder=postgres.folder) as store:
        store.bind({"seed": 0})
        shown += [repr(store), store.where, repr(store._db), repr(store._db._engine), repr(vars(store))]
        with pytest.raises(AutointerpError) as caught:
            store._rows("SELECT nothing FROM nowhere")
        shown += [str(caught.value), repr(caught.value), repr(caught.value.__cause__)]
    for wrong in ("/none?host=/nowhere", "/postgres?host=/nowhere&x=y", ":port/x", "/postgres?schema=No;"):
        with pytest.raises(AutointerpError) as caught:
            RunStore.open(f"postgresql://tester:{QUOTED}@{wrong}")
        shown += [str(caught.value), repr(caught.value.__cause__)]
        assert "postgresql://" in str(caught.value) or "schema" in str(caught.value)
    shown += [redacted(url), redacted(f"postgres://u:{QUOTED}@h/d?sslpassword={QUOTED}"), caplog.text]
    for text in shown:
        assert SECRET not in text
        assert QUOTED not in text
    assert redacted("postgresql://u:p@h:5433/d?schema=mine&sslmode=require") == (
        "postgresql://u@h:5433/d?schema=mine&sslmode=require"
    )


def test_without_a_url_no_driver_is_imported(tmp_path: Path) -> None:
    code = "import sys; from autointerp.store import RunStore; RunStore.open(sys.argv[1]).close(); print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    ).stdout
    assert "autointerp.store.postgres" in loaded.split()
    assert not {"sqlalchemy", "psycopg", "pyarrow", "torch"} & set(loaded.split())


def test_what_is_no_store_is_refused(postgres: Place) -> None:
    with pytest.raises(FormatError, match=r"expected a run store; found no tables in schema 'test_\d+'"):
        postgres.open(readonly=True)
    with pytest.raises(UsageError, match=r"store mysql://…: valid are a folder and postgresql://"):
        RunStore.open("mysql://u:p@h/d")
    with pytest.raises(UsageError, match="lower-case letters"):
        RunStore.open(str(postgres.where) + 'x"; DROP')
    postgres.open().close()
    postgres.rows("UPDATE schema_version SET version = 99")
    for readonly in (True, False):
        with pytest.raises(FormatError, match="found version 99"):
            postgres.open(readonly=readonly)


def test_a_run_folder_may_name_its_store(postgres: Place, tmp_path: Path) -> None:
    with postgres.open(study="s") as store:
        store.bind({"seed": 7})
    (tmp_path / "run.toml").write_text(f'[run]\nstore = "{postgres.where}"\nstudy = "s"\n')
    with RunStore.open(tmp_path, readonly=True) as store:
        assert store.study() == {"seed": 7}
        assert store.shared
        assert store.folder == tmp_path
    assert not (tmp_path / "run.db").exists()


def test_many_processes_may_make_the_tables(postgres: Place) -> None:
    failed = []

    def work() -> None:
        try:
            postgres.open().close()
        except Exception as error:  # noqa: BLE001 - looked at below
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert postgres.rows("SELECT COUNT(*) FROM studies") == [(1,)]
    assert postgres.rows("SELECT COUNT(*) FROM workers") == [(8,)]


async def test_a_lost_connection_costs_nothing(postgres: Place) -> None:
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'autointerp'"
    with postgres.open() as store:
        for turn in range(3):
            assert store.get_response(f"{turn}") is None
            postgres.rows(cut)
            number = await store.begin(f"{turn}", spec="s", tag="t", reserved_usd=1.0)
            postgres.rows(cut)
            await store.finish(number, Response("a", cost_usd=0.5))
            postgres.rows(cut)
            assert store.get_response(f"{turn}") == Response("a", cost_usd=0.5)
        assert store.spend().confirmed_usd == 1.5


async def test_a_deadlock_is_tried_again(postgres: Place) -> None:
    """Two stores write the same two answers in opposite order, in one transaction each."""
    with postgres.open() as one, postgres.open() as two:
        for key in "ab":
            await one.finish(await one.begin(key, spec="s", tag="t", reserved_usd=None), Response("0"))
        meet = threading.Barrier(2)

        def write(store: RunStore, order: str, once: list[bool]) -> None:
            sql = "UPDATE responses SET text = ? WHERE key = ?"

            def both(db: object) -> None:
                db.execute(sql, (order, order[0]))  # type: ignore[attr-defined]
                if once.pop():
                    once.append(False)
                    meet.wait(10)
                else:
                    once.append(False)
                db.execute(sql, (order, order[1]))  # type: ignore[attr-defined]

            store._submit(both).result()

        await asyncio.gather(asyncio.to_thread(write, one, "ab", [True]), asyncio.to_thread(write, two, "ba", [True]))
        texts = {one.get_response(key).text for key in "ab"}  # type: ignore[union-attr]
        assert texts in ({"ab"}, {"ba"})


def test_without_the_driver_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingDependency, match=r'a PostgreSQL store needs .* pip install "autointerp\[postgres\]"'):
        RunStore.open("postgresql://u:secret@h/d")
