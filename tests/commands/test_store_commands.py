"""``autointerp runs``, ``spend``, ``retry-failed`` and ``reparse`` as a user types them."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from autointerp.commands import main
from autointerp.store import RunStore
from tests.studies import SETTINGS


def words(study: Path, out: Path, *more: str) -> list[str]:
    settings = [w for name, value in SETTINGS.items() for w in (f"--{name.replace('_', '-')}", str(value))]
    return ["run", "--cache", f"{study}/cache", "--corpus", f"{study}/corpus", "--out", str(out), *settings, *more]


def change(out: Path, *statements: str) -> None:
    """Write into the store past our code."""
    with contextlib.closing(sqlite3.connect(out / "run.db")) as db, db:
        for statement in statements:
            assert db.execute(statement).rowcount > 0, statement


def tables(out: Path) -> Any:
    with RunStore.open(out, readonly=True) as store:
        scores = [
            (
                m,
                store.get_score(
                    m.feature, m.explainer, m.explainer_client, m.scorer, m.client, null=m.null, spoilt=True
                ),
            )
            for m in store.made_scores()
        ]
        return scores, store.explanations().to_pylist(), store.spend().attempts


@pytest.fixture
def out(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A finished run of four features."""
    assert main(words(study, tmp_path / "runs" / "a", "--features", "0:4")) == 0
    capsys.readouterr()
    return tmp_path / "runs" / "a"


def test_runs_below_a_folder_are_listed(out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    RunStore.open(tmp_path / "runs" / "deep" / "b").close()
    (tmp_path / "runs" / "broken").mkdir()
    (tmp_path / "runs" / "broken" / "run.db").write_bytes(b"certainly not a database, but long enough" * 99)
    (tmp_path / "runs" / ".hidden").mkdir()
    (tmp_path / "runs" / ".hidden" / "run.db").touch()
    assert main(["runs", str(tmp_path)]) == 0
    head, a, b, c = capsys.readouterr().out.splitlines()
    assert head.split() == ["run", "explained", "failed", "skipped", "scores", "nulls", "spend", "last"]
    assert a.split()[:8] == ["runs/a", "4", "0", "0", "8", "8", "$0.00", a.split()[7]]
    assert a.split()[7].startswith("20")
    assert "runs/broken" in b
    assert "expected a run store (SQLite)" in b
    assert c.split() == ["runs/deep/b", "0", "0", "0", "0", "0", "$0.00", "never"]
    assert main(["runs", str(tmp_path / "runs" / "deep" / "b")]) == 0
    assert main(["runs", str(tmp_path / "none")]) == 2
    (tmp_path / "empty").mkdir()
    assert main(["runs", str(tmp_path / "empty")]) == 2
    assert "no runs below it" in capsys.readouterr().err


def test_spend_tells_each_kind_of_dollar_by_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import asyncio

    from autointerp.records import Failure, Response, Usage

    async def fill(store: RunStore) -> None:
        for spec, outcome in (
            ("anthropic/m", Response("a", Usage(1000, 20, 400), 0.5)),
            ("anthropic/m", Failure("timeout", "")),
            ("openai/n", Response("a", Usage(10, 2))),
            ("openai/n", None),
        ):
            number = await store.begin(f"{spec}{outcome}", spec=spec, tag="t", reserved_usd=2.0)
            if outcome:
                await store.finish(number, outcome)

    with RunStore.open(tmp_path) as store:
        asyncio.run(fill(store))
        assert main(["spend", str(tmp_path)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[1].split() == ["anthropic/m", "2", "1", "0", "0.5000", "2.0000", "0.0000", "0", "1,000", "400", "20"]
    assert said[2].split() == ["openai/n", "2", "1", "1", "0.0000", "2.0000", "2.0000", "1", "10", "0", "2"]
    assert said[3].split() == ["all", "4", "2", "1", "0.5000", "4.0000", "2.0000", "1", "1,010", "400", "22"]
    assert said[5].startswith("at most $6.5000: ")
    assert said[6].startswith("1 answers have no known price")
    assert said[7] == "failed attempts: timeout 1"
    assert main(["spend", str(tmp_path / "none")]) == 1


def test_reparse_writes_what_another_reading_changes_and_sends_nothing(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = tables(out)
    assert main(["reparse", str(out)]) == 0
    assert capsys.readouterr().out == (
        "4 explanations read again, 0 changed; 16 scores read again, 0 changed; nothing was sent\n"
    )
    assert tables(out) == truth
    # as if an older parser had read the replies
    change(out, "UPDATE scores SET value = 0.1, is_spoilt = 1 WHERE feature = 2 AND is_null = 1")
    change(out, "UPDATE trials SET failure = 'unparsed', predicted = NULL WHERE score = 1 AND place = 0")
    assert main(["reparse", str(out)]) == 0
    assert "16 scores read again, 3 changed" in capsys.readouterr().out
    assert tables(out) == truth


def test_scores_of_a_text_that_reparse_changes_are_made_again(
    study: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = tables(out)
    change(out, "UPDATE explanations SET text = 'misread' WHERE feature = 1")
    assert main(["reparse", str(out)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "4 explanations read again, 1 changed; 12 scores read again, 0 changed; nothing was sent"
    assert said[1].startswith("4 scores were of the old texts and are gone; ")  # its own two, and two nulls with it
    assert len(tables(out)[0]) == 12
    assert main(["run", "--config", f"{out}/run.toml"]) == 0
    assert tables(out) == truth  # nothing was sent: the answers are there


def test_reparse_leaves_what_it_cannot_read(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(out, "DELETE FROM responses WHERE key = (SELECT key FROM attempts WHERE tag = 'detection' LIMIT 1)")
    change(out, "UPDATE scores SET scorer = 'mine@1' WHERE scorer LIKE 'fuzzing%' AND feature = 0 AND is_null = 0")
    truth = tables(out)
    assert main(["reparse", str(out)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert "14 scores read again, 0 changed" in said[0]
    assert said[1].startswith("2 results stay as they are")
    assert tables(out) == truth


def test_failed_results_are_made_again_and_only_their_replies_asked_anew(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores, explanations, attempts = tables(out)
    number = "(SELECT id FROM scores WHERE feature = 3 AND is_null = 0 AND scorer LIKE 'detection%')"
    change(out, f"UPDATE scores SET n_failed = 2, value = 0.2 WHERE id = {number}")
    change(out, f"UPDATE trials SET failure = 'unparsed', predicted = NULL WHERE score = {number} AND prompt = 1")
    assert main(["retry-failed", str(out)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "0 explanations and 1 scores are to be made again; 1 replies are asked anew"
    assert said[1].endswith(f"autointerp run --config {out}/run.toml")
    assert main(["run", "--config", f"{out}/run.toml"]) == 0
    assert tables(out) == (scores, explanations, attempts + 1)
    assert main(["retry-failed", str(out)]) == 0
    assert "0 explanations and 0 scores" in capsys.readouterr().out


def test_a_failed_explanation_is_made_again_at_once(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores, explanations, attempts = tables(out)
    change(out, "UPDATE explanations SET text = '', failure = 'no explanation in the reply (stop)' WHERE feature = 0")
    change(out, "DELETE FROM scores WHERE feature = 0 AND is_null = 0")
    assert main(["retry-failed", str(out), "--go"]) == 0
    assert "1 explanations and 0 scores are to be made again; 1 replies are asked anew" in capsys.readouterr().out
    assert tables(out) == (scores, explanations, attempts + 1)


@pytest.mark.parametrize("command", ["reparse", "retry-failed", "spend"])
def test_what_is_no_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    more = ["--go"] if command == "retry-failed" else []
    assert main([command, str(tmp_path), *more]) == 1
    assert "expected a run folder" in capsys.readouterr().err
