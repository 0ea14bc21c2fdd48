from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from autointerp.commands import main
from autointerp.corpus import Corpus
from tests.doubles import FakeSubject, make_corpus, random_proteins, write_cache


@pytest.fixture
def planted(tmp_path: Path) -> tuple[Path, Path]:
    """A helix at 5:15 of 60 proteins, in every third of which it is not annotated; feature 1 fires on it."""
    texts = random_proteins(60, (30, 30))
    rows = [(i, 5, 15, "Helix", "any", i) for i in range(60) if i % 3]
    corpus = make_corpus(tmp_path / "corpus", texts, annotations=rows)
    dense = np.zeros((1800, 2), np.float32)
    dense[np.arange(1800) % 30 == 1, 0] = 1
    dense[(np.arange(1800) % 30 >= 5) & (np.arange(1800) % 30 < 15), 1] = 1
    return write_cache(tmp_path / "cache", dense, corpus).path, corpus.path


def test_tables_summary_and_missing(planted: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    cache, corpus = planted
    out = corpus.parent / "out"
    assert main(["concepts", str(cache), "--corpus", str(corpus), "--out", str(out), "--missing"]) == 0
    said = capsys.readouterr().out
    assert "concepts     1 with a feature on valid" in said
    assert "F1 > 0.5     1 of 2 features, 1 concepts, on test" in said
    assert "missing      20 places without the label" in said
    best = pq.read_table(out / "concepts.parquet").to_pylist()
    assert [(r["feature"], r["concept"]) for r in best] == [(1, "Helix: any")]
    assert (out / "pairs.csv").read_text().count("\n") == 2
    assert len((out / "missing.csv").read_text().splitlines()) == 21


def test_patterns_and_interplm(planted: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    cache, corpus = planted
    command = ["concepts", str(cache), "--corpus", str(corpus), "--out", str(corpus.parent / "out")]
    assert main([*command, "--no-annotations", "--pattern", "start=^.", "last=.$"]) == 0
    assert "pattern: start" not in capsys.readouterr().out  # no feature fires on it
    assert main([*command, "--compat", "interplm"]) == 0
    assert "mean best F1" in capsys.readouterr().out


def test_text_with_tagged_words_a_table_and_a_pattern(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Part-of-speech tags and a table added by the command; features fire on verbs, on the table's regions, on digits.

    Tokens are pieces of up to three letters: a word's tokens are those that it touches."""
    texts = [f"the {'dog' if i % 2 else 'cat'} jumps over {i % 7}{i % 5} walls" for i in range(60)]
    corpus = make_corpus(tmp_path / "corpus", texts, kind="text")
    tags = {"the": "DET", "dog": "NOUN", "cat": "NOUN", "jumps": "VERB", "over": "ADP", "walls": "NOUN"}
    words = [f"s{i}\t{w}\t{tags.get(w, 'NUM')}" for i, text in enumerate(texts) for w in text.split()]
    (tmp_path / "pos.tsv").write_text("\n".join(words) + "\n")
    (tmp_path / "a.bed").write_text("".join(f"s{i}\t4\t7\tanimal\tKind\n" for i in range(60)))
    for table, more in (("pos.tsv", ["--format", "words", "--type", "POS"]), ("a.bed", [])):
        assert main(["corpus", "annotate", str(corpus.path), str(tmp_path / table), *more]) == 0
    subject = FakeSubject("text")
    shown = [[t[a:b] for a, b in pairwise([0, *x.ends.tolist()])]
             for t, x in zip(texts, subject.tokenize(texts), strict=True)]  # fmt: skip
    tokens = [piece.strip() for pieces in shown for piece in pieces]
    columns = [
        [t in ("jum", "ps") for t in tokens],
        [t in ("dog", "cat") for t in tokens],
        [t.isdigit() for t in tokens],
    ]
    cache = write_cache(tmp_path / "cache", np.array(columns, np.float32).T, Corpus.open(corpus.path), subject)
    out = tmp_path / "out"
    args = ["concepts", str(cache.path), "--corpus", str(corpus.path), "--out", str(out), "--pattern", r"number=\d+"]
    assert main(args) == 0
    best = {r["concept"]: (r["feature"], r["f1"]) for r in pq.read_table(out / "concepts.parquet").to_pylist()}
    expected = {"POS: VERB": 0, "Kind: animal": 1, "POS: NUM": 2, "pattern: number": 2}
    assert {name: best[name] for name in expected} == {name: (feature, 1.0) for name, feature in expected.items()}
    assert best["POS: NOUN"] == (1, pytest.approx(2 / 3))  # one of two nouns of each text
    assert main(["probes", *args[1:], "--no-states", "--min-instances", "5"]) == 0
    assert "probes.parquet" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--no-annotations"], "no annotations; import"),
        (["--pattern", "A"], "give NAME=REGEX"),
        (["--parts", "1,2"], "three shares"),
        (["--part-column", "side"], "no metadata column 'side'"),
        (["--min-instances", "1000"], "the most is"),
        (["--uniprot", "x.tsv"], "--uniprot is for --compat interplm"),
        (["--compat", "interplm", "--uniprot", "x.tsv"], "x.tsv"),
    ],
)
def test_what_cannot_be_done(
    planted: tuple[Path, Path], capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    cache, corpus = planted
    assert main(["concepts", str(cache), "--corpus", str(corpus), "--out", str(corpus.parent / "out"), *options]) == 2
    assert message in capsys.readouterr().err
