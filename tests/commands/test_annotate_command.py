"""``autointerp annotate`` as a user types it: on the package's own model, with a coder of its own."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from autointerp.annotating import FeatureTables, annotate, load_studied
from autointerp.cache import ActivationCache
from autointerp.coders import SparseCoder, save_coder
from autointerp.commands import main
from autointerp.commands.annotate import ranges
from autointerp.corpus import Corpus
from autointerp.errors import UsageError
from tests.doubles import make_corpus, random_proteins
from tests.report.studies import fill, judged, trials

N = 40


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Corpus, coder, cache of the planted model, and a run with explanations of features 0 to 4."""
    folder = tmp_path_factory.mktemp("study")
    make_corpus(folder / "corpus", [*random_proteins(12, (20, 60)), "M" * 1100])
    g = torch.Generator().manual_seed(0)
    encoder = torch.randn((N, 96), generator=g)
    metadata = {"subject": "planted-esm", "hook": "layer:2", "level": "token"}
    save_coder(
        SparseCoder("topk", encoder, torch.zeros(N), encoder.clone(), torch.zeros(96), k=3, metadata=metadata),
        folder / "coder",
    )
    words = f"cache --subject planted-esm --hook layer:2 --coder {folder}/coder --corpus {folder}/corpus"
    assert main([*words.split(), "--out", str(folder / "cache")]) == 0
    rng = np.random.default_rng(0)
    run = fill(folder / "run", [judged(f, "detection@2", trials(rng, 0.8)) for f in range(5)], text="fires on <x>")
    (run / "run.toml").write_text(f'[run]\ncache = "{folder}/cache"\ncorpus = "{folder}/corpus"\n')
    return folder


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["annotate", *words]) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def test_what_was_cached_is_found_again(study: Path) -> None:
    cache, corpus = ActivationCache.open(study / "cache"), Corpus.open(study / "corpus")
    studied = load_studied(study / "run")
    assert (studied.subject.name, studied.hook, studied.level) == ("planted-esm", "layer:2", "token")
    found = annotate(corpus.texts(range(13)), studied.subject, studied.coder, FeatureTables.open(study / "run"))
    dense = np.zeros((cache.n_tokens, N), np.float32)
    for feature, tokens, values in cache.features():
        dense[tokens, feature] = values
    for row, one in enumerate(found):
        own = dense[cache.offsets[row] : cache.offsets[row + 1]]
        assert {f.feature for f in one.firings} == set(np.flatnonzero(own.any(0)).tolist())
        for firing in one.firings:
            column = own[:, firing.feature]
            assert firing.positions.tolist() == np.flatnonzero(column).tolist()
            assert np.allclose(firing.values, column[column > 0], rtol=2e-3)
            assert firing.share == pytest.approx(firing.max / cache.statistics["max"][firing.feature], rel=1e-5)


def test_fasta_and_sequences_as_tsv(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "some.fasta.gz").write_bytes(gzip.compress(b">sp|P1|X_Y some protein\nMKVL\nAAGIVG*\n>b\nWWCC\n"))
    words = (str(tmp_path / "some.fasta.gz"), "--sequence", "mkvl aagivg", "--run", str(study / "run"), "--all")
    rows = [line.split("\t") for line in said(capsys, *words, "--min-share", "0").splitlines()]
    assert list(dict.fromkeys(row[0] for row in rows)) == ["sequence", "P1", "b", "sequence-1"]
    by = {name: [row[1:] for row in rows if row[0] == name] for name in ("P1", "sequence-1")}
    assert by["P1"] == by["sequence-1"]
    told = {int(row[1]): row[9] for row in rows[1:]}
    assert {feature for feature, text in told.items() if text} <= set(range(5))
    assert set(told.values()) <= {"", "fires on <x>"}


def test_json_into_a_file(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--sequence", "MKVLAAGIVGWWCC", "--run", str(study / "run"), "--positions", "3-5,9", "--min-share", "0")
    out = tmp_path / "new" / "a.json"
    assert said(capsys, *words, "--out", str(out), "--top", "2", "--by", "activation") == f"wrote {out}\n"
    (one,) = json.loads(out.read_text())["sequences"]
    assert len(one["features"]) == 2
    assert {p for f in one["features"] for p in f["positions"]} <= {2, 3, 4, 8}


def test_html_into_a_file(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--sequence", "MKVLAAGIVGWWCC", "--run", str(study / "run"), "--out", str(tmp_path / "a.html"))
    said(capsys, *words, "--min-share", "0", "--features", "0:5")
    source = (tmp_path / "a.html").read_text()
    assert "fires on &lt;x&gt;" in source
    assert "fires on <x>" not in source


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--sequence MKV", "--run is missing"),
        ("--run {run}", "nothing to annotate"),
        ("--run {run} --text hello", "--text is for text models"),
        ("--run {run} --sequence MK1", "sequence sequence-1 holds '1'"),
        ("--run {run} --sequence MKV --positions 5-3", "--positions 5-3"),
        ("--run {run} --sequence MKV --coverage 1", "--coverage 1: give two shares"),
        ("--run {run} nowhere.fasta", "no such file: nowhere.fasta"),
        ("--run {run} --sequence MKV --coder random?n_features=40&k=3", "is not that of the run's cache"),
    ],
)
def test_wrong_words(study: Path, capsys: pytest.CaptureFixture[str], words: str, message: str) -> None:
    assert main(["annotate", *words.format(run=study / "run").split()]) == 2
    assert message in capsys.readouterr().err


def test_a_run_that_names_no_coder(study: Path, tmp_path: Path) -> None:
    run = fill(tmp_path / "elsewhere" / "run", [])
    with pytest.raises(UsageError, match="give --subject"):
        load_studied(run)
    with pytest.raises(UsageError, match="give --coder"):
        load_studied(run, subject="planted-esm")
    studied = load_studied(run, "planted-esm", str(study / "coder"))
    assert studied.hook == "layer:2"


def test_ranges_count_from_one() -> None:
    assert ranges("10-40,77") == ((9, 40), (76, 77))
    assert ranges(None) == ()


def test_a_text_model(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.doubles import FakeSubject, fake_coder

    run = fill(tmp_path / "run", [])
    coder = fake_coder(20)
    studied: Any = type("S", (), {"subject": FakeSubject("text"), "coder": coder, "hook": "layer:1", "level": "token"})
    monkeypatch.setattr("autointerp.annotating.load_studied", lambda *a, **k: studied)
    (tmp_path / "texts.txt").write_text("the cat sat\n\non the mat\n")
    words = (str(tmp_path / "texts.txt"), "--text", "naïve", "--run", str(run), "--min-share", "0", "--format", "json")
    found = json.loads(said(capsys, *words))["sequences"]
    assert [(one["id"], "".join(one["tokens"])) for one in found] == [
        ("line-1", "the cat sat"), ("line-2", "on the mat"), ("text-1", "naïve")
    ]  # fmt: skip
    assert main(["annotate", "--sequence", "MKV", "--run", str(run)]) == 2
    assert "--sequence is for protein models" in capsys.readouterr().err
