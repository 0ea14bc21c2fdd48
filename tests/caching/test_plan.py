"""What is said before a run, against what the run then takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from autointerp.cache import ActivationCache
from autointerp.errors import UsageError
from caching.plan import plan_run
from caching.run import Target, cache_many
from caching.settings import CacheSettings
from tests.doubles import FakeSubject, fake_coder, make_corpus, random_documents, random_proteins


def size(*folders: Path) -> int:
    return sum(p.stat().st_size for folder in folders for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize("level", ["token", "sequence"])
@pytest.mark.parametrize("kind", ["protein", "text"])
@pytest.mark.parametrize("share", [1.0, 0.4])
def test_tokens_activations_and_disk(tmp_path: Path, kind: str, level: str, share: float) -> None:
    texts = random_proteins(600, (30, 200)) if kind == "protein" else random_documents(400)
    corpus = make_corpus(tmp_path / "corpus", texts, kind=kind)
    subject = FakeSubject(kind, causal=kind == "text")
    total = sum(len(t.ids) for t in subject.tokenize(texts))
    settings = CacheSettings("layer:1", level, overlap=4, batch_tokens=4096, block_size=8000)
    if share < 1:
        settings = CacheSettings(**{**vars(settings), "max_tokens": int(share * total)})
    bias = -20.0 if level == "token" else -2.0  # a mean is nearer to zero than a state
    coders = [fake_coder(bias=bias), fake_coder(9, k=3, bias=bias)]
    targets = [Target(coders[0], "layer:1", tmp_path / "a"), Target(coders[1], "layer:2", tmp_path / "b")]
    plan = plan_run(subject, targets, corpus, settings)
    assert not (tmp_path / "a").exists()
    caches = cache_many(subject, targets, corpus, settings)
    assert plan.tokens == pytest.approx(caches[0].n_tokens, rel=0.1)
    assert plan.activations == pytest.approx(sum(c.manifest["n_activations"] for c in caches), rel=0.15)
    held = sum(size(c.path) - (c.path / "cache.json").stat().st_size for c in caches)
    assert plan.disk_bytes == pytest.approx(held, rel=0.2)
    assert plan.peak_disk_bytes > 2 * plan.disk_bytes
    assert ActivationCache.open(tmp_path / "a").complete


def test_empty_sequences_are_not_sampled(tmp_path: Path) -> None:
    texts = [text for full in random_proteins(40, (30, 200)) for text in ("", "", full, "")]
    corpus = make_corpus(tmp_path / "corpus", texts)
    for level in ("token", "sequence"):
        settings = CacheSettings("layer:1", level, overlap=4, batch_tokens=500)
        target = Target(fake_coder(bias=-2.0), "layer:1", tmp_path / level)
        plan = plan_run(FakeSubject(), [target], corpus, settings)
        (cache,) = cache_many(FakeSubject(), [target], corpus, settings)
        assert plan.tokens == cache.n_tokens
        assert plan.activations == pytest.approx(cache.manifest["n_activations"], rel=0.3)


@pytest.mark.parametrize("texts", [[""], ["", ""]])
def test_a_corpus_without_tokens(tmp_path: Path, texts: list[str]) -> None:
    corpus = make_corpus(tmp_path / "corpus", texts)
    with pytest.raises(UsageError, match="no token"):
        plan_run(FakeSubject(), [Target(fake_coder(), "layer:1", tmp_path / "a")], corpus, CacheSettings("layer:1"))
