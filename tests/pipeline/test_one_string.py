"""One string is swapped and nothing else: the same script on every kind of backend gives results of one form."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import sqlite3
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from autointerp import DefaultExplainer, DetectionScorer, FuzzingScorer, Pipeline, RunStore, connect
from autointerp.clients import Scripted
from autointerp.records import Failure, Outcome, Request
from autointerp.report import write_report
from tests.servers import FakeServer, Received
from tests.studies import planted_loader

FEATURES = range(4)
WIRES = {"anthropic": "anthropic/m", "openai": "openai/m", "compatible": "openai/m", "openrouter": "openrouter/a/b"}


def reply(text: str) -> str:
    """An explanation to a prompt without numbered examples to judge, a one for every second example to others."""
    if "There are" not in text:
        return json.dumps({"explanation": "fires on tryptophan"})
    return json.dumps({"answers": [i % 2 for i, _ in enumerate(re.findall(r"^Example \d+:", text, re.MULTILINE))]})


def said(received: Received) -> str:
    """What a server answers."""
    return reply(received.text)


def scripted(request: Request) -> str:
    """What the double answers."""
    return reply(request.messages[-1].content)


def script(study: Path, out: Path, client: Any, *, failed: int = 0) -> None:
    """What a user writes; ``client`` is a model string, or a bare client."""

    async def main() -> None:
        with RunStore.open(out) as store:
            async with connect(client, store=store) as connected:
                pipeline = Pipeline(
                    planted_loader(study),
                    DefaultExplainer(),
                    [DetectionScorer(), FuzzingScorer()],
                    client=connected,
                    store=store,
                )
                report = await pipeline.run(FEATURES)
            explained = len(FEATURES) - failed
            assert (report.explained, report.failed, report.scores) == (explained, failed, 2 * explained)
            write_report(store)

    asyncio.run(main())


@pytest.fixture(scope="module")
def runs(study: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folder of a run by the name of its backend."""
    folder = tmp_path_factory.mktemp("swapped")

    async def serve() -> None:
        from autointerp.clients import openai

        async with AsyncExitStack() as stack:
            servers = {w: await stack.enter_async_context(FakeServer(w, said)) for w in WIRES if w != "openai"}
            # the provider's own host is named by no string: here it is this server
            own = await stack.enter_async_context(FakeServer("openai", said, key="k"))
            patch = stack.enter_context(pytest.MonkeyPatch.context())
            patch.setattr(openai.OpenAI.__init__, "__kwdefaults__", {"home": own.url})
            patch.setenv("OPENAI_API_KEY", "k")
            strings: dict[str, Any] = {w: f"{WIRES[w]}@{server.url}" for w, server in servers.items()}
            strings |= {"openai": "openai/m", "baseline": "baseline", "scripted": Scripted(scripted)}
            for name, client in strings.items():
                await asyncio.to_thread(script, study, folder / name, client)
            for server in [*servers.values(), own]:
                assert server.count > 0

    asyncio.run(serve())
    return {name: folder / name for name in (*WIRES, "baseline", "scripted")}


def rows(folder: Path, sql: str) -> list[Any]:
    """What another program finds in the run's file."""
    with closing(sqlite3.connect(folder / "run.db")) as db:
        return db.execute(sql).fetchall()


def tables(folder: Path) -> dict[str, pyarrow.Table]:
    """Everything that is read back from a run."""
    with RunStore.open(folder, readonly=True) as store:
        found = {"scores": store.scores(), "explanations": store.explanations(), "skipped": store.skipped()}
    return found | {"features": pyarrow.parquet.read_table(folder / "explanations.parquet")}


def test_tables_have_the_same_columns_of_the_same_types(runs: dict[str, Path]) -> None:
    wanted = tables(runs["baseline"])
    for name, folder in runs.items():
        for table, found in tables(folder).items():
            assert found.schema == wanted[table].schema, (name, table)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT feature, explainer, typeof(text), typeof(model), failure, is_spoilt FROM explanations ORDER BY 1, 2",
        "SELECT feature, explainer, scorer, is_null, partner, typeof(value), typeof(ci_low), typeof(ci_high), n,"
        " n_failed, is_spoilt FROM scores ORDER BY 1, 2, 3, 4",
        "SELECT feature, scorer, is_null, place, example, kind, quantile, truth, typeof(predicted), trials.failure,"
        " prompt, probability FROM trials JOIN scores ON score = scores.id ORDER BY 1, 2, 3, 4",
    ],
    ids=["explanations", "scores", "trials"],
)
def test_rows_differ_in_the_answers_only(runs: dict[str, Path], sql: str) -> None:
    wanted = rows(runs["baseline"], sql)
    assert wanted
    for name, folder in runs.items():
        assert rows(folder, sql) == wanted, name


def test_metrics_and_details_have_the_same_keys(runs: dict[str, Path]) -> None:
    def keys(folder: Path) -> dict[str, Any]:
        found = {}
        for row in (table := tables(folder))["scores"].to_pylist():
            found[f"{row['feature']} {row['scorer']} {row['is_null']}"] = sorted(json.loads(row["metrics"]))
        for row in table["explanations"].to_pylist():
            found[f"{row['feature']}"] = sorted(json.loads(row["details"]))
        return found

    wanted = keys(runs["baseline"])
    assert all(found for name, found in wanted.items() if " " in name)
    for name, folder in runs.items():
        assert keys(folder) == wanted, name


def test_failures_change_no_type(runs: dict[str, Path], study: Path, tmp_path: Path) -> None:
    """Runs can be put together although a column is empty in one and not in the other."""

    def failing(request: Request) -> Outcome | str:
        if request.tag == "explain":
            return Failure("refusal", "no") if next(turn) % 2 else scripted(request)
        return Failure("refusal", "no")

    turn = itertools.count()
    script(study, tmp_path, Scripted(failing), failed=2)
    broken, whole = tables(tmp_path), tables(runs["baseline"])
    assert broken["features"]["detection_value"].null_count == len(FEATURES)
    assert broken["features"]["failure"].null_count == whole["features"]["failure"].null_count - 2
    for table, found in broken.items():
        rates = {n for n in whole[table].column_names if n.endswith(("_tpr", "_tnr"))}  # no trial has an answer
        assert found.schema == whole[table].drop_columns(sorted(rates - set(found.column_names))).schema, table


def test_every_report_is_written(runs: dict[str, Path]) -> None:
    for folder in runs.values():
        assert {"report.html", "features.csv", "features.parquet", "figures"} <= {p.name for p in folder.iterdir()}
        assert "detection" in (folder / "report.html").read_text("utf-8")


def test_the_judge_was_the_backend_of_the_string(runs: dict[str, Path]) -> None:
    for name, folder in runs.items():
        [(spec,)] = rows(folder, "SELECT DISTINCT client FROM scores")
        assert spec.startswith(WIRES.get(name, name).partition("/")[0])
