"""Embeddings of windows against a pass over single sequences."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from autointerp.cache import ActivationCache
from autointerp.commands.run import Config
from autointerp.commands.study import make_loader
from autointerp.corpus import Corpus
from autointerp.errors import FormatError, MissingDependency, UsageError
from autointerp.features import FeatureLoader, embed_windows, embedding
from autointerp.files import write_tensors
from autointerp.subjects import load_subject
from tests.doubles import FakeSubject, make_corpus, random_documents, random_proteins, write_cache


def proteins(folder: Path, level: str = "token") -> tuple[ActivationCache, Corpus]:
    texts = random_proteins(40, (0, 90))
    corpus = make_corpus(folder / "corpus", texts)
    n = len(texts) if level == "sequence" else sum(map(len, texts))
    dense = np.random.default_rng(0).random((n, 2)) * (np.random.default_rng(1).random((n, 2)) < 0.05)
    return write_cache(folder / "cache", dense, corpus, level=level), corpus


@pytest.mark.parametrize("level", ["token", "sequence"])
def test_protein_windows_are_averages_of_states(tmp_path: Path, level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "AT_ONCE", 7)
    cache, corpus = proteins(tmp_path, level)
    found = embed_windows(cache, corpus, tmp_path / "a.emb", context=20, model="planted-esm@layer:2")
    subject, expected = load_subject("planted-esm"), []
    for row in range(len(corpus)):
        ids = subject.tokenize([corpus.text(row)])[0].ids
        if level == "sequence" and not len(ids):
            expected.append(np.zeros(found.shape[1]))
        if len(ids):
            states = subject.states([ids], ["layer:2"])["layer:2"].numpy()
            step = 20 if level == "token" else len(ids)
            expected += [states[a : a + step].mean(0) for a in range(0, len(ids), step)]
    assert found.dtype == np.float16
    np.testing.assert_allclose(found, np.array(expected), atol=0.01)
    if level == "token":
        record = next(
            FeatureLoader(cache, corpus, context=20, negatives="similar", embeddings=found, min_examples=3).iterate()
        )
        assert {e.kind for e in record.test.negatives} == {"similar"}  # type: ignore[union-attr]


class Sentences:
    """Stands for a sentence-transformers model: the number of each letter."""

    seen: list[str] = []  # noqa: RUF012

    def __init__(self, name: str, device: str) -> None:
        assert (name, device) == (embedding.SENTENCES, "cpu")

    def encode(self, texts: list[str], **settings: Any) -> np.ndarray:
        self.seen += texts
        return np.array([[text.lower().count(chr(97 + i)) for i in range(26)] for text in texts], np.float32)


@pytest.mark.parametrize("level", ["token", "sequence"])
def test_text_windows_are_what_the_model_is_given(tmp_path: Path, level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", SimpleNamespace(SentenceTransformer=Sentences))
    monkeypatch.setattr(embedding, "AT_ONCE", 5)
    monkeypatch.setattr(Sentences, "seen", [])
    texts = [*random_documents(20, (1, 12)), "", "naïve — 漢字 and so on, with more words than one window holds", ""]
    corpus = make_corpus(tmp_path / "corpus", texts, kind="text")
    tokens = FakeSubject("text").tokenize(texts)
    n = len(texts) if level == "sequence" else sum(len(t.ids) for t in tokens)
    cache = write_cache(tmp_path / "cache", np.ones((n, 2)), corpus, level=level)
    found = embed_windows(cache, corpus, tmp_path / "a.emb", context=4)
    expected = []
    for text, t in zip(texts, tokens, strict=True):
        assert t.ends is not None
        pieces = [text[a:b] for a, b in pairwise([0, *t.ends.tolist()])]
        windows = ["".join(pieces[a : a + 4]) for a in range(0, len(pieces), 4)]
        expected += windows if level == "token" else (windows or [""])[:1]
    assert Sentences.seen[1:] == expected, "the first asks for the length of an embedding"
    letters = [[text.lower().count(chr(97 + i)) for i in range(26)] for text in expected]
    np.testing.assert_array_equal(found, letters)


def test_a_file_is_reused_and_a_wrong_one_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, corpus = proteins(tmp_path)
    path = tmp_path / "a.emb"
    made = embed_windows(cache, corpus, path, context=20, model="planted-esm")
    before = path.read_bytes()
    monkeypatch.setattr(embedding, "_states", None)
    np.testing.assert_array_equal(embed_windows(cache, corpus, path, context=20, model="planted-esm"), made)
    for wrong, message in (({"context": 10}, "another windows"), ({"model": "planted-esm@layer:1"}, "another model")):
        with pytest.raises(UsageError, match=message):
            embed_windows(cache, corpus, path, **({"context": 20, "model": "planted-esm"} | wrong))
    assert path.read_bytes() == before
    write_tensors(tmp_path / "b.emb", {"other": np.zeros(3)})
    with pytest.raises(FormatError, match="expected embeddings of windows; found tensors other"):
        embed_windows(cache, corpus, tmp_path / "b.emb", context=20, model="planted-esm")
    with pytest.raises(UsageError, match="give the corpus that was cached"):
        embed_windows(cache, make_corpus(tmp_path / "other", ["ACD"]), path)


def test_from_the_command_line(tmp_path: Path) -> None:
    """Made by the first run, used by the next; the study file names them."""
    cache, corpus = proteins(tmp_path)
    places = {"cache": cache.path, "corpus": corpus.path, "out": tmp_path / "run", "context": 5, "min_examples": 3}
    config = Config(**places, negatives="random,similar", embeddings=tmp_path / "a.emb", embedder="planted-esm@layer:1")
    made, again = make_loader(config), make_loader(config)
    assert made.settings == again.settings
    np.testing.assert_array_equal(
        made.embeddings, embed_windows(cache, corpus, tmp_path / "a.emb", context=5, model="planted-esm@layer:1")
    )
    record = next(made.iterate())
    assert [e.kind for e in record.test.negatives].count("similar") == 25  # type: ignore[union-attr]


def test_a_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = make_corpus(tmp_path / "corpus", ["a b c"], kind="text")
    cache = write_cache(tmp_path / "cache", np.ones((3, 1)), corpus, n_shards=1)
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingDependency, match=r"autointerp\[similar\]"):
        embed_windows(cache, corpus, tmp_path / "a.emb")
    assert not (tmp_path / "a.emb").exists()
