from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from autointerp.cache import ActivationCache
from autointerp.commands import main
from autointerp.corpus import Corpus
from tests.studies import planted_loader


def test_to_delphi_and_back(study: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The study's proteins have 48 residues: 1 context and 16 residues with contexts of 32."""
    words = ["--out", f"{tmp_path}/latents", "--hookpoint", "layers.1", "--ctx-len", "32", "--n-splits", "3"]
    assert main(["convert", f"{study}/cache", *words, "--tails", "drop"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{tmp_path}/latents/layers.1: 240 contexts of 32 tokens, ")
    assert "left out: 3,840 tokens of unfinished contexts" in out
    tokenizer = data / "models" / "esm2_t6_8M_UR50D_config_only"
    back = ["--out", f"{tmp_path}/cache", "--corpus", f"{tmp_path}/corpus", "--tokenizer", str(tokenizer)]
    assert main(["convert", f"{tmp_path}/latents/layers.1", *back]) == 0
    assert "7,680 in 240 sequences" in capsys.readouterr().out
    old, new = planted_loader(study).cache, ActivationCache.open(tmp_path / "cache")
    for feature, tokens, values in new.features():
        before, strengths = old[feature]
        kept = before % 48 < 32
        np.testing.assert_array_equal(tokens, before[kept] // 48 * 32 + before[kept] % 48)
        np.testing.assert_array_equal(values, strengths[kept])
    assert Corpus.open(tmp_path / "corpus").lengths.tolist() == [32] * 240
    assert main(["inspect", f"{tmp_path}/cache", "--verify"]) == 0
    assert main(["inspect", f"{tmp_path}/cache", "--corpus", f"{tmp_path}/corpus", "--feature", "1"]) == 0


def test_what_reading_needs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = ["convert", str(tmp_path), "--out", f"{tmp_path}/cache"]
    assert main(folder) == 2
    assert "--corpus DIR" in capsys.readouterr().err
    assert main([*folder, "--corpus", f"{tmp_path}/corpus"]) == 2
    assert "give --tokenizer" in capsys.readouterr().err


def test_the_protein_seeds_extraction(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from autointerp.coders import save_coder
    from tests.doubles import fake_coder

    save_coder(fake_coder(20, k=2), tmp_path / "coder")
    folder = tmp_path / "data"
    folder.mkdir()
    np.save(folder / "POOLING_activations_x.npy", np.array([[1, 0], [2, 3]], np.float32))
    np.save(folder / "POOLING_indices_x.npy", np.array([[5, 6], [7, 5]]))
    (folder / "POOLING_metadata_x.csv").write_text("sequence_id,sequence\nP1,ACDEF\nP2,WWYH\n")
    words = ["convert", str(folder), "--out", f"{tmp_path}/cache", "--corpus", f"{tmp_path}/corpus"]
    assert main(words) == 2
    assert "give --coder DIR" in capsys.readouterr().err
    assert main([*words, "--coder", f"{tmp_path}/coder", "--group-by", "none"]) == 0
    assert "2 alive, 18 dead" in capsys.readouterr().out
    tokens, values = ActivationCache.open(tmp_path / "cache")[5]
    assert (tokens.tolist(), values.tolist()) == ([0, 1], [1, 3])
