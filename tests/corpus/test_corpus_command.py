from __future__ import annotations

from pathlib import Path

import pytest

from autointerp.commands import main
from autointerp.corpus import Corpus


def test_import_prints_what_was_kept_and_what_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")  # no MMseqs2
    source, out = tmp_path / "a.tsv", tmp_path / "out"
    source.write_text("Entry\tOrganism\tSequence\tHelix\tChain\n"
        "A\tX y\tMKVLAWYT\tHELIX 1..3; HELIX ?..5\tCHAIN 1..8\nB\tX y\tMKVLAWYT\t\t\nC\tZ\tMK\t\t\n")  # fmt: skip
    command = ["corpus", "import", str(source), "--out", str(out), "--organism", "x Y"]
    assert main(command) == 0
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    assert ["read", "3 sequences"] in lines
    assert ["kept", "1 sequences, 8 residues"] in lines
    assert ["skipped", "1 duplicate of an earlier sequence"] in lines
    assert ["1", "another organism"] in lines
    assert ["groups", "1 by identity, the largest of 1"] in lines
    assert ["1", "Helix"] in lines
    assert ["not", "read     1 unknown position (?)"] in lines
    assert ["1", "not a label: Chain"] in lines
    assert Corpus.open(out).ids == ["A"]

    assert main(command) == 2
    assert "holds a corpus already" in capsys.readouterr().err
    assert main([*command, "--overwrite", "--group-by", "none"]) == 0
    assert Corpus.open(out).manifest["grouping"] == {"by": "none"}


def test_separator_escapes_and_study_file(tmp_path: Path) -> None:
    source, out = tmp_path / "a.txt", tmp_path / "out"
    source.write_text("one\ntwo\nthree\n")
    study = tmp_path / "study.toml"
    study.write_text(f'[corpus]\nsource = "{source}"\nout = "{out}"\nseparator = "\\\\n"\n')
    assert main(["corpus", "import", "--config", str(study)]) == 0
    corpus = Corpus.open(out)
    assert corpus.texts(range(3)) == ["one", "two", "three"]


def test_errors_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "a.tsv"
    bad.write_text("Entry\tName\nA\tB\n")
    assert main(["corpus", "import", str(bad), "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error == f"error: {bad}: expected a UniProt table with a column Sequence; found columns Entry, Name"
    assert main(["corpus", "import", str(tmp_path / "no.tsv"), "--out", str(tmp_path / "out")]) == 2
