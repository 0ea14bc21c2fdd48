"""``autointerp run`` and ``autointerp report`` as a user types them."""

from __future__ import annotations

import dataclasses
import json
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch

from autointerp.commands import main
from autointerp.commands import run as run_command
from autointerp.commands.settings import parse
from autointerp.commands.study import NEIGHBOURS, make_loader
from autointerp.errors import UsageError
from autointerp.store import RunStore
from tests.studies import MOTIFS, N_NOISE, SETTINGS

N = len(MOTIFS) + N_NOISE


def words(study: Path, out: Path, *more: str) -> list[str]:
    settings = [w for name, value in SETTINGS.items() for w in (f"--{name.replace('_', '-')}", str(value))]
    return ["run", "--cache", f"{study}/cache", "--corpus", f"{study}/corpus", "--out", str(out), *settings, *more]


def config_of(out: Path) -> run_command.Config:
    config = parse(run_command.Config, "run", ["--config", str(out / "run.toml")])
    assert config is not None
    return config


def test_run_and_report_print_the_scores_and_write_the_report(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "run"
    assert main(words(study, out)) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith(f"{N + 1} features attempted: {N} explained, 1 skipped (too few examples), 0 failed; ")
    assert said[3].split()[:3] == ["detection", str(N), "1.000"]
    assert said[-1] == f"{N * 17 - repeated(out)} requests sent in this run folder, $0.0000"
    assert main(["report", str(out)]) == 0
    reported = capsys.readouterr().out.splitlines()
    assert reported[:3] == said[2:5]
    assert reported[-1] == f"wrote {out}/report.html; features.csv, features.parquet and figures/ lie beside it"
    assert {p.name for p in out.iterdir()} >= {"report.html", "features.csv", "features.parquet", "run.toml", "run.db"}


def repeated(out: Path) -> int:
    """Null requests that asked what had been asked before: two features without a pattern explained alike."""
    with RunStore.open(out, readonly=True) as store:
        texts = {r["feature"]: r["text"] for r in store.explanations().to_pylist()}
        return sum(4 for r in store.scores().to_pylist() if r["is_null"] and texts[r["feature"]] == texts[r["partner"]])


def test_the_same_words_again_send_nothing(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seen = []
    for _ in range(2):
        assert main(words(study, tmp_path, "--features", "0:4")) == 0
        with RunStore.open(tmp_path, readonly=True) as store:
            seen.append((store.spend(), store.scores(), store.explanations()))
    assert seen[0] == seen[1]


def test_run_toml_holds_every_field_and_can_be_fed_back(study: Path, tmp_path: Path) -> None:
    assert main(words(study, tmp_path / "a", "--features", "0,3", "--no-nulls", "--seed", "5", "--budget", "2.5")) == 0
    config = config_of(tmp_path / "a")
    assert (config.features, config.nulls, config.seed, config.budget) == ("0,3", False, 5, 2.5)
    assert config.n_test == SETTINGS["n_test"]
    text = (tmp_path / "a" / "run.toml").read_text()
    for field in dataclasses.fields(run_command.Config):
        assert f"{field.name} = " in text or f"# {field.name} is not set" in text
    assert set(tomllib.loads(text)) == {"run"}
    out = tmp_path / "b"
    assert main(["run", "--config", str(tmp_path / "a" / "run.toml"), "--out", str(out)]) == 0
    assert config_of(out) == dataclasses.replace(config, out=out)
    tables = []
    for folder in (tmp_path / "a", out):
        with RunStore.open(folder, readonly=True) as store:
            tables.append((store.scores(), store.explanations()))
    assert tables[0] == tables[1]


def test_an_estimate_sends_nothing_and_binds_nobody(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(study, tmp_path, "--features", "0:4", "--estimate")) == 0
    assert "4 features, 68 requests, at most " in capsys.readouterr().out
    assert not (tmp_path / "run.toml").exists()
    assert main(words(study, tmp_path, "--features", "0:4", "--context", "20")) == 0
    assert "68 requests sent" in capsys.readouterr().out
    assert main(words(study, tmp_path, "--features", "0:4")) == 2
    assert "holds results made with context = 20, this run has 16; choose another --out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (["--features", "0:99"], 2, "feature 98: this cache holds features 0 … 12"),
        (["--features", "3", "--n-features", "2"], 2, "give either features or n_features, not both"),
        (["--client", "antropic/claude"], 2, "'antropic'"),
        (["--client", "anthropic/claude-haiku-4-5"], 1, "set ANTHROPIC_API_KEY"),
        (["--sampler", "topp"], 2, "unknown sampler 'topp'"),
        (["--test-sampler", "tp"], 2, "unknown sampler 'tp'"),
        (["--negatives", "random,misses"], 2, "unknown negatives 'misses'"),
        (["--negatives", "neighbour"], 2, "need neighbours="),
        (["--negatives", "neighbour", "--neighbours", "none.npy"], 1, "none.npy: expected a .npy array"),
        (["--negatives", "family", "--family", "pfam"], 2, "no metadata column 'pfam'"),
        (["--split-by", "pfam"], 2, "no metadata column 'pfam'"),
        (["--in-flight", "0"], 2, "must be positive"),
        (["--features-in-flight", "0"], 2, "features_in_flight 0: must be at least 1"),
        (["--cache", "nowhere"], 1, "expected an activation cache"),
    ],
)
def test_what_cannot_be_run_is_said_in_a_line(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], code: int, said: str
) -> None:
    assert main(words(study, tmp_path / "out", *more)) == code
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert said in error


def test_the_loader_is_the_one_that_the_flags_describe(study: Path, tmp_path: Path) -> None:
    near = np.array([[(i + 1) % (N + 1)] for i in range(N + 1)])
    np.save(tmp_path / "near.npy", near)
    flags = ["--sampler", "even", "--test-sampler", "importance", "--negatives", "random, neighbour"]
    out = tmp_path / "out"
    assert main(words(study, out, "--features", "0:2", *flags, "--neighbours", f"{tmp_path}/near.npy")) == 0
    loader = make_loader(config_of(out))
    found = loader.settings
    assert (found["sampler"], found["test_sampler"]) == ("even", "importance")
    assert found["negatives"] == ["random", "neighbour"]
    np.testing.assert_array_equal(loader.neighbours, near)
    with RunStore.open(out, readonly=True) as store:
        for row in store.scores().to_pylist():
            assert json.loads(row["metrics"])["by_kind"].keys() == {"activating", "random", "neighbour"}


def test_what_auto_came_to_is_written_down_and_can_be_read_again(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(study, tmp_path, "--features", "0:3", "--answers", "auto", "--order", "auto")) == 0
    config = config_of(tmp_path)
    assert (config.answers, config.order) == ("graded", "explanation-first")
    with RunStore.open(tmp_path, readonly=True) as store:
        assert {row["scorer"] for row in store.scores().to_pylist()} == {
            "detection@2?answers=graded",
            "fuzzing@2?answers=graded",
        }
    capsys.readouterr()
    assert main(["reparse", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "3 explanations read again, 0 changed" in said
    assert "stay as they are" not in said


def test_what_one_scorers_auto_came_to_is_written_down(study: Path, tmp_path: Path) -> None:
    scorers = ["--scorers", "detection, simulation?answers=auto"]
    assert main(words(study, tmp_path, "--features", "0:2", "--no-nulls", *scorers)) == 0
    assert config_of(tmp_path).scorers == "detection, simulation?answers=numbers"
    with RunStore.open(tmp_path, readonly=True) as store:
        assert {row["scorer"] for row in store.scores().to_pylist()} == {"detection@2", "simulation@1"}


@pytest.mark.parametrize(
    ("kind", "level", "facts", "explainer", "scorers"),
    [
        ("protein", "token", {"keywords": "Zinc"}, "residue", "detection,fuzzing"),
        ("protein", "token", {"plate": "B7"}, "default", "detection,fuzzing"),
        ("protein", "sequence", {"keywords": "Zinc"}, "protein-metadata", "detection,prediction"),
        ("protein", "sequence", {}, "default", "detection,prediction"),
        ("text", "token", {"keywords": "Zinc"}, "default", "detection,fuzzing"),
        ("text", "sequence", {}, "default", "detection,prediction"),
    ],
)
def test_what_is_not_said_suits_the_corpus_and_the_level(
    tmp_path: Path, kind: str, level: str, facts: dict[str, str], explainer: str, scorers: str
) -> None:
    from tests.doubles import FakeSubject, make_corpus, random_proteins, write_cache

    texts = random_proteins(4, (20, 20))
    columns = {name: [value] * 4 for name, value in facts.items()}
    corpus = make_corpus(tmp_path / "corpus", texts, kind=kind, **columns)
    n = 4 if level == "sequence" else sum(len(t.ids) for t in FakeSubject(kind).tokenize(texts))
    write_cache(tmp_path / "cache", np.ones((n, 2), np.float32), corpus, level=level)
    config = run_command.Config(tmp_path / "cache", tmp_path / "corpus", tmp_path / "out")
    decided = run_command.decided(config)
    assert (decided.explainer, decided.scorers) == (explainer, scorers)
    said = dataclasses.replace(config, explainer="statistical", scorers="intruder")
    assert run_command.decided(said) == said
    assert run_command.decided(dataclasses.replace(config, activations=True)).explainer == "default"


def test_explainer_split_and_metadata_that_were_decided_are_written_down(study: Path, tmp_path: Path) -> None:
    more = ["--scorers", "prediction", "--metadata-at-test", "--split-by", "sequence", "--no-nulls"]
    assert main(words(study, tmp_path, "--features", "0:2", *more)) == 0
    config = config_of(tmp_path)
    assert (config.explainer, config.metadata_at_test, config.split_by) == ("residue", True, "sequence")
    with RunStore.open(tmp_path, readonly=True) as store:
        (scorer,) = {row["scorer"] for row in store.scores().to_pylist()}
        assert scorer == "prediction@1?metadata_at_test=1"
    assert make_loader(config).settings["split_by"] == "sequence"
    with pytest.raises(UsageError, match="--metadata-at-test is given, but DetectionScorer has no such setting"):
        run_command.make_plans(dataclasses.replace(config, scorers="detection"))


def test_neighbours_by_what_is_near(study: Path, tmp_path: Path) -> None:
    """By shared tokens and by a coder's vectors; a coder that was not cached is refused."""
    from autointerp.cache import ActivationCache
    from autointerp.coders import SparseCoder, save_coder
    from autointerp.features import co_occurring

    cache = ActivationCache.open(study / "cache")
    k = min(NEIGHBOURS, len(cache) - 1)
    config = dataclasses.replace(
        parse(run_command.Config, "run", words(study, tmp_path)[1:]),  # type: ignore[type-var]
        negatives="neighbour",
        neighbours="co-occurrence",
    )
    np.testing.assert_array_equal(make_loader(config).neighbours, co_occurring(cache, k))
    g = torch.Generator().manual_seed(0)
    encoder, decoder = torch.randn(2, len(cache), 5, generator=g)
    coder = SparseCoder("relu", encoder, torch.zeros(len(cache)), decoder, torch.zeros(5))
    save_coder(coder, tmp_path / "coder")
    with pytest.raises(UsageError, match="is not the coder of"):
        make_loader(dataclasses.replace(config, neighbours=f"decoder:{tmp_path}/coder"))
    manifest = json.loads((study / "cache/cache.json").read_text())
    shutil.copytree(study / "cache", tmp_path / "cache")
    manifest["coder"] = {"digest": coder.digest}
    (tmp_path / "cache/cache.json").write_text(json.dumps(manifest))
    for kind, vectors in (("decoder", decoder), ("encoder", encoder)):
        near = dataclasses.replace(config, cache=tmp_path / "cache", neighbours=f"{kind}:{tmp_path}/coder")
        units = (vectors / vectors.norm(dim=1, keepdim=True)).double().numpy()
        cosine = units @ units.T
        np.fill_diagonal(cosine, -2)
        np.testing.assert_array_equal(make_loader(near).neighbours, np.argsort(-cosine, 1)[:, :k])


def test_a_draw_of_eligible_features(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(study, tmp_path, "--n-features", str(N))) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert f"{N} explained" in first


def test_a_corpus_that_was_not_cached_is_refused(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.doubles import make_corpus

    make_corpus(tmp_path / "other", ["ACD", "EFG"])
    assert main(words(study, tmp_path / "out", "--corpus", f"{tmp_path}/other")) == 2
    assert "give the corpus that was cached" in capsys.readouterr().err


def test_a_run_under_way_is_not_run_twice(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import os

    with RunStore.open(tmp_path):
        assert main(words(study, tmp_path)) == 2
    assert f"another process (number {os.getpid()}) is running this study" in capsys.readouterr().err
