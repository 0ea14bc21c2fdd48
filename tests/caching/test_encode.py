"""What a cache holds equals the dense codes of every sequence, encoded alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autointerp.cache import ActivationCache
from autointerp.coders import SparseCoder
from autointerp.coders.coder import fold_gate
from autointerp.coders.controls import make_control
from autointerp.corpus import Corpus
from autointerp.errors import UsageError
from autointerp.subjects import plan_windows
from caching.run import Target, cache_activations, cache_many
from caching.settings import CacheSettings
from tests.caching.test_resume import snapshot
from tests.doubles import (
    FakeSubject,
    brute_statistics,
    fake_coder,
    make_corpus,
    random_documents,
    random_proteins,
)


def dense_reference(subject: Any, coder: SparseCoder, corpus: Corpus, options: CacheSettings) -> np.ndarray:
    """(n_rows, n_features) codes, one window and one sequence at a time, as stored."""
    options = options.on(subject)
    rows, n_tokens = [torch.zeros(0, coder.n_features)], 0
    for tokens in subject.tokenize(corpus.texts(range(len(corpus)))):
        n_tokens += len(tokens.ids)
        if options.max_tokens is not None and n_tokens > options.max_tokens:
            break
        states = [torch.zeros(0, coder.d_in)]
        for w in plan_windows(len(tokens.ids), subject.context_length, options.overlap, subject.causal):
            window = subject.states([tokens.ids[w.start : w.stop]], [options.hook])[options.hook]
            states.append(window[w.keep_start - w.start : w.keep_stop - w.start])
        x = torch.cat(states)
        if options.level == "sequence" and options.pooling != "states":
            codes = coder.encode(x).dense() if len(x) else torch.zeros(1, coder.n_features)
            rows.append(codes.amax(0, keepdim=True) if options.pooling == "max" else codes.mean(0, keepdim=True))
        elif options.level == "sequence":
            x = x.mean(0, keepdim=True) if len(x) else x
            rows.append(coder.encode(x).dense() if len(x) else torch.zeros(1, coder.n_features))
        elif len(x):
            rows.append(coder.encode(x).dense())
    return torch.cat(rows).numpy().astype(options.value_dtype)


def dense_of(cache: ActivationCache) -> np.ndarray:
    """(n_rows, n_features) of what the cache holds; checks order and sign on the way."""
    n = cache.n_sequences if cache.level == "sequence" else cache.n_tokens
    dense = np.zeros((n, cache.n_features), cache.manifest["value_dtype"])
    for feature, tokens, values in cache.features():
        assert tokens.dtype == np.uint32
        assert values.dtype == dense.dtype
        assert (np.diff(tokens.astype(np.int64)) > 0).all()
        assert (values > 0).all()
        dense[tokens, feature] = values
    return dense


def check(cache: ActivationCache, subject: Any, coder: SparseCoder, corpus: Corpus, options: CacheSettings) -> None:
    """Codes, tokens, offsets, ends, counts and statistics."""
    expected = dense_reference(subject, coder, corpus, options)
    dense = dense_of(cache)
    if options.level == "token":
        np.testing.assert_array_equal(dense, expected)
    else:  # a mean is no dyadic number: the product of another batch rounds differently
        np.testing.assert_allclose(dense.astype(float), expected.astype(float), rtol=2e-3, atol=1e-3)
    tokens = subject.tokenize(corpus.texts(range(cache.n_sequences)))
    np.testing.assert_array_equal(cache.tokens, np.concatenate([t.ids for t in tokens]))
    np.testing.assert_array_equal(cache.offsets, np.cumsum([0, *(len(t.ids) for t in tokens)]))
    if subject.kind == "text":
        np.testing.assert_array_equal(cache.ends, np.concatenate([t.ends for t in tokens]))
    else:
        assert cache.ends is None
    assert cache.n_tokens == cache.offsets[-1]
    assert cache.manifest["n_activations"] == np.count_nonzero(dense)
    for name, value in brute_statistics(dense, cache.offsets, options.level).items():
        assert cache.statistics[name].dtype == value.dtype, name
        np.testing.assert_allclose(cache.statistics[name], value, rtol=1e-6, err_msg=name)
    assert cache.verify() == []


@pytest.fixture(scope="module")
def proteins(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    texts = ["", *random_proteins(60, (1, 70)), "", "", "A" * 150, "C"]
    return make_corpus(tmp_path_factory.mktemp("proteins"), texts)


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return make_corpus(tmp_path_factory.mktemp("documents"), [*random_documents(40), "", " "], kind="text")


@pytest.mark.parametrize("level", ["token", "sequence"])
@pytest.mark.parametrize("value_dtype", ["float16", "float32"])
@pytest.mark.parametrize("kind", ["protein", "text"])
@pytest.mark.parametrize("k", [None, 4])
def test_cache_equals_the_dense_codes(
    tmp_path: Path, proteins: Corpus, documents: Corpus, level: str, value_dtype: str, kind: str, k: int | None
) -> None:
    corpus = proteins if kind == "protein" else documents
    subject = FakeSubject(kind, causal=kind == "text")
    coder = fake_coder(k=k, dead=[0, 7, 19], bias=-2.0 if level == "sequence" else -20.0)
    options = CacheSettings("layer:2", level, value_dtype, overlap=5, batch_tokens=64, block_size=300)
    cache = cache_activations(subject, coder, corpus, tmp_path / "cache", options)
    check(cache, subject, coder, corpus, options)
    assert not len(cache[7][0])
    assert not (tmp_path / "cache" / "blocks").exists()


class Half(FakeSubject):
    """States in another type; small whole numbers, which every type holds exactly."""

    def __init__(self, dtype: str) -> None:
        super().__init__()
        self.dtype = dtype

    def states(self, windows: Any, hooks: Any) -> dict[str, torch.Tensor]:
        return {hook: x.to(getattr(torch, self.dtype)) for hook, x in super().states(windows, hooks).items()}


def architectures() -> dict[str, SparseCoder]:
    """Every form of encoder; thresholds between the dyadic activations, so that no rounding decides."""
    base = fake_coder(dead=[0, 7, 19])
    parts = {**base.__dict__, "digest": ""}
    jump = {**parts, "threshold": torch.linspace(-2.0, 12.0, 20).mul(512).round().add(0.5) / 512}
    wide = torch.ones(20, 11)
    gate, magnitude, bias = torch.arange(20) - 9.0, torch.zeros(20), torch.arange(20) / 1024 - 20.0
    encoder, b_enc, threshold = fold_gate(base.encoder, gate, magnitude, bias)
    transcoder = {"decoder": wide, "b_dec": torch.zeros(11), "subtract_b_dec": False}
    return {
        "relu": base,
        "topk": fake_coder(k=4),
        "jumprelu": SparseCoder(**{**jump, "architecture": "jumprelu"}),
        "batchtopk": SparseCoder(**{**parts, "architecture": "jumprelu", "threshold": torch.full((20,), 3.0003)}),
        "gated": SparseCoder(
            **{**parts, "architecture": "gated", "encoder": encoder, "b_enc": b_enc, "threshold": threshold}
        ),
        "transcoder": SparseCoder(**{**parts, **transcoder}),
        "skip transcoder": SparseCoder(**{**parts, **transcoder, "skip": torch.ones(11, base.d_in), "k": 3}),
        "neurons": make_control("neurons", base.d_in),
        "neurons by magnitude": make_control("neurons?k=2", base.d_in),
    }


@pytest.mark.parametrize("name", list(architectures()))
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_every_architecture_in_every_type_of_states(tmp_path: Path, proteins: Corpus, name: str, dtype: str) -> None:
    subject, coder = Half(dtype), architectures()[name]
    options = CacheSettings("layer:2", overlap=5, batch_tokens=64, block_size=300)
    cache = cache_activations(subject, coder, proteins, tmp_path / "cache", options)
    if name == "neurons by magnitude":  # states of small whole numbers tie: which of them is kept is free
        magnitudes = [np.sort(np.abs(x))[::-1][:2] for x in all_states(subject, proteins, options)]
        kept = -np.sort(-dense_of(cache), axis=1)[:, :2]
        np.testing.assert_array_equal(kept, np.stack(magnitudes))
    else:
        check(cache, subject, coder, proteins, options)
    assert 0 < cache.manifest["n_activations"] < cache.n_tokens * coder.n_features
    assert cache.manifest["subject"]["dtype"] == dtype


def all_states(subject: FakeSubject, corpus: Corpus, options: CacheSettings) -> np.ndarray:
    """(n_tokens, d), window by window."""
    rows, options = [], options.on(subject)
    for tokens in subject.tokenize(corpus.texts(range(len(corpus)))):
        for w in plan_windows(len(tokens.ids), subject.context_length, options.overlap, subject.causal):
            window = subject.states([tokens.ids[w.start : w.stop]], [options.hook])[options.hook]
            rows.append(window[w.keep_start - w.start : w.keep_stop - w.start].float().numpy())
    return np.concatenate(rows)


@pytest.mark.parametrize("pooling", ["mean", "max"])
@pytest.mark.parametrize("value_dtype", ["float16", "float32"])
@pytest.mark.parametrize("k", [None, 4])
def test_codes_pooled_over_a_sequence(
    tmp_path: Path, proteins: Corpus, value_dtype: str, pooling: str, k: int | None
) -> None:
    subject, coder = FakeSubject(), fake_coder(k=k, dead=[0, 7, 19])
    options = CacheSettings("layer:2", "sequence", value_dtype, overlap=5, batch_tokens=64, block_size=300)
    options = replace(options, pooling=pooling)
    cache = cache_activations(subject, coder, proteins, tmp_path / "cache", options)
    check(cache, subject, coder, proteins, options)
    if pooling == "max":  # of the very numbers that the token level holds
        np.testing.assert_array_equal(dense_of(cache), dense_reference(subject, coder, proteins, options))
    assert cache.manifest["pooling"] == f"encode, then {pooling}"
    other = cache_activations(subject, coder, proteins, tmp_path / "other", replace(options, pooling="states"))
    assert not np.array_equal(dense_of(other), dense_of(cache))


def test_a_pool_that_overflows_or_underflows_float16(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "corpus", ["ACDEF"])
    options = CacheSettings("layer:1", "sequence", pooling="mean")
    with pytest.raises(UsageError, match="float16: use value_dtype float32"):
        cache_activations(FakeSubject(), fake_coder(bias=70000.0), corpus, tmp_path / "a", options)
    coder = fake_coder(6)
    tiny = SparseCoder("relu", coder.encoder * 2.0**-40, coder.b_enc * 0, coder.decoder, coder.b_dec)
    assert cache_activations(FakeSubject(), tiny, corpus, tmp_path / "b", options).manifest["n_activations"] == 0


@pytest.mark.parametrize(("level", "pooling"), [("token", "states"), ("sequence", "states"), ("sequence", "max")])
def test_many_targets_in_one_pass_are_the_caches_of_each_alone(
    tmp_path: Path, proteins: Corpus, level: str, pooling: str
) -> None:
    """Two coders on one hook, one of them on another hook too: the bytes of three runs, from one."""

    class Counting(FakeSubject):
        calls = 0

        def states(self, windows: Any, hooks: Any) -> Any:
            type(self).calls += 1
            return super().states(windows, hooks)

    options = CacheSettings("layer:1", level, overlap=5, batch_tokens=64, block_size=300, pooling=pooling)
    coders = [fake_coder(k=4), fake_coder(9)]
    targets = [
        Target(coders[0], "layer:1", tmp_path / "a"),
        Target(coders[1], "layer:1", tmp_path / "b"),
        Target(coders[0], "layer:2", tmp_path / "c"),
    ]
    subject = Counting()
    cache_many(subject, targets, proteins, options)
    calls = Counting.calls
    for target in targets:
        Counting.calls = 0
        alone = tmp_path / "alone" / target.out.name
        cache_activations(subject, target.coder, proteins, alone, replace(options, hook=target.hook))
        assert Counting.calls == calls
        assert snapshot(target.out) == snapshot(alone)
    assert snapshot(tmp_path / "a") != snapshot(tmp_path / "c")


def test_targets_that_cannot_be_written_together(tmp_path: Path, proteins: Corpus) -> None:
    options = CacheSettings("layer:1", overlap=5)
    right, wrong = fake_coder(), fake_coder()
    object.__setattr__(wrong, "metadata", {"hook": "layer:2"})
    for targets, message in (
        ([Target(right, "layer:1", tmp_path / "a"), Target(right, "layer:2", tmp_path / "x/../a")], "two caches"),
        ([Target(right, "layer:1", tmp_path / "a"), Target(wrong, "layer:1", tmp_path / "b")], "trained with hook"),
    ):
        with pytest.raises(UsageError, match=message):
            cache_many(FakeSubject(), targets, proteins, options)
    assert not (tmp_path / "a").exists(), "nothing is begun unless all can be"


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lengths=st.lists(st.integers(0, 40), min_size=1, max_size=20),
    overlap=st.integers(0, 7),
    batch_tokens=st.integers(1, 200),
    block_size=st.integers(1, 400),
    shard_activations=st.integers(1, 500),
    max_tokens=st.none() | st.integers(40, 500),
)
def test_any_settings_give_the_dense_codes(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], max_tokens: int | None, **sizes: int
) -> None:
    folder = tmp_path_factory.mktemp("any")
    texts = [t[:n] for t, n in zip(random_proteins(len(lengths), (40, 40)), lengths, strict=True)]
    corpus = make_corpus(folder / "corpus", texts)
    subject, coder = FakeSubject(context_length=8), fake_coder(9, dead=[4])
    options = CacheSettings("layer:1", value_dtype="float32", max_tokens=max_tokens, **sizes)
    cache = cache_activations(subject, coder, corpus, folder / "cache", options)
    check(cache, subject, coder, corpus, options)


def test_sequences_without_tokens_are_silent_at_level_sequence(tmp_path: Path) -> None:
    """A block of empty sequences alone, between others; the coder's bias would fire on a mean of zero."""
    corpus = make_corpus(tmp_path / "corpus", ["ACDEFGHIKL", "", "", "LLLLLLLLLL"])
    options = CacheSettings("layer:1", level="sequence", block_size=1)
    cache = cache_activations(FakeSubject(), fake_coder(bias=20.0), corpus, tmp_path / "cache", options)
    dense = dense_of(cache)
    assert (dense[[0, 3]] > 0).any(1).all()
    assert not dense[[1, 2]].any()


def test_a_corpus_of_one_empty_sequence(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "corpus", [""])
    cache = cache_activations(FakeSubject(), fake_coder(), corpus, tmp_path / "cache", CacheSettings("layer:1"))
    assert (cache.n_sequences, cache.n_tokens, cache.manifest["n_activations"]) == (1, 0, 0)
    assert not len(cache[3][0])


def test_max_tokens_ends_at_a_sequence(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "corpus", ["A" * 10] * 5)
    for limit, n in ((10, 1), (29, 2), (30, 3), (50, 5), (1000, 5)):
        options = CacheSettings("layer:1", max_tokens=limit, block_size=20)
        cache = cache_activations(FakeSubject(), fake_coder(), corpus, tmp_path / str(limit), options)
        assert (cache.n_sequences, cache.n_tokens) == (n, 10 * n)
    options = CacheSettings("layer:1", max_tokens=9)
    with pytest.raises(UsageError, match="max_tokens 9"):
        cache_activations(FakeSubject(), fake_coder(), corpus, tmp_path / "9", options)


@pytest.mark.parametrize("level", ["token", "sequence"])
def test_states_that_are_not_finite_are_refused(tmp_path: Path, level: str) -> None:
    """float16 overflow inside a subject must not become silent features."""
    subject = FakeSubject()
    subject.embedding[7, 3] = torch.inf
    corpus = make_corpus(tmp_path / "corpus", random_proteins(20))
    with pytest.raises(UsageError, match="not finite"):
        cache_activations(
            subject, fake_coder(), corpus, tmp_path / "cache", CacheSettings("layer:1", level=level, overlap=4)
        )


def test_an_activation_beyond_float16_is_refused(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "corpus", ["ACDEF"])
    coder = fake_coder(bias=70000.0)
    with pytest.raises(UsageError, match="float16: use value_dtype float32"):
        cache_activations(FakeSubject(), coder, corpus, tmp_path / "cache", CacheSettings("layer:1"))
    # nothing was finished, so the same folder takes other settings
    options = CacheSettings("layer:1", value_dtype="float32")
    cache = cache_activations(FakeSubject(), coder, corpus, tmp_path / "cache", options)
    assert cache[0][1].max() > 69000


def test_a_code_that_underflows_in_float16_is_silent(tmp_path: Path) -> None:
    """Values near 2⁻³³ are zero in float16: they are neither stored nor counted."""
    corpus = make_corpus(tmp_path / "corpus", ["ACDEFGHIKLMNP"])
    coder = fake_coder(6)
    tiny = SparseCoder("relu", coder.encoder * 2.0**-40, coder.b_enc * 0, coder.decoder, coder.b_dec)
    options = CacheSettings("layer:1")
    cache = cache_activations(FakeSubject(), tiny, corpus, tmp_path / "cache", options)
    assert cache.manifest["n_activations"] == 0
    check(cache, FakeSubject(), tiny, corpus, options)


def test_manifest_says_how_the_cache_was_made(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "corpus", ["ACDEFGHIKLMNP"])
    options = CacheSettings("layer:2", overlap=3)
    cache = cache_activations(FakeSubject(), fake_coder(k=4), corpus, tmp_path / "cache", options)
    manifest = json.loads((tmp_path / "cache" / "cache.json").read_text())
    assert manifest == cache.manifest
    assert manifest["subject"]["digest"] == FakeSubject().digest
    assert manifest["subject"]["hook"] == "layer:2"
    assert manifest["coder"] == {"digest": fake_coder(k=4).digest, "architecture": "topk", "d_in": 12, "k": 4}
    assert manifest["corpus"]["digest"] == corpus.digest
    assert manifest["settings"]["overlap"] == 3
    assert str(tmp_path) not in json.dumps(manifest)
