from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from autointerp.commands import main
from autointerp.scorers import DetectionScorer
from tests.studies import MOTIFS, N_NOISE, planted_loader


def inspect(capsys: pytest.CaptureFixture[str], path: Path, *more: str) -> dict[str, str]:
    assert main(["inspect", str(path), *more]) == 0
    lines = capsys.readouterr().out.splitlines()
    return dict(re.split(r"\s{2,}", line, maxsplit=1) for line in lines if "  " in line)


def test_a_corpus(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = inspect(capsys, study / "corpus")
    assert facts["corpus"] == f"{study}/corpus (protein)"
    assert facts["sequences"] == "240, 11,520 characters (median 48, longest 48)"
    assert facts["groups"] == "240, the largest of 1"
    assert (facts["metadata"], facts["annotations"]) == ("keywords", "none")
    assert len(facts["digest"]) == 32


def test_a_cache(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = inspect(capsys, study / "cache")
    loader = planted_loader(study)
    counts = [len(loader.cache[f][0]) for f in range(len(loader))]
    assert facts["cache"] == f"{study}/cache, level token"
    assert facts["subject"] == "fake-protein at layer:1, float32"
    assert facts["tokens"] == "11,520 in 240 sequences"
    assert facts["activations"].startswith(f"{sum(counts):,} (")
    assert facts["features"] == f"{len(MOTIFS) + N_NOISE} alive, 1 dead, 0 fire on more than 10 %"


def test_frequencies_and_top_features(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(study / "cache")]) == 0
    lines = capsys.readouterr().out.splitlines()
    cache = planted_loader(study).cache
    counts = np.array([len(cache[f][0]) for f in range(cache.n_features)])
    peaks = np.array([cache[f][1].max(initial=0) for f in range(cache.n_features)])
    first = next(i for i, line in enumerate(lines) if line.startswith("frequency"))
    found = {}
    for line in lines[first + 1 :]:
        if match := re.match(r" +10\^(\S+) +… 10\^(\S+) +(\d+)", line):
            low, high, n = (float(x) for x in match.groups())
            found[low] = n
            share = counts[counts > 0] / cache.n_tokens
            assert n == ((share >= 10**low) & (share < 10**high)).sum()
    assert sum(found.values()) == (counts > 0).sum()
    assert lines[first + 1].count("█") <= 40
    assert max(line.count("█") for line in lines) == 40
    for name, key in (("most frequent", counts), ("strongest", peaks)):
        start = next(i for i, line in enumerate(lines) if line.startswith(name))
        shown = [line.removeprefix(name).split() for line in lines[start : start + 5]]
        expected = sorted(range(len(key)), key=lambda f: (-key[f], f))[:5]
        assert [int(words[0]) for words in shown] == expected
        assert [float(words[-1]) for words in shown] == [float(f"{peaks[f]:.4g}") for f in expected]
        assert [words[1] for words in shown] == [f"{counts[f] / cache.n_tokens:.3%}" for f in expected]


def test_verify_finds_damage(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(shutil.copytree(study / "cache", tmp_path / "cache"))
    assert main(["inspect", str(folder), "--verify"]) == 0
    assert capsys.readouterr().out.endswith("every file matches its checksum\n")
    shard = sorted((folder / "shards").iterdir())[0]
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    assert main(["inspect", str(folder), "--verify"]) == 1
    assert shard.name in capsys.readouterr().out.splitlines()[-1]
    assert main(["inspect", str(study / "corpus"), "--verify"]) == 1
    assert "expected an activation cache" in capsys.readouterr().err


def test_a_run(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--min-examples", "5", "--n-explain", "12", "--n-test", "10", "--context", "16", "--features", "0,1,12"]
    out = tmp_path / "run"
    assert main(["run", "--cache", f"{study}/cache", "--corpus", f"{study}/corpus", "--out", str(out), *words]) == 0
    capsys.readouterr()
    facts = inspect(capsys, out)
    assert facts["explanations"] == "2 (0 failed), 1 features skipped"
    detection = DetectionScorer().id
    assert facts[detection] == "median 1.000 over 2 features"
    assert facts[f"{detection} null"].endswith("over 2 features")
    assert re.fullmatch(r"(\d+) sent, \1 answered, 0 failed", facts["requests"])
    assert facts["spend"] == "$0.0000 confirmed"


def test_a_coder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from autointerp.coders import save_coder
    from tests.doubles import fake_coder

    coder = fake_coder(20, k=4)
    save_coder(coder, tmp_path / "coder")
    facts = inspect(capsys, tmp_path / "coder")
    assert facts["coder"] == f"{tmp_path}/coder (topk)"
    assert facts["shape"] == "12 → 20 features → 12, k 4"
    assert facts["digest"] == coder.digest


def test_an_unfinished_cache(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import json

    folder = Path(shutil.copytree(study / "cache", tmp_path / "cache"))
    manifest = json.loads((folder / "cache.json").read_text())
    manifest |= {"complete": False, "blocks": [], "shards": []}
    (folder / "cache.json").write_text(json.dumps(manifest))
    assert main(["inspect", str(folder)]) == 1
    assert "run the same `autointerp cache` command again" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (lambda p: None, "no such folder"),
        (lambda p: p.mkdir(), "an empty folder"),
        (lambda p: (p.mkdir(), (p / "notes.txt").write_text("x"), (p / "b").mkdir()), "b, notes.txt"),
        (lambda p: p.write_text("x"), "a file"),
    ],
)
def test_a_foreign_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str], make: object, found: str) -> None:
    path = tmp_path / "thing"
    make(path)  # type: ignore[operator]
    assert main(["inspect", str(path)]) == 1
    assert capsys.readouterr().err == (f"error: {path}: expected a corpus, cache, coder or run folder; found {found}\n")


@pytest.mark.parametrize("marker", ["corpus.json", "cache.json", "coder.json", "run.db"])
@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"format": "other", "version": 1}'])
def test_a_marker_that_is_not_what_it_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], marker: str, content: str
) -> None:
    (tmp_path / marker).write_text(content)
    assert main(["inspect", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "expected" in error
    assert error.count("\n") == 1
