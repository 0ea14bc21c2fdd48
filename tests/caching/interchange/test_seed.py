from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from autointerp.corpus import Corpus
from autointerp.errors import AutointerpError, FormatError, UsageError
from autointerp.features import FeatureLoader
from caching.interchange import is_pooled, read_pooled, seed
from tests.doubles import brute_statistics, fake_coder, random_proteins

SUFFIX = "_time17_ckptRegular_esmLayer3_maxsamples40"
CODER = fake_coder(30, k=4)


def extract(folder: Path, n: int = 40, k: int = 4, m: int = 30) -> tuple[np.ndarray, list[str]]:
    """What the protein seed's script writes; returns the codes, dense, and the sequences."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    indices = np.stack([rng.permutation(m - 1)[:k] for _ in range(n)])  # the last feature is dead
    values = np.maximum(rng.normal(1, 1, (n, k)), 0).astype(np.float32)  # ReLU leaves zeros
    dense = np.zeros((n, m), np.float32)
    np.put_along_axis(dense, indices, values, 1)
    texts = random_proteins(n, (5, 30))
    np.save(folder / f"POOLING_embeddings{SUFFIX}.npy", rng.normal(size=(n, 12)).astype(np.float32))
    np.save(folder / f"POOLING_activations{SUFFIX}.npy", values)
    np.save(folder / f"POOLING_indices{SUFFIX}.npy", indices.astype(np.int64))
    with open(folder / f"POOLING_metadata{SUFFIX}.csv", "w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["sample_idx", "sequence_id", "sequence", "sequence_length", "length", "protein_names"])
        for i, text in enumerate(texts):
            writer.writerow([i, f"P{i}", text, len(text), len(text), "" if i == 3 else f'Kinase "β", {i}\nEC 2.7'])
    return dense, texts


@pytest.mark.parametrize("block", [4, 31, 1 << 21])
def test_an_extraction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(seed, "BLOCK", block)
    dense, texts = extract(tmp_path / "data")
    assert is_pooled(tmp_path / "data")
    cache = read_pooled(
        tmp_path / "data", tmp_path / "cache", tmp_path / "corpus", CODER, group_by="none", shard_activations=20
    )
    corpus = Corpus.open(tmp_path / "corpus")
    assert (cache.level, cache.complete, cache.verify()) == ("sequence", True, [])
    for feature, rows, values in cache.features():
        np.testing.assert_array_equal(rows, np.flatnonzero(dense[:, feature]))
        np.testing.assert_array_equal(values, dense[rows, feature])
    offsets = np.concatenate([[0], np.cumsum([len(t) for t in texts])])
    np.testing.assert_array_equal(cache.offsets, offsets)
    for name, expected in brute_statistics(dense, offsets, "sequence").items():
        np.testing.assert_allclose(cache.statistics[name], expected, rtol=1e-6, err_msg=name)
    assert corpus.texts(range(len(corpus))) == texts
    assert corpus.ids == [f"P{i}" for i in range(len(texts))]
    assert corpus.metadata_columns == ("protein_names",)
    assert corpus.metadata(4) == {"protein_names": 'Kinase "β", 4\nEC 2.7'}
    assert corpus.metadata(3) == {"protein_names": None}
    assert cache.manifest["coder"] == {"digest": CODER.digest, "architecture": "topk", "d_in": 12, "k": 4}
    busiest = int(np.argmax((dense > 0).sum(0)))
    record = FeatureLoader(cache, corpus, n_explain=2, n_test=2, n_non_activating=2, min_examples=1)[busiest]
    for example in (*record.explain.positives, *record.test.positives):
        assert example.text == texts[example.sequence]
        assert example.peak == dense[example.sequence, busiest]
    esm = {letter: i for i, letter in enumerate("LAGVSERTIDPKQNFYMHWC", 4)}  # ids of ESM-2's alphabet
    assert cache.tokens.tolist() == [esm[letter] for letter in "".join(texts)]


def test_homologues_share_a_group_by_default(tmp_path: Path) -> None:
    extract(tmp_path / "data", n=3)
    path = tmp_path / "data" / f"POOLING_metadata{SUFFIX}.csv"
    one, other = random_proteins(2, (60, 60))
    path.write_text(f"sequence_id,sequence\na,{one}\nb,{other}\nc,{one[:-1]}A\n")
    read_pooled(tmp_path / "data", tmp_path / "cache", tmp_path / "corpus", CODER)
    groups = Corpus.open(tmp_path / "corpus").groups.tolist()
    assert (groups[0] == groups[2], groups[0] == groups[1]) == (True, False)


def array(name: str, change: Callable[[np.ndarray], np.ndarray | None]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = folder / f"POOLING_{name}{SUFFIX}.npy"
        content = np.load(path)
        changed = change(content)
        np.save(path, content if changed is None else changed)

    return damage


def text(change: Callable[[str], str]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = folder / f"POOLING_metadata{SUFFIX}.csv"
        path.write_text(change(path.read_text()))

    return damage


@pytest.mark.parametrize(("damage", "error", "said"), [
    (array("activations", lambda a: a.__setitem__((0, 0), -1)), FormatError, "activations after ReLU; found -1"),
    (array("activations", lambda a: a.__setitem__((0, 0), np.nan)), FormatError, "activations after ReLU"),
    (array("activations", lambda a: a[0]), FormatError, "two-dimensional"),
    (array("indices", lambda a: a.__setitem__((0, 0), 30)), UsageError, "the coder has 30: give the coder"),
    (array("indices", lambda a: a.__setitem__((0, 0), -1)), UsageError, "features -1"),
    (array("indices", lambda a: a[:, :2]), FormatError, "that of the activations; found"),
    (array("indices", lambda a: a.astype(float)), FormatError, "two-dimensional .npy of integers"),
    (array("indices", lambda a: np.zeros_like(a)), FormatError, "each activation once"),
    (lambda p: (p / f"POOLING_indices{SUFFIX}.npy").unlink(), FormatError, "no such file"),
    (lambda p: (p / f"POOLING_indices{SUFFIX}.npy").write_bytes(b"x"), FormatError, "two-dimensional .npy of integers"),
    (lambda p: (p / f"POOLING_indices{SUFFIX}.npy").write_bytes(b""), FormatError, "two-dimensional .npy of integers"),
    (lambda p: (p / f"POOLING_metadata{SUFFIX}.csv").unlink(), FormatError, "no such file"),
    (lambda p: np.save(p / "POOLING_activations_2.npy", np.zeros(1)), FormatError, "one extraction"),
    (text(lambda s: s.replace("sequence_id", "entry")), FormatError, "columns sequence_id and sequence"),
    (text(lambda s: s + "40,P40,ACD,3,3,x\n"), FormatError, "40 rows, as there are activations; found 41"),
    (text(lambda s: s.replace("0,P0,", "0,P0,7,")), FormatError, "as many fields"),
    (text(lambda s: ""), FormatError, "no rows"),
])  # fmt: skip
def test_damage(tmp_path: Path, damage: Callable[[Path], None], error: type[AutointerpError], said: str) -> None:
    extract(tmp_path / "data")
    damage(tmp_path / "data")
    with pytest.raises(error, match=said):
        read_pooled(tmp_path / "data", tmp_path / "cache", tmp_path / "corpus", CODER, group_by="none")
    assert [p.name for p in tmp_path.iterdir()] == ["data"]


def test_wrong_group(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="valid are identity, none"):
        read_pooled(tmp_path, tmp_path / "cache", tmp_path / "corpus", CODER, group_by="family")
