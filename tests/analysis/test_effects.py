"""Effects on the logits against the head run twice; moments against SciPy; sets of tokens against a permutation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from autointerp.analysis import effects, token_sets
from autointerp.cache import ActivationCache
from autointerp.coders import SparseCoder
from autointerp.corpus import Corpus
from autointerp.errors import FormatError, UsageError
from autointerp.subjects import load_subject
from autointerp.subjects.readout import LinearHead, last_hook
from tests.doubles import make_corpus, random_proteins, write_cache

N = 30


def study(
    folder: Path, subject: Any, corpus: Corpus, hook: str, **options: Any
) -> tuple[SparseCoder, ActivationCache, np.ndarray]:
    """A random coder of the subject's width, a cache in which feature i reaches i / 8 (feature 0 never fires)."""
    g = torch.Generator().manual_seed(3)
    encoder, decoder = (torch.randn(N, subject.d_model, generator=g) for _ in range(2))
    coder = SparseCoder("relu", encoder, torch.zeros(N), decoder, torch.zeros(subject.d_model), **options)
    n = sum(len(t.ids) for t in subject.tokenize(corpus.texts(range(len(corpus)))))
    dense = np.zeros((n, N), np.float32)
    dense[np.arange(N) % n, np.arange(N)] = np.arange(N) / 8
    write_cache(folder, dense, corpus, subject)
    manifest = json.loads((folder / "cache.json").read_text())
    manifest["coder"]["digest"], manifest["subject"]["hook"] = coder.digest, hook
    (folder / "cache.json").write_text(json.dumps(manifest))
    return coder, ActivationCache.open(folder), dense.max(0)


@pytest.fixture(scope="module")
def proteins(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return make_corpus(tmp_path_factory.mktemp("effects") / "corpus", random_proteins(9, (10, 40)))


def heads(subject: Any, corpus: Corpus, steps: torch.Tensor) -> np.ndarray:
    """logits(μ + step) − logits(μ) by running the norm and the head themselves; residues in the order of their ids."""
    windows = [t.ids for t in subject.tokenize(corpus.texts(range(len(corpus))))]
    mean = torch.cat([subject.states([w], [last_hook(subject)])[last_hook(subject)] for w in windows]).mean(0)
    model = subject.model
    with torch.no_grad():
        two = [
            model.lm_head(model.emb_layer_norm_after(state), model.embed_tokens.weight)
            for state in (mean + steps, mean[None])
        ]
    residues = np.sort(subject.tokenize(["ACDEFGHIKLMNPQRSTVWY"])[0].ids)
    return (two[0] - two[1])[:, torch.from_numpy(residues).long()].numpy()


@pytest.mark.parametrize("at_once", [1 << 22, 90])
def test_effects_of_esm2_are_those_of_its_head_run_twice(
    tmp_path: Path, proteins: Corpus, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(effects, "AT_ONCE", at_once)
    subject = load_subject("planted-esm")
    coder, cache, top = study(tmp_path / "cache", subject, proteins, "layer:2")
    ours = effects.effects(subject, coder, cache, proteins)
    assert ours.method == effects.DIFFERENCE
    assert ours.feature.tolist() == list(range(1, N))
    change = heads(subject, proteins, coder.decoder[1:] * torch.from_numpy(top[1:, None]))
    order = np.argsort(-change, axis=1, kind="stable")
    np.testing.assert_array_equal(ours.top, order[:, :10])
    np.testing.assert_array_equal(ours.bottom, order[:, ::-1][:, :10])
    np.testing.assert_allclose(ours.top_value, np.take_along_axis(change, order[:, :10], 1), atol=1e-4)
    expected = [change.mean(1), change.std(1), stats.skew(change, 1), stats.kurtosis(change, 1)]
    np.testing.assert_allclose(ours.moments[:, :4].T, expected, rtol=1e-2, atol=1e-3)
    np.testing.assert_allclose(ours.moments[:, 4:].T, [change.min(1), change.max(1)], atol=1e-4)
    assert (ours.histogram.sum(1) == 20).all()
    tables = effects.tables(ours)
    first = [r for r in tables["logits"].to_pylist() if r["feature"] == 7 and r["side"] == "promoted"]
    assert [r["token"] for r in first] == [ours.tokens[i] for i in order[6, :10] if change[6, i] > 0]
    names = dict(zip(ours.tokens, range(20), strict=True))
    members = np.array([names[r] for r in token_sets.RESIDUE_SETS["negative"]])
    column = ours.sets.index("negative")
    shift = (change[:, members].mean(1) - change.mean(1)) / change.std(1)
    np.testing.assert_allclose(ours.shift[:, column], shift, rtol=1e-2, atol=1e-3)


def test_the_normalisation_of_a_coder_is_undone(tmp_path: Path, proteins: Corpus) -> None:
    subject = load_subject("planted-esm")
    coder, cache, top = study(tmp_path / "cache", subject, proteins, "layer:2", input_norm="norm")
    windows = [t.ids for t in subject.tokenize(proteins.texts(range(len(proteins))))]
    length = subject.states(windows, ["layer:2"])["layer:2"].norm(dim=1).mean() / subject.d_model**0.5
    change = heads(subject, proteins, coder.decoder[1:] * torch.from_numpy(top[1:, None]) * length)
    ours = effects.effects(subject, coder, cache, proteins)
    np.testing.assert_allclose(ours.top_value[:, 0], change.max(1), rtol=1e-3, atol=1e-3)


def test_effects_of_a_linear_head_are_norm_and_unembedding(tmp_path: Path, data: Path) -> None:
    subject: Any = load_subject(str(data / "models" / "stories260K"))
    texts = ["Once upon a time there was a dog.", "Lily and Tom went to the park. They were happy."]
    corpus = make_corpus(tmp_path / "corpus", texts, kind="text")
    coder, cache, top = study(tmp_path / "cache", subject, corpus, "layer:3")
    ours = effects.effects(subject, coder, cache, corpus)
    assert ours.method == effects.LINEAR
    raw = f"layer:{subject.n_layers}.raw"
    states = torch.cat([subject.states([t.ids], [raw])[raw] for t in subject.tokenize(texts)])
    model = subject.model
    scale = (states.square().mean(1) + model.model.norm.variance_epsilon).rsqrt().mean()  # Llama's RMSNorm
    steps = coder.decoder * torch.from_numpy(top[:, None])
    change = (steps * scale * model.model.norm.weight) @ model.lm_head.weight.T
    kept = np.setdiff1d(np.arange(subject.vocab_size), [*subject.special_tokens.values()])
    expected = change[1:, torch.from_numpy(kept)].numpy()
    np.testing.assert_allclose(ours.top_value[:, 0], expected.max(1), rtol=1e-3)
    np.testing.assert_allclose(ours.bottom_value[:, 0], expected.min(1), rtol=1e-3)
    np.testing.assert_array_equal(ours.top[:, 0], expected.argmax(1))
    np.testing.assert_allclose(ours.moments[:, 2], stats.skew(expected, 1), rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("centres", [True, False])
def test_a_frozen_norm_is_linear(centres: bool) -> None:
    g = torch.Generator().manual_seed(0)
    norm = torch.nn.LayerNorm(16) if centres else torch.nn.RMSNorm(16, eps=1e-6)
    with torch.no_grad():
        for parameter in norm.parameters():
            parameter.copy_(torch.randn(16, generator=g))
    x = torch.randn(40, 16, generator=g) * 3 + 2
    size = x.std(1, correction=0) if centres else x.square().mean(1).sqrt()
    head = LinearHead(norm, centres, float(1 / (1 / size).mean()), torch.eye(16))
    d = torch.randn(5, 16, generator=g)
    with torch.no_grad():
        expected = norm.weight * (d - d.mean(1, keepdim=True) * centres) / head.deviation
        torch.testing.assert_close(head.frozen(d), expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(head.frozen(10 * d), 10 * head.frozen(d), rtol=1e-4, atol=1e-4)


def test_the_z_of_a_set_is_that_of_random_sets() -> None:
    rng = np.random.default_rng(0)
    change = torch.from_numpy(rng.standard_normal((1, 60)) ** 3)
    members = np.zeros((60, 1), bool)
    members[rng.choice(60, 12, replace=False)] = True
    found = effects._summed_up(change, members)
    values = change.numpy()[0]
    draws = np.array([rng.permutation(values)[:12].mean() for _ in range(20000)])
    z = (values[members[:, 0]].mean() - draws.mean()) / draws.std()
    assert found["z"][0, 0] == pytest.approx(z, abs=0.05)


def test_sets_of_a_text_are_by_shape_and_by_word(tmp_path: Path) -> None:
    tokens = [" Dog", "ing", " running", "12", " 7", "!", "?", " she", "Her", " dogs", "dog", "é", "ü"]
    names, members = token_sets.membership(tokens, "text", {"animals": ["dog", "dogs"]})
    sets = {n: {t for t, inside in zip(tokens, members[:, i], strict=True) if inside} for i, n in enumerate(names)}
    assert sets["number"] == {"12", " 7"}
    assert sets["punctuation"] == {"!", "?"}
    assert sets["female"] == {" she", "Her"}
    assert sets["animals"] == {" Dog", " dogs", "dog"}
    assert sets["beyond ASCII"] == {"é", "ü"}
    path = tmp_path / "sets.json"
    path.write_text('{"a": "dog"}')
    with pytest.raises(FormatError, match="lists of tokens"):
        token_sets.read_token_sets(path)
    path.write_text('{"a": ["dog"]}')
    assert token_sets.read_token_sets(path) == {"a": ["dog"]}


def test_what_has_no_effect_on_the_logits_is_said(tmp_path: Path, proteins: Corpus) -> None:
    subject = load_subject("planted-esm")
    coder, cache, _ = study(tmp_path / "cache", subject, proteins, "layer:2")
    g = torch.Generator().manual_seed(0)
    narrow = SparseCoder(
        "relu", coder.encoder, coder.b_enc, torch.randn(N, 8, generator=g), torch.zeros(8), subtract_b_dec=False
    )
    with pytest.raises(UsageError, match="8 wide"):
        effects.effects(subject, narrow, cache, proteins)
