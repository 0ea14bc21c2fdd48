"""``autointerp export`` and ``autointerp import`` as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from autointerp.commands import main
from tests.export.conftest import run

__all__ = ["run"]


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(list(words)) == 0, capsys.readouterr().err
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("format", "message", "file"),
    [
        (
            "neuronpedia",
            "wrote 2 features, 3 activations, 3 explanations, 2 scores",
            "fake-protein/1-mine/source.jsonl",
        ),
        ("delphi", "wrote 2 explanations, 2 scores", "explanations/layer.1_latent0.txt"),
        ("saedashboard", "wrote 2 features, 3 activations", "batch-0.json"),
        ("csv", "wrote 3 features, 4 scores", "features.csv"),
        ("parquet", "wrote 3 features, 4 scores", "scores.parquet"),
        ("residues", "wrote 2 regions", "residues.tsv"),
        ("gff3", "wrote 2 regions", "residues.gff3"),
    ],
)
def test_every_format(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], format: str, message: str, file: str
) -> None:
    words = ["export", str(run), "--format", format, "--out", str(tmp_path / "out"), "--source-set", "mine"]
    assert message in said(capsys, *words, "--context", "4")
    assert (tmp_path / "out" / file).exists()


def test_export_and_import(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, "export", str(run), "--format", "neuronpedia", "--out", str(tmp_path / "np"), "--features", "0,2")
    told = said(capsys, "import", str(tmp_path / "np"), "--out", str(tmp_path / "back"))
    assert told.startswith("read 3 explanations, 2 scores and ")
    assert "detection" in said(capsys, "report", str(tmp_path / "back"))
    said(capsys, "export", str(run), "--format", "delphi", "--out", str(tmp_path / "delphi"))
    (tmp_path / "delphi/explanations/layer.1_latent9.txt").write_text(json.dumps("Explanation could not be parsed."))
    told = said(capsys, "import", str(tmp_path / "delphi"), "--out", str(tmp_path / "from"))
    assert "left out: 1 explanations: delphi could not read the reply" in told


def test_wrong_words(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(run), "--format", "tsv", "--out", str(tmp_path)]) == 2
    assert main(["export", str(run), "--format", "neuronpedia", "--out", str(tmp_path), "--context", "0"]) == 2
    assert "--context 0: must be at least 1" in capsys.readouterr().err
    assert main(["import", str(tmp_path), "--out", str(tmp_path / "x")]) == 1
    assert "expected a Neuronpedia export" in capsys.readouterr().err
