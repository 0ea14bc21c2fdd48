from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest

from autointerp.commands import main
from tests.doubles import FakeSubject, make_corpus, random_documents, random_proteins, write_cache

PAINTED = re.compile(r"\x1b\[48;2;(\d+);(\d+);(\d+);38;2;0;0;0m(.*?)\x1b\[0m")


def shown(capsys: pytest.CaptureFixture[str], folder: Path, feature: int, *more: str) -> list[str]:
    words = ["inspect", f"{folder}/cache", "--corpus", f"{folder}/corpus", "--feature", str(feature), *more]
    assert main(words) == 0
    return capsys.readouterr().out.splitlines()


def make(folder: Path, kind: str, level: str = "token", seed: int = 0) -> tuple[np.ndarray, list[str], list[list[str]]]:
    """A cache of distinct activations; returns them dense, the texts, and each text in tokens."""
    rng = np.random.default_rng(seed)
    texts = random_proteins(12, (1, 40), seed) if kind == "protein" else random_documents(12, seed=seed)
    corpus, subject = make_corpus(folder / "corpus", texts, kind=kind), FakeSubject(kind)
    pieces = []
    for text, tokens in zip(texts, subject.tokenize(texts), strict=True):
        ends = range(1, len(text) + 1) if tokens.ends is None else tokens.ends.tolist()
        pieces.append([text[a:b] for a, b in zip([0, *ends], ends, strict=False)])
    n = len(texts) if level == "sequence" else sum(map(len, pieces))
    dense = (rng.permutation(n * 3).reshape(n, 3) + 1) / 8 * (rng.random((n, 3)) < 0.3)
    dense[:, 2] = 0
    write_cache(folder / "cache", dense, corpus, subject, level=level)
    return dense, texts, pieces


def printable(text: str) -> str:
    return "".join("⏎" if c == "\n" else c if c.isprintable() else "·" for c in text)


@pytest.mark.parametrize("kind", ["protein", "text"])
@pytest.mark.parametrize("context", [1, 2, 3, 6, 500])
def test_contexts_are_the_strongest_that_share_no_token(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, context: int
) -> None:
    dense, _, pieces = make(tmp_path, kind)
    lines = shown(capsys, tmp_path, 1, "--context", str(context), "--n", "40")
    column = dense[:, 1]
    assert lines[0].startswith(f"feature 1: fires on {(column > 0).sum()} of {len(column)} tokens")
    assert lines[1] == f"max {column.max():.4g}, mean {column[column > 0].mean():.4g} where it fires"
    place = [(row, i) for row, tokens in enumerate(pieces) for i in range(len(tokens))]
    covered: set[tuple[int, int]] = set()
    expected = []
    for flat in np.argsort(-column)[: (column > 0).sum()].tolist():
        row, i = place[flat]
        start = max(min(i - context // 2, len(pieces[row]) - context), 0)
        stop = min(start + context, len(pieces[row]))
        span = {(row, j) for j in range(start, stop)}
        if len(expected) < 80 and not span & covered:
            covered |= span
            base = flat - i
            runs = ""
            for j in range(start, stop):
                now, before = bool(column[base + j]), j > start and bool(column[base + j - 1])
                runs += "«" * (now and not before) + "»" * (before and not now) + printable(pieces[row][j])
            runs += "»" * bool(column[base + stop - 1] > 0)
            expected += [f"{column[flat]:>8.4g}  s{row}, tokens {start + 1}–{stop}", " " * 10 + runs]
    assert lines[2:] == expected


def test_colour_is_the_activation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dense, _, pieces = make(tmp_path, "protein")
    lines = shown(capsys, tmp_path, 0, "--context", "500", "--n", "1", "--color")
    row = int(re.findall(r"s(\d+)", lines[2])[0])
    base = sum(map(len, pieces[:row]))
    values = dense[base : base + len(pieces[row]), 0]
    assert PAINTED.sub(r"\4", lines[3]).strip() == "".join(pieces[row])
    painted = PAINTED.findall(lines[3])
    assert "".join(p[3] for p in painted) == "".join(p for p, v in zip(pieces[row], values, strict=True) if v)
    blue = [int(p[2]) for p in painted]  # from 170 down to 0
    np.testing.assert_allclose(blue, 170 - 170 * values[values > 0] / dense[:, 0].max(), atol=0.5)


@pytest.mark.parametrize(("terminal", "no_color", "flag", "expected"), [
    (False, "", [], False), (True, "", [], True), (True, "1", [], False), (True, "1", ["--color"], True),
    (False, "", ["--color"], True),
])  # fmt: skip
def test_when_there_is_colour(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    terminal: bool,
    no_color: str,
    flag: list[str],
    expected: bool,
) -> None:
    make(tmp_path, "protein")
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    assert ("\x1b[" in "".join(shown(capsys, tmp_path, 0, *flag))) == expected


def test_level_sequence_shows_whole_sequences(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dense, texts, _ = make(tmp_path, "protein", "sequence")
    lines = shown(capsys, tmp_path, 1, "--n", "2", "--context", "20")
    best = np.argsort(-dense[:, 1])[:2].tolist()
    assert [line.split(",")[0].split() for line in lines[2::2]] == [[f"{dense[r, 1]:.4g}", f"s{r}"] for r in best]
    assert [line.strip() for line in lines[3::2]] == [f"«{texts[r][:20]}»" for r in best]


def test_no_escape_sequence_of_a_corpus_gets_through(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = make_corpus(tmp_path / "corpus", ["a \x1b[2J b\n"], kind="text")
    subject = FakeSubject("text")
    n = len(subject.tokenize(corpus.texts([0]))[0].ids)
    write_cache(tmp_path / "cache", np.eye(n, 1), corpus, subject, n_shards=1)
    assert shown(capsys, tmp_path, 0)[-1].strip() == "«a» ·[2J b⏎"


def test_a_dead_feature(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dense, *_ = make(tmp_path, "protein")
    assert shown(capsys, tmp_path, 2) == [f"feature 2: fires on 0 of {len(dense)} tokens (0.000%)"]


def test_wrong_uses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(tmp_path, "protein")
    make(tmp_path / "other", "protein", seed=1)
    cache = ["inspect", f"{tmp_path}/cache", "--feature", "1"]
    for words, said in (
        (cache, "--feature needs --corpus DIR"),
        ([*cache, "--corpus", f"{tmp_path}/other/corpus"], "give the corpus that was cached"),
        ([*cache, "--corpus", f"{tmp_path}/corpus", "--n", "0"], "must be at least 1"),
        ([*cache[:3], "7", "--corpus", f"{tmp_path}/corpus"], "this cache holds features 0 … 2"),
    ):
        assert main(words) == 2
        assert said in capsys.readouterr().err
