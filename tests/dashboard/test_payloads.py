"""What the pages are sent, against the files it comes from."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from autointerp.cache import ActivationCache
from autointerp.corpus import Corpus
from autointerp.dashboard import Options, live, overview
from autointerp.dashboard.contexts import Contexts
from autointerp.dashboard.feature import feature
from autointerp.dashboard.run import Run, open_runs
from autointerp.dashboard.site import as_bytes
from autointerp.errors import FormatError, UsageError
from autointerp.store import RunStore
from tests.dashboard.planted import EXPLAINED, N_FEATURES, NASTY, planted, run
from tests.dashboard.tabled import OTHER, tabled
from tests.doubles import make_corpus, write_cache

__all__ = ["planted", "run", "tabled"]


def table_of(one: Run) -> tuple[list[int], dict[str, Any]]:
    """Features and columns by name."""
    table = orjson.loads(overview.table(one))
    return table["features"], {column["name"]: column for column in table["columns"]}


def sent(one: Run, number: int) -> dict[str, Any]:
    """A feature's payload as a browser gets it."""
    return orjson.loads(as_bytes(feature(one, str(number))))


# ----------------------------------------------------------------------------------------------------------- overview


def test_table_holds_every_feature_with_its_best_known_values(tabled: Run) -> None:
    features, columns = table_of(tabled)
    assert features == list(range(N_FEATURES))
    texts = columns["explanation"]["values"]
    assert texts[0] == NASTY
    assert texts[3] == "explanation number 3"
    assert texts[9] == "(refusal: no)"
    assert texts[11] is None
    with RunStore.open(tabled.folder, readonly=True) as store:
        stored = {(s["feature"], s["explainer"], s["is_null"]): s for s in store.scores().to_pylist()}
    score = columns["score.detection"]
    for f in EXPLAINED:
        own, null = stored[f, "default@1", 0], stored[f, "default@1", 1]
        got = [score[name][f] for name in ("values", "low", "high", "null")]
        assert got == pytest.approx([own["value"], own["ci_low"], own["ci_high"], null["value"]], rel=1e-3)
    assert score["values"][8] is None
    assert columns["score.contrastive/detection"]["values"][:6] == pytest.approx([0.5, 0.6, 0.7, 0.8, 0.9, None])
    assert columns["skipped"]["words"][columns["skipped"]["values"][10]] == "activating contexts"
    assert {columns["pattern"]["words"][code] for code in columns["pattern"]["values"]} == {"point", "long"}
    assert columns["cluster"]["values"][:3] == [-1, 0, 1]
    concept = columns["concept"]
    assert [concept["words"][concept["values"][f]] for f in (1, 4)] == ["Region: acidic", "Domain: SH2"]
    assert concept["values"][2] == -1
    assert [columns["go"]["words"][code] for code in columns["go"]["values"][1]] == ["third (GO:3)", "fourth (GO:4)"]


def test_statistics_are_the_caches(tabled: Run) -> None:
    _, columns = table_of(tabled)
    assert tabled.cache is not None
    for f in (0, 7, N_FEATURES - 1):
        tokens, values = tabled.cache[f]
        assert columns["count"]["values"][f] == len(tokens)
        assert columns["frequency"]["values"][f] == pytest.approx(len(tokens) / tabled.cache.n_tokens, rel=1e-3)
        assert columns["max"]["values"][f] == pytest.approx(values.max(initial=0), rel=1e-3)


def test_texts_hold_the_explanations_that_the_table_leaves_out(tabled: Run) -> None:
    chunk = overview.texts(tabled, "0")
    told = list(zip(chunk["feature"], (chunk["makers"][m] for m in chunk["maker"]), chunk["text"], strict=True))
    assert (2, "contrastive", f"{OTHER} 2") in told
    assert (2, "default", "explanation number 2") in told
    assert len(told) == len(EXPLAINED) + 5
    assert overview.texts(tabled, "1")["feature"] == []
    with pytest.raises(UsageError, match="number"):
        overview.texts(tabled, "x")


def test_a_growing_study_is_read_again(run: Run) -> None:
    import asyncio

    from autointerp.dashboard import run as module
    from autointerp.records import Explanation, FeatureStatistics, Score

    before = overview.table(run)
    assert overview.table(run) is before
    statistics = FeatureStatistics(10, 1.0, 0.5, 0.1, 5, 5)
    with RunStore.open(run.folder) as store:
        asyncio.run(store.put_explanation(Explanation(20, "new", "default@1"), "c", statistics))
        asyncio.run(store.put_score(Score(20, "default@1", "detection@2", 0.9, 0.8, 1.0, 20, 0), "c", "judge"))
    for made in list(run._made):  # as if time had passed
        run._made[made] = run._made[made]._replace(until=0.0)
        if made == "stamp":
            run._made[made] = module.Made(None, None, 0.0)
    _, columns = table_of(run)
    assert columns["explanation"]["values"][20] == "new"


# ------------------------------------------------------------------------------------------------------------ feature


def test_a_feature_has_its_trials_with_the_judges_answers(run: Run) -> None:
    page = sent(run, 3)
    (told,) = page["explanations"]
    (score,) = told["scores"]
    with RunStore.open(run.folder, readonly=True) as store:
        own = store.get_score(3, "default@1", "c", "detection@2", "judge")
        null = store.get_score(3, "default@1", "c", "detection@2", "judge", null=True)
    assert own is not None
    assert null is not None
    trials = score["trials"]
    assert trials["truth"] == "".join(str(int(t.truth)) for t in own.trials)
    assert trials["predicted"] == "".join(str(int(bool(t.predicted))) for t in own.trials)
    assert score["null"]["trials"]["predicted"] == "".join(str(int(bool(t.predicted))) for t in null.trials)
    assert score["null"]["partner"] == 4
    assert score["null"]["text"] == "explanation number 4"
    assert run.cache is not None
    assert run.corpus is not None
    tokens, values = run.cache[3]
    dense = np.zeros(run.cache.n_tokens, np.float32)
    dense[tokens] = values
    for place, trial in zip(trials["example"], own.trials, strict=True):
        example = page["examples"][place]
        row, start, length = map(int, trial.example.split(":"))
        assert example["text"] == run.corpus.text(row)[start : start + length]
        base = int(run.cache.offsets[row]) + start
        wanted = dense[base : base + len(example["text"])]
        assert example["at"] == np.flatnonzero(wanted).tolist()
        assert example["v"] == pytest.approx(wanted[wanted > 0].tolist(), abs=1e-3)


def test_contexts_are_the_strongest_and_some_of_each_quantile(run: Run) -> None:
    page = sent(run, 0)
    groups = page["contexts"]["groups"]
    assert groups[0]["name"] == "top"
    peaks = [max(c["v"]) for c in groups[0]["contexts"]]
    assert peaks == sorted(peaks, reverse=True)
    assert run.cache is not None
    assert peaks[0] == pytest.approx(float(run.cache[0][1].max()), abs=1e-3)
    assert [g["name"] for g in groups[1:]] == ["80–100 %", "60–80 %", "40–60 %", "20–40 %", "0–20 %"]
    assert sum(g["n"] for g in groups[1:]) == page["contexts"]["n"]
    for group in groups:
        for context in group["contexts"]:
            assert group["low"] - 1e-3 <= max(context["v"]) <= group["high"] + 1e-3


def test_annotations_lie_where_the_corpus_has_them(run: Run) -> None:
    assert run.contexts is not None
    assert run.cache is not None
    context = run.contexts.window(0, 10, 20, *run.cache[0])
    kinds = run.contexts.kinds([context])
    assert [(a, b, kinds[code]) for a, b, code in context["notes"]] == [
        (0, 2, ("Domain", NASTY)),
        (10, 15, ("Region", "b")),
    ]


def test_optional_tables_fill_their_panels(tabled: Run) -> None:
    page = sent(tabled, 1)
    assert page["logits"]["promoted"] == [["A", 1.5]]
    assert page["logits"]["suppressed"] == [[NASTY, -1.25]]
    assert page["logo"] == {"offsets": [-1, 0], "columns": [[["K", 0.5]], [["A", 2.0], ["W", 1.0]]]}
    assert page["neighbours"] == {
        "decoder": [[2, 0.5, "explanation number 2"]],
        "encoder": [[2, 0.25, "explanation number 2"]],
    }
    assert [row["concept"] for row in page["concepts"]] == ["Region: acidic", "Domain: SH3"]
    nodes = [node["id"] for node in page["go"]["nodes"]]
    edges = {(nodes[a], nodes[b]) for a, b in page["go"]["edges"]}
    assert edges == {("GO:2", "GO:1"), ("GO:3", "GO:2"), ("GO:4", "GO:1"), ("GO:4", "GO:2")}
    assert {node["id"] for node in page["go"]["nodes"] if node["found"]} == {"GO:3", "GO:4"}
    assert sent(tabled, 5)["statistics"]["duplicate_of"] == 3
    assert [one["name"] for one in page["explanations"]] == ["default", "contrastive"]
    assert sent(tabled, 10)["skipped"] == "too few activating contexts: 3, 10 are needed"


def test_a_text_shows_its_tokens(tmp_path: Path) -> None:
    from tests.doubles import FakeSubject

    texts = ["one two three four", "", "five six ü seven"]
    corpus = make_corpus(tmp_path / "corpus", texts, kind="text")
    subject = FakeSubject("text")
    ends = [t.ends for t in subject.tokenize(texts)]
    dense = np.zeros((sum(map(len, ends)), 2), np.float32)
    dense[2, 0] = dense[-1, 0] = 1.5
    contexts = Contexts(write_cache(tmp_path / "cache", dense, corpus, subject), corpus)
    found = contexts.of(0)
    shown = {c["row"]: c for c in found["groups"][0]["contexts"]}
    assert shown[0]["text"] == texts[0]
    assert shown[0]["ends"] == list(ends[0])
    assert shown[0]["at"] == [2]
    assert shown[2]["text"] == texts[2]
    assert contexts.of(1) == {"missing": "This feature never fires on the cached corpus.", "command": ""}


def test_a_sequence_level_cache_colours_whole_sequences(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "corpus", ["MKV" * 300, "AAA", "WWW"])
    dense = np.array([[2.0], [0.0], [0.5]], np.float32)
    contexts = Contexts(write_cache(tmp_path / "cache", dense, corpus, level="sequence", n_shards=1), corpus)
    (group,) = contexts.of(0)["groups"]
    assert [(c["row"], c["whole"]) for c in group["contexts"]] == [(0, 2.0), (2, 0.5)]
    assert len(group["contexts"][0]["text"]) == 400


def test_a_feature_of_a_very_long_sequence_is_small(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "corpus", ["M" * 100_000, "K" * 50])
    dense = np.zeros((100_050, 1), np.float32)
    dense[::3] = np.linspace(1, 2, len(dense[::3]), dtype=np.float32)[:, None]
    contexts = Contexts(write_cache(tmp_path / "cache", dense, corpus, n_shards=1), corpus)
    assert len(as_bytes(contexts.of(0))) < 100_000


# ------------------------------------------------------------------------------------------------------------ missing


@pytest.mark.parametrize(
    ("panel", "command"),
    [("logits", "analyze"), ("logo", "analyze"), ("neighbours", "analyze"), ("concepts", "concepts"), ("go", "go")],
)
def test_a_panel_without_its_table_names_the_command(run: Run, panel: str, command: str) -> None:
    found = sent(run, 3)[panel]
    assert found["missing"]
    assert found["command"].startswith(f"autointerp {command} ")


def test_without_cache_and_corpus_the_rest_is_shown(planted: Path, tmp_path: Path) -> None:
    folder = tmp_path / "alone"
    shutil.copytree(planted, folder)
    (folder / "run.toml").write_text(f'[run]\ncache = "{tmp_path}/gone"\ncorpus = "{tmp_path}/lost"\n')
    (one,) = open_runs({"alone": folder})
    page = sent(one, 3)
    assert "gone" in page["contexts"]["missing"]
    assert "autointerp cache" in page["contexts"]["command"]
    assert page["histogram"]["missing"]
    assert page["explanations"][0]["scores"][0]["trials"]["truth"]
    features, columns = table_of(one)
    assert features == list(EXPLAINED)
    assert columns["frequency"]["values"] == pytest.approx([0.1] * len(EXPLAINED))
    one.close()


def test_a_cache_of_another_coder_is_refused(run: Run, tmp_path: Path) -> None:
    with RunStore.open(run.folder) as store:
        store.bind({"coder": "of another"})
    (one,) = open_runs({"demo": run.folder})
    assert one.cache is None
    assert "another subject or coder" in sent(one, 3)["contexts"]["missing"]
    one.close()


def test_a_cache_given_by_hand_comes_first(planted: Path, tmp_path: Path) -> None:
    folder = tmp_path / "moved"
    shutil.copytree(planted, folder)
    (folder / "run.toml").write_text("[run]\n")
    (lost,) = open_runs({"a": folder})
    assert lost.cache is None
    assert "--cache" in lost.why_no_cache["command"]  # type: ignore[index]
    (found,) = open_runs({"a": folder}, Options(planted.parent / "cache", planted.parent / "corpus"))
    assert isinstance(found.cache, ActivationCache)
    assert isinstance(found.corpus, Corpus)
    lost.close()
    found.close()


def test_a_newer_run_is_refused_and_newer_tables_are_named(tabled: Run) -> None:
    (tabled.folder / "analysis" / "analysis.json").write_text('{"format": "autointerp-analysis", "version": 99}')
    assert "version 99" in sent(tabled, 1)["logits"]["missing"]
    db = sqlite3.connect(tabled.folder / "run.db")
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(FormatError, match="version 99"):
        open_runs({"demo": tabled.folder})


def test_a_run_that_has_just_begun_has_an_empty_page(tmp_path: Path) -> None:
    RunStore.open(tmp_path / "run").close()
    (one,) = open_runs({"fresh": tmp_path / "run"})
    features, columns = table_of(one)
    assert features == []
    assert columns["explanation"]["values"] == []
    assert live.status(one)["explained"] == 0
    one.close()


def test_a_damaged_table_is_named(tabled: Run) -> None:
    (tabled.folder / "analysis" / "logo.parquet").write_bytes(b"nonsense")
    assert "logo.parquet" in sent(tabled, 1)["logo"]["missing"]


@pytest.mark.parametrize("number", ["x", "-1", "99999", "1" * 30])
def test_no_such_feature(run: Run, number: str) -> None:
    with pytest.raises(UsageError, match="feature"):
        feature(run, number)


def test_the_status_counts_what_the_store_holds(tabled: Run) -> None:
    status = live.status(tabled)
    assert status["explained"] == len(EXPLAINED) + 5
    assert (status["failed"], status["skipped"], status["scores"], status["nulls"]) == (1, 1, 13, 8)
    assert status["latest"]["feature"][0] == 4
    assert not status["running"]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"features": "3:10,12"}, 8),
        ({"n_features": 60}, 61),  # one was skipped, and another one drawn for it
        ({"features": "5:"}, None),
        ({}, None),
    ],
)
def test_how_many_features_are_asked_for(
    tabled: Run, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], expected: int | None
) -> None:
    monkeypatch.setattr(tabled, "settings", settings)
    assert live.status(tabled)["asked"] == expected


def test_a_run_under_way_is_followed(run: Run) -> None:
    assert not live.status(run)["running"]
    with RunStore.open(run.folder):
        for made in list(run._made):
            run.forget(made)
        status = live.status(run)
        assert status["running"]
        assert status["workers"] == 1
    run.forget("status")
    assert not live.status(run)["running"]
