from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from autointerp.cache import ActivationCache
from autointerp.corpus import Corpus
from autointerp.errors import FormatError, UsageError
from autointerp.features import FeatureLoader
from autointerp.records import FeatureRecord
from caching.interchange import Vocabulary, read_delphi, write_delphi
from tests.doubles import RESIDUES, SPECIAL, brute_statistics, make_corpus, random_proteins, write_cache

WORDS = [*SPECIAL, " the", " cat", "s", "naïve", "\n", " 日本", "."]
TEXT = Vocabulary("words", "text", len(WORDS), SPECIAL, lambda ids: "".join(WORDS[i] for i in ids))
PROTEIN = Vocabulary("letters", "protein", 24, SPECIAL, lambda ids: "".join(RESIDUES[i - 4] for i in ids))


def write_by_hand(
    folder: Path, dense: np.ndarray, tokens: np.ndarray, edges: Sequence[int], locations: type = np.uint16
) -> Path:
    """A hookpoint from the definition of the format: a row a non-zero activation, by context, position and latent."""
    folder.mkdir(parents=True)
    for first, stop in pairwise(edges):
        rows = [
            (context, position, latent - first, dense[context, position, latent])
            for context in range(dense.shape[0])
            for position in range(dense.shape[1])
            for latent in range(first, stop)
            if dense[context, position, latent]
        ]
        tensors = {
            "locations": np.array([row[:3] for row in rows], locations).reshape(-1, 3),
            "activations": np.array([row[3] for row in rows], np.float16),
            "tokens": tokens.astype(np.int64),
        }
        save_file(tensors, folder / f"{first}_{stop - 1}.safetensors")
    (folder / "config.json").write_text(json.dumps({"n_splits": len(edges) - 1, "model_name": "some/model"}))
    return folder


def make(n: int = 9, length: int = 6, m: int = 7, seed: int = 0, size: int = 11) -> tuple[np.ndarray, np.ndarray]:
    """(n, length, m) activations, exact in float16, and (n, length) tokens, a few of them special."""
    rng = np.random.default_rng(seed)
    dense = rng.integers(1, 200, (n, length, m)) / 8 * (rng.random((n, length, m)) < 0.3)
    dense[:, :, 3:] = 0  # 3 and 4 are a silent shard; 5 and 6 fire once, at one token
    dense[0, 0, 5:] = 1, 2
    tokens = rng.integers(4, size, (n, length))
    tokens[rng.random(tokens.shape) < 0.15] = SPECIAL["<eos>"]
    tokens[0, 0] = 4
    tokens[4] = SPECIAL["<pad>"]  # nothing is left of it
    tokens[5, 3:] = SPECIAL["<pad>"]
    return dense, tokens


def dense_of(cache: ActivationCache) -> np.ndarray:
    dense = np.zeros((cache.n_tokens, cache.n_features))
    for feature, tokens, values in cache.features():
        dense[tokens, feature] = values
        assert np.all(np.diff(tokens.astype(np.int64)) > 0)
    return dense


@pytest.mark.parametrize("kind", ["protein", "text"])
@pytest.mark.parametrize("locations", [np.uint16, np.uint32])
@pytest.mark.parametrize("seed", range(3))
def test_a_folder_written_by_hand(tmp_path: Path, kind: str, locations: type, seed: int) -> None:
    vocabulary = PROTEIN if kind == "protein" else TEXT
    dense, tokens = make(seed=seed, size=vocabulary.size)
    folder = write_by_hand(tmp_path / "layers.5", dense, tokens, [0, 1, 3, 5, 7], locations)
    content = tokens > 3
    read = read_delphi(folder, tmp_path / "cache", tmp_path / "corpus", vocabulary, shard_activations=20)
    cache, corpus = ActivationCache.open(tmp_path / "cache"), Corpus.open(tmp_path / "corpus")
    assert cache.complete
    assert cache.verify() == []
    np.testing.assert_array_equal(dense_of(cache), dense[content])
    assert (read.special_dropped, read.activations_dropped) == ((~content).sum(), np.count_nonzero(dense[~content]))
    assert cache.manifest["n_activations"] == np.count_nonzero(dense[content])
    np.testing.assert_array_equal(cache.tokens, tokens[content])
    np.testing.assert_array_equal(cache.offsets, np.concatenate([[0], np.cumsum(content.sum(1))]))
    for name, expected in brute_statistics(dense[content].astype(np.float16), cache.offsets).items():
        np.testing.assert_allclose(cache.statistics[name], expected, rtol=1e-6, err_msg=name)
    letters = [*SPECIAL, *RESIDUES] if kind == "protein" else WORDS
    pieces = [[letters[i] for i in row[keep]] for row, keep in zip(tokens, content, strict=True)]
    assert corpus.texts(range(len(corpus))) == ["".join(p) for p in pieces]
    assert corpus.kind == kind
    if kind == "text":
        ends = np.concatenate([np.cumsum([len(word) for word in row]) for row in pieces if row])
        np.testing.assert_array_equal(cache.ends, ends)
    assert len(cache.manifest["shards"]) > 1
    assert not (tmp_path / "cache" / "blocks").exists()
    assert (cache.manifest["subject"]["name"], cache.manifest["subject"]["hook"]) == ("some/model", "layers.5")


def test_the_loader_shows_delphis_contexts(tmp_path: Path) -> None:
    dense, tokens = make(n=80, length=12)
    folder = write_by_hand(tmp_path / "h", dense, tokens, [0, 7])
    read = read_delphi(folder, tmp_path / "cache", tmp_path / "corpus", TEXT)
    record = FeatureLoader(read.cache, read.corpus, n_explain=10, n_test=10, context=4, min_examples=5)[2]
    assert isinstance(record, FeatureRecord)
    content = tokens > 3
    assert record.statistics.count == np.count_nonzero(dense[content][:, 2])
    for example in (*record.explain.positives, *record.test.positives, *record.test.negatives):
        keep = np.flatnonzero(content[example.sequence])[example.start :][: len(example.ends)]
        assert example.tokens == [WORDS[i] for i in tokens[example.sequence, keep]]
        np.testing.assert_array_equal(example.activations, dense[example.sequence, keep, 2])


@pytest.mark.parametrize("tails", ["pad", "drop"])
@pytest.mark.parametrize("n_splits", [1, 4, 9])
def test_there_and_back(tmp_path: Path, tails: str, n_splits: int) -> None:
    rng = np.random.default_rng(n_splits)
    texts = random_proteins(30, (1, 40))
    corpus = make_corpus(tmp_path / "corpus", texts)
    dense = rng.integers(1, 200, (sum(map(len, texts)), 9)) / 8 * (rng.random((sum(map(len, texts)), 9)) < 0.2)
    cache = write_cache(tmp_path / "cache", dense, corpus)
    written = write_delphi(cache, tmp_path / "delphi", ctx_len=10, n_splits=n_splits, tails=tails)
    read = read_delphi(written.folder, tmp_path / "back", tmp_path / "contexts", PROTEIN)
    whole = [text[a : a + 10] for text in texts for a in range(0, len(text), 10)]
    kept = np.repeat([len(t) == 10 or tails == "pad" for t in whole], [len(t) for t in whole])
    np.testing.assert_array_equal(dense_of(read.cache), dense[kept])
    assert read.corpus.texts(range(len(read.corpus))) == [t for t in whole if len(t) == 10 or tails == "pad"]
    assert (read.special_dropped, read.activations_dropped) == (written.n_padding, 0)
    if tails == "pad":
        for name in ("count", "max", "mean", "sum_squares", "log10_frequency", "histogram"):  # as sequences are cut
            np.testing.assert_allclose(read.cache.statistics[name], cache.statistics[name], rtol=1e-6)


@pytest.mark.parametrize("locations", [np.int64, np.uint64])
def test_rows_in_any_order_and_wider_types(tmp_path: Path, locations: type) -> None:
    dense, tokens = make()
    dense /= 3  # not exact in float16
    folder = write_by_hand(tmp_path / "h", dense, tokens, [0, 3, 7])
    rng = np.random.default_rng(0)
    for file in folder.glob("*.safetensors"):
        found = load_file(file)
        first = int(file.stem.split("_")[0])
        context, position, latent = found["locations"].astype(int).T
        order = rng.permutation(len(latent))
        found["activations"] = dense[context, position, latent + first].astype(np.float32)[order]
        found["locations"] = found["locations"][order].astype(locations)
        save_file(found, file)
    cache = read_delphi(folder, tmp_path / "cache", tmp_path / "corpus", TEXT).cache
    np.testing.assert_array_equal(dense_of(cache), dense[tokens > 3].astype(np.float32))
    assert cache.manifest["value_dtype"] == "float32"


def test_tokens_in_one_shard_are_enough_and_no_config(tmp_path: Path) -> None:
    dense, tokens = make()
    folder = write_by_hand(tmp_path / "h", dense, tokens, [0, 3, 7])
    edit(folder / "0_2.safetensors", lambda t: t.pop("tokens"))
    (folder / "config.json").unlink()
    cache = read_delphi(folder, tmp_path / "cache", tmp_path / "corpus", TEXT).cache
    np.testing.assert_array_equal(dense_of(cache), dense[tokens > 3])
    assert cache.manifest["subject"]["name"] == "unknown"


def edit(file: Path, change: Callable[[dict[str, np.ndarray]], object]) -> None:
    tensors = load_file(file)
    change(tensors)
    save_file({name: np.ascontiguousarray(t) for name, t in tensors.items()}, file)


def put(name: str, index: object, value: float) -> Callable[[dict[str, np.ndarray]], None]:
    def change(tensors: dict[str, np.ndarray]) -> None:
        tensors[name][index] = value

    return change


def twice(tensors: dict[str, np.ndarray]) -> None:
    tensors["locations"][1] = tensors["locations"][0]


@pytest.mark.parametrize(("change", "said"), [
    (put("locations", (0, 0), 9), "contexts 0 … 8; found 0 … 9"),
    (put("locations", (0, 1), 6), "positions 0 … 5"),
    (put("locations", (0, 2), 4), "latents 0 … 3"),
    (put("activations", 0, np.nan), "finite and not negative"),
    (put("activations", 0, -1), "finite and not negative"),
    (put("tokens", (0, 0), 4), "shards of two runs"),
    (twice, "each activation once"),
    (lambda t: t.pop("activations"), "`activations`"),
    (lambda t: t.update(activations=t["activations"][1:]), "found shapes"),
    (lambda t: t.update(activations=t["activations"].astype(np.int32)), "floating `activations`"),
])  # fmt: skip
def test_a_damaged_shard(tmp_path: Path, change: Callable[[dict[str, np.ndarray]], object], said: str) -> None:
    dense, tokens = make()
    tokens[0] = 5
    dense[0, 0] = 1
    folder = write_by_hand(tmp_path / "h", dense, tokens, [0, 3, 7])
    edit(folder / "3_6.safetensors", change)
    with pytest.raises(FormatError, match=said) as caught:
        read_delphi(folder, tmp_path / "cache", tmp_path / "corpus", TEXT)
    assert "3_6.safetensors" in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["h"]  # nothing is left behind


def test_folders_that_are_not_whole(tmp_path: Path) -> None:
    dense, tokens = make()

    def refused(folder: Path) -> str:
        with pytest.raises(FormatError) as caught:
            read_delphi(folder, tmp_path / "cache", tmp_path / "corpus", TEXT)
        return str(caught.value)

    folder = write_by_hand(tmp_path / "latents" / "h", dense, tokens, [0, 2, 4, 7])
    assert "give one of them" in refused(folder.parent)
    assert "found none" in refused(tmp_path / "nowhere")
    (folder / "4_6.safetensors").rename(tmp_path / "last")
    assert "3 shards, as config.json says; found 2" in refused(folder)
    (folder / "2_3.safetensors").rename(folder / "3_4.safetensors")
    assert "begins with latent 2; found 3_4.safetensors" in refused(folder)
    (folder / "3_4.safetensors").rename(folder / "layer.safetensors")
    assert "found layer.safetensors" in refused(folder)
    bare = write_by_hand(tmp_path / "bare", dense, tokens, [0, 7])
    edit(bare / "0_6.safetensors", lambda t: t.pop("tokens"))
    assert "cache again with the tokens" in refused(bare)


def test_wrong_uses(tmp_path: Path) -> None:
    dense, tokens = make()
    folder = write_by_hand(tmp_path / "h", dense, tokens, [0, 7])
    small = Vocabulary("small", "text", 6, SPECIAL, TEXT.decode)
    longer = Vocabulary("pairs", "protein", 11, SPECIAL, lambda ids: "AC" * len(ids))
    for vocabulary, group_by, said in (
        (small, "none", "small has 6: give the tokenizer"),
        (longer, "none", "not one residue"),
        (TEXT, "identity", "for proteins"),
        (TEXT, "family", "valid are none, identity"),
    ):
        with pytest.raises(UsageError, match=said):
            read_delphi(folder, tmp_path / "cache", tmp_path / "corpus", vocabulary, group_by=group_by)
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "mine").touch()
    with pytest.raises(UsageError, match="not empty"):
        read_delphi(folder, tmp_path / "cache", tmp_path / "corpus", TEXT)
    assert not (tmp_path / "cache").exists()


def test_groups_by_identity(tmp_path: Path) -> None:
    one, other = random_proteins(2, (60, 60))
    texts = [one, other, one[:-1] + "A"]
    tokens = np.array([[4 + RESIDUES.index(c) for c in text] for text in texts])
    folder = write_by_hand(tmp_path / "h", np.ones((3, 60, 1)), tokens, [0, 1])
    read = read_delphi(folder, tmp_path / "cache", tmp_path / "corpus", PROTEIN, group_by="identity")
    groups = read.corpus.groups.tolist()
    assert (groups[0] == groups[2], groups[0] == groups[1]) == (True, False)
