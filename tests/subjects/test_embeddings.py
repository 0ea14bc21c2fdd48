"""Embeddings from files: the cache made of them is the one that the subject itself makes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from autointerp.cache import ActivationCache
from autointerp.corpus import Corpus
from autointerp.errors import FormatError, UsageError
from autointerp.subjects import load_subject, tokenize_rows
from caching.run import cache_activations
from caching.settings import CacheSettings
from tests.doubles import FakeSubject, fake_coder, make_corpus, random_documents, random_proteins
from training import TrainConfig, train


def write(folder: Path, subject: Any, corpus: Corpus, order: list[int], form: str = "npy") -> Path:
    """What a user would have: the subject's states of some sequences, in an order of their own."""
    folder.mkdir()
    tokens = [tokenize_rows(subject, corpus, [row])[0] for row in order]
    states = [torch.zeros(0, subject.d_model)]
    for t in tokens:
        for i in range(0, len(t.ids), subject.context_length):
            states.append(subject.states([t.ids[i : i + subject.context_length]], ["layer:1"])["layer:1"])
    rows = torch.cat(states).numpy()
    if form == "npy":
        np.save(folder / "embeddings.npy", rows)
    else:
        save_file({"embeddings": rows, "more": np.zeros(3)}, folder / "embeddings.safetensors")
    np.save(folder / "offsets.npy", np.cumsum([0, *(len(t.ids) for t in tokens)]))
    (folder / "ids.txt").write_text("\n".join(corpus.ids[row] for row in order))
    if corpus.kind == "text":
        np.save(folder / "ends.npy", np.concatenate([t.ends for t in tokens if t.ends is not None]))
    return folder


@pytest.mark.parametrize("form", ["npy", "safetensors"])
@pytest.mark.parametrize("kind", ["protein", "text"])
@pytest.mark.parametrize("level", ["token", "sequence"])
def test_the_cache_is_that_of_the_subject(tmp_path: Path, kind: str, level: str, form: str) -> None:
    texts = ["", *random_proteins(20, (1, 60))] if kind == "protein" else random_documents(12)
    corpus = make_corpus(tmp_path / "corpus", texts, kind=kind)
    subject = FakeSubject(kind, context_length=1)  # every token alone: states do not depend on windows
    order = np.random.default_rng(0).permutation(len(corpus)).tolist()
    folder = write(tmp_path / "states", subject, corpus, order, form)
    read: Any = load_subject(f"embeddings:{folder}")
    settings = {"level": level, "overlap": 0, "batch_tokens": 50, "block_size": 200}
    expected = cache_activations(subject, fake_coder(), corpus, tmp_path / "a", CacheSettings("layer:1", **settings))
    cache = cache_activations(read, fake_coder(), corpus, tmp_path / "b", CacheSettings("embeddings", **settings))
    np.testing.assert_array_equal(cache.offsets, expected.offsets)
    assert (cache.ends is None) == (kind == "protein")
    if cache.ends is not None:
        np.testing.assert_array_equal(cache.ends, expected.ends)
    for (_, tokens, values), (_, other, others) in zip(cache.features(), expected.features(), strict=True):
        np.testing.assert_array_equal(tokens, other)
        np.testing.assert_array_equal(values, others)
    assert ActivationCache.open(tmp_path / "b").manifest["subject"]["kind"] == kind


def test_a_coder_trains_on_them(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "corpus", random_proteins(40, (20, 60)))
    folder = write(tmp_path / "states", FakeSubject(context_length=1), corpus, list(range(len(corpus))))
    subject = load_subject(f"embeddings:{folder}")
    config = TrainConfig(n_features=24, k=3, tokens=4000, batch_size=64)
    coder = train(subject, corpus, "embeddings", config, tmp_path / "coder")
    assert (coder.metadata["hook"], coder.metadata["subject_digest"]) == ("embeddings", subject.digest)
    cache = cache_activations(subject, coder, corpus, tmp_path / "cache", CacheSettings("embeddings", overlap=0))
    assert cache.n_tokens == sum(map(len, corpus.texts(range(40))))


def test_errors_say_what_does_not_fit(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "corpus", random_proteins(5, (10, 20)))
    subject = FakeSubject(context_length=1)
    folder = write(tmp_path / "a", subject, corpus, [0, 1, 2])
    read: Any = load_subject(f"embeddings:{folder}")
    with pytest.raises(UsageError, match=f"no embeddings of '{corpus.ids[3]}'"):
        read.tokens_of(corpus, [0, 3])
    with pytest.raises(UsageError, match="knows ids, not texts"):
        read.tokenize(["ACD"])
    with pytest.raises(UsageError, match="has one, embeddings"):
        read.hook("layer:1")
    longer = make_corpus(tmp_path / "longer", [corpus.text(0) + "A", *corpus.texts(range(1, 5))])
    with pytest.raises(UsageError, match="residues; special tokens must be left out"):
        read.tokens_of(longer, [0])
    texts = make_corpus(tmp_path / "texts", random_documents(5), kind="text")
    with pytest.raises(UsageError, match=r"texts need ends\.npy"):
        read.tokens_of(texts, [0])

    def broken(name: str, change: Any, message: str) -> None:
        path = write(tmp_path / name, subject, corpus, [0, 1, 2])
        change(path)
        with pytest.raises(FormatError, match=message):
            load_subject(f"embeddings:{path}")

    broken("b", lambda p: (p / "ids.txt").unlink(), r"ids\.txt: expected one id a line; found no such file")
    broken("c", lambda p: (p / "ids.txt").write_text("x\nx\ny"), "1 twice")
    broken("d", lambda p: np.save(p / "offsets.npy", [0, 5]), "4 ascending offsets")
    broken("e", lambda p: (p / "embeddings.npy").write_bytes(b"no"), "an array in NumPy's format")
    broken("f", lambda p: np.save(p / "embeddings.npy", np.zeros(9)), r"embeddings \(n_rows, d\) of floats")
