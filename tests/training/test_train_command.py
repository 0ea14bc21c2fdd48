"""``autointerp train`` on the package's own subject and a real folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from autointerp.coders import load_coder
from autointerp.commands import main


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import pyarrow as pa

    from autointerp.corpus import Corpus

    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), 60)) for _ in range(60)]
    table = pa.table({"id": [f"p{i}" for i in range(60)], "text": texts, "group": np.arange(60) // 2})
    folder = tmp_path_factory.mktemp("corpus")
    Corpus.write(folder, table, kind="protein", source={}, grouping={})
    return folder


def train(corpus: Path, out: Path, *further: str) -> int:
    sizes = ["--tokens", "2000", "--batch-size", "200", "--n-features", "64", "--k", "4", "--device", "cpu"]
    paths = ["--corpus", str(corpus), "--out", str(out), "--subject", "planted-esm"]
    return main(["train", "--hook", "layer:2", *paths, *sizes, *further])


def test_a_coder_is_written_and_described(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(corpus, tmp_path / "coder") == 0
    said = capsys.readouterr().out
    for line in ("64 features", "trained on    2,000 tokens, 1 epochs", "held out      120 tokens", "FVU  ", "L0  "):
        assert line in said
    coder = load_coder(tmp_path / "coder")
    assert (coder.n_features, coder.k, coder.architecture) == (64, 4, "topk")
    assert coder.metadata["hook"] == "layer:2"
    assert coder.metadata["context_length"] == 1022
    assert train(corpus, tmp_path / "coder") == 0
    assert capsys.readouterr().out == said


def test_a_short_context_is_enough(corpus: Path, tmp_path: Path) -> None:
    flags = ["--context-length", "20", "--level", "sequence", "--tokens", "40", "--batch-size", "20"]
    assert train(corpus, tmp_path, *flags) == 0


def test_wrong_settings_end_in_one_line(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for flags, message in (
        (["--k", "100"], "k 100: more than the 64 features"),
        (["--batch-size", "4000", "--tokens", "8000"], "fewer than a batch"),
        (["--level", "word"], "level"),
        (["--feature", "3"], "n-features"),
        (["--decay", "2"], "decay 2.0: must be at least 0 and below 1"),
    ):
        assert train(corpus, tmp_path, *flags) == 2
        said = capsys.readouterr().err.splitlines()[-1]
        assert said.startswith("error: ")
        assert message in said
    assert not list(tmp_path.iterdir())
