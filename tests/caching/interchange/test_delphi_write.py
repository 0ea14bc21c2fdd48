from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from autointerp.cache import ActivationCache
from autointerp.errors import FormatError, UsageError
from caching.interchange import write_delphi
from caching.interchange.delphi_write import boundaries
from tests.doubles import SPECIAL, FakeSubject, make_corpus, random_documents, random_proteins, write_cache


def make(folder: Path, kind: str = "protein", value_dtype: str = "float32", seed: int = 0, m: int = 11) -> tuple:
    """A cache with a third of its activations non-zero; returns it, the activations, and the tokens by sequence."""
    rng = np.random.default_rng(seed)
    texts = random_proteins(25, (1, 30), seed) if kind == "protein" else random_documents(25, seed=seed)
    corpus, subject = make_corpus(folder / "corpus", texts, kind=kind), FakeSubject(kind)
    tokens = [t.ids for t in subject.tokenize(texts)]
    n = sum(map(len, tokens))
    dense = rng.integers(1, 500, (n, m)) / 8 * (rng.random((n, m)) < 0.3)
    dense[:, [0, 4, 5, m - 1]] = 0  # one whole shard of five is silent
    return write_cache(folder / "cache", dense, corpus, subject, value_dtype=value_dtype), dense, tokens


@pytest.mark.parametrize("kind", ["protein", "text"])
@pytest.mark.parametrize("tails", ["pad", "drop"])
@pytest.mark.parametrize("ctx_len", [1, 4, 7, 64])
def test_a_folder_is_what_delphi_would_write(tmp_path: Path, kind: str, tails: str, ctx_len: int) -> None:
    cache, dense, tokens = make(tmp_path, kind)
    if tails == "drop" and ctx_len > max(map(len, tokens)):
        return
    written = write_delphi(cache, tmp_path / "delphi", hookpoint="layers.3", ctx_len=ctx_len, tails=tails)
    assert written.folder == tmp_path / "delphi" / "layers.3"
    contexts, latents, base, dropped = [], [], 0, np.zeros(2, int)
    for ids in tokens:  # by definition, one context at a time
        for start in range(0, len(ids), ctx_len):
            part = ids[start : start + ctx_len].tolist()
            values = np.zeros((ctx_len, dense.shape[1]))
            values[: len(part)] = dense[base + start : base + start + len(part)]
            if len(part) < ctx_len and tails == "drop":
                dropped += len(part), np.count_nonzero(values)
                continue
            contexts.append(part + [SPECIAL["<pad>"]] * (ctx_len - len(part)))
            latents.append(values)
        base += len(ids)
    every = np.stack(latents)
    edges = torch.linspace(0, 11, steps=6).long().tolist()
    names = [f"{a}_{b - 1}.safetensors" for a, b in pairwise(edges)]
    assert names == ["0_1.safetensors", "2_3.safetensors", "4_5.safetensors", "6_7.safetensors", "8_10.safetensors"]
    assert sorted(p.name for p in written.folder.iterdir()) == sorted([*names, "config.json"])
    for name, a, b in zip(names, edges, edges[1:], strict=False):
        found = load_file(written.folder / name)
        expected = torch.nonzero(torch.from_numpy(every[:, :, a:b])).numpy()
        assert set(found) == {"locations", "activations", "tokens"}
        assert [found[n].dtype for n in ("locations", "activations", "tokens")] == [np.uint16, np.float16, np.int64]
        np.testing.assert_array_equal(found["locations"], expected)
        np.testing.assert_array_equal(found["activations"], every[:, :, a:b][tuple(expected.T)])
        np.testing.assert_array_equal(found["tokens"], contexts)
    assert written.n_contexts == len(contexts)
    assert written.n_activations == np.count_nonzero(every)
    assert (written.tokens_dropped, written.activations_dropped) == tuple(dropped)
    assert written.n_padding == len(contexts) * ctx_len - sum(map(len, tokens)) + dropped[0]
    config = json.loads((written.folder / "config.json").read_text())
    assert config == config | {
        "cache_ctx_len": ctx_len, "n_splits": 5, "n_tokens": len(contexts) * ctx_len, "model_name": f"fake-{kind}"
    }  # fmt: skip
    fields = "dataset_repo dataset_split dataset_name dataset_column batch_size cache_ctx_len n_tokens n_splits"
    assert set(config) == {*fields.split(), "model_name"}


def test_shards_begin_where_delphis_do() -> None:
    assert boundaries(131_072, 5) == [0, 26214, 52428, 78643, 104857, 131072]
    assert boundaries(7, 7) == list(range(8))
    assert boundaries(16, 14)[7] == 7  # 8 in exact arithmetic


def test_locations_are_wide_where_a_context_beyond_65535_is_active(tmp_path: Path) -> None:
    n = (1 << 16) + 1
    corpus = make_corpus(tmp_path / "corpus", ["ACDEFGHK" * (n // 8) + "A"])
    dense = np.zeros((n, 4), np.float32)
    dense[[5, n - 2, n - 1], [0, 1, 2]] = 1, 2, 3
    cache = write_cache(tmp_path / "cache", dense, corpus)
    folder = write_delphi(cache, tmp_path / "delphi", ctx_len=1, n_splits=4, tails="drop").folder
    found = [load_file(folder / f"{i}_{i}.safetensors") for i in range(4)]
    assert [f["locations"].dtype for f in found] == [np.uint16, np.uint16, np.uint32, np.uint16]
    assert [f["locations"].tolist() for f in found] == [[[5, 0, 0]], [[n - 2, 0, 0]], [[n - 1, 0, 0]], []]
    assert [f["activations"].tolist() for f in found] == [[1], [2], [3], []]


def test_what_float16_cannot_hold(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "corpus", ["ACD"])
    tiny = write_cache(tmp_path / "tiny", np.array([[1, 1e-9], [0, 2], [0, 0]]), corpus)
    written = write_delphi(tiny, tmp_path / "delphi", ctx_len=2, n_splits=1)
    assert (written.n_activations, written.activations_underflown) == (2, 1)
    assert load_file(written.folder / "0_1.safetensors")["locations"].tolist() == [[0, 0, 0], [0, 1, 1]]
    large = write_cache(tmp_path / "large", np.array([[1, 70_000], [0, 0], [0, 0]]), corpus)
    with pytest.raises(FormatError, match="65504"):
        write_delphi(large, tmp_path / "other", n_splits=1)
    assert not list((tmp_path / "other").iterdir())  # whole or absent


def test_the_token_that_fills_up(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "corpus", ["ACD"])
    cache = write_cache(tmp_path / "cache", np.eye(3), corpus)

    def last(special: dict[str, int], **settings: int) -> int:
        cache.manifest["special_tokens"]["ids"] = special
        place = tmp_path / f"delphi{len(list(tmp_path.iterdir()))}"
        folder = write_delphi(cache, place, ctx_len=4, n_splits=1, **settings).folder
        return int(load_file(folder / "0_2.safetensors")["tokens"][0, -1])

    assert last({"bos": 7, "eos": 8, "[PAD]": 9}) == 9
    assert last({"bos": 7, "eos": 8}) == 8
    assert last({"<|endoftext|>": 3}) == 3
    assert last({"pad": 1}, pad_id=0) == 0
    with pytest.raises(UsageError, match="--pad-id"):
        last({"mask": 5})


def test_wrong_uses(tmp_path: Path) -> None:
    cache, dense, _ = make(tmp_path / "a")
    for settings, said in (
        ({"ctx_len": 0}, "ctx_len 0"),
        ({"n_splits": 0}, "1 to 11"),
        ({"n_splits": 12}, "1 to 11"),
        ({"tails": "keep"}, "valid are pad, drop"),
    ):
        with pytest.raises(UsageError, match=said):
            write_delphi(cache, tmp_path / "delphi", **settings)
    write_delphi(cache, tmp_path / "delphi")
    with pytest.raises(UsageError, match="not empty"):
        write_delphi(cache, tmp_path / "delphi")
    means = write_cache(tmp_path / "means", dense[:3], make_corpus(tmp_path / "c", ["AC", "D", "E"]), level="sequence")
    with pytest.raises(UsageError, match="level sequence"):
        write_delphi(means, tmp_path / "x")
    with pytest.raises(FormatError, match="a finished cache"):
        write_delphi(ActivationCache(cache.path, cache.manifest | {"complete": False}), tmp_path / "x")
