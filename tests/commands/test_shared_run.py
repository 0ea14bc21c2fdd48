"""``autointerp run --store postgresql://…``: several processes on one study."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from autointerp.commands import main
from autointerp.commands import run as run_command
from autointerp.commands.settings import parse
from autointerp.store import RunStore
from tests.databases import Place
from tests.studies import SETTINGS

SECRET = "c4nary-pass"


def words(study: Path, out: Path, *more: str) -> list[str]:
    settings = [w for name, value in SETTINGS.items() for w in (f"--{name.replace('_', '-')}", str(value))]
    return ["run", "--cache", f"{study}/cache", "--corpus", f"{study}/corpus", "--out", str(out), *settings, *more]


def shared(study: Path, place: Place, *more: str) -> list[str]:
    url = str(place.where).replace("tester@", f"tester:{SECRET}@")
    return words(study, place.folder / "shared", "--store", url, "--study", "s", *more)


def side_by_side(line: list[str]) -> list[int]:
    """What two workers with this command line return; it is parsed here, since the parser is not made for threads."""
    config, codes = parse(run_command.Config, "run", line[1:]), list[int]()
    assert config is not None
    workers = [threading.Thread(target=lambda: codes.append(run_command.run(config))) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return codes


def tables(where: Any, **how: Any) -> Any:
    with RunStore.open(where, readonly=True, **how) as store:
        scores = [
            store.get_score(m.feature, m.explainer, m.explainer_client, m.scorer, m.client, null=m.null)
            for m in store.made_scores()
        ]
        return scores, store.explanations().to_pylist(), store.skipped().to_pylist()


@pytest.fixture
def alone(study: Path, tmp_path: Path) -> tuple[Any, int]:
    """Tables of a run on SQLite, and how many requests it sent."""
    assert main(words(study, tmp_path / "alone")) == 0
    with RunStore.open(tmp_path / "alone", readonly=True) as store:
        return tables(tmp_path / "alone"), store.spend().attempts


def test_two_workers_do_a_study_once_and_as_one_would(
    study: Path, postgres: Place, alone: tuple[Any, int], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(RunStore, "CLAIM_WAIT_S", 0.05)
    assert side_by_side(shared(study, postgres)) == [0, 0]
    folder = postgres.folder / "shared"
    assert tables(folder) == alone[0]  # found through run.toml
    assert postgres.rows("SELECT COUNT(*), COUNT(DISTINCT key) FROM attempts") == [(alone[1], alone[1])]
    assert not (folder / "run.db").exists()
    text = (folder / "run.toml").read_text()
    assert 'store = "postgresql://tester@/postgres?' in text
    assert main(["report", str(folder)]) == main(["spend", str(folder)]) == main(["runs", str(folder)]) == 0
    assert main(["reparse", str(folder)]) == 0
    said = capsys.readouterr()
    assert "0 changed; nothing was sent" in said.out
    for shown in (text, said.out, said.err):
        assert SECRET not in shown


def test_what_a_killed_worker_left_is_done_by_the_next(study: Path, postgres: Place, alone: tuple[Any, int]) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    line = [sys.executable, "-m", "autointerp.commands", *shared(study, postgres, "--features-in-flight", "2")]
    child = subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    while not (begun := _count(postgres)):
        assert child.poll() is None, child.communicate()[0].decode()
    os.kill(child.pid, signal.SIGKILL)
    child.communicate()
    assert begun < alone[1]
    postgres.rows(f"UPDATE {postgres.schema}.workers SET seen = 0")  # a minute passes
    assert main(shared(study, postgres)) == 0
    assert tables(postgres.where, study="s") == alone[0]
    (sent,) = postgres.rows("SELECT COUNT(*) FROM attempts WHERE outcome = 'answer'")[0]
    assert sent == alone[1]


def _count(place: Place) -> int:
    found = place.rows(f"SELECT to_regclass('{place.schema}.explanations')")[0][0]
    return place.rows("SELECT COUNT(*) FROM explanations")[0][0] if found else 0


def test_workers_draw_the_same_features(study: Path, postgres: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RunStore, "CLAIM_WAIT_S", 0.05)
    monkeypatch.setattr("autointerp.pipeline.stream.BLOCK", 2)
    assert side_by_side([*shared(study, postgres), "--n-features", "5"]) == [0, 0]
    with RunStore.open(postgres.folder / "shared", readonly=True) as store:
        assert len(set(store.explanations()["feature"].to_pylist())) == 5
