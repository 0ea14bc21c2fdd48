"""Control coders against their definitions."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from autointerp.coders import load_coder
from autointerp.errors import UsageError
from caching.run import cache_activations
from caching.settings import CacheSettings
from tests.coders.samples import D, inputs
from tests.doubles import FakeSubject, make_corpus, random_proteins


def test_neurons_are_the_coordinates_by_sign() -> None:
    x = inputs()
    coder = load_coder("neurons", d_in=D)
    assert (coder.n_features, coder.metadata["control"]) == (2 * D, "neurons")
    dense = coder.encode(x).dense()
    assert torch.equal(dense, torch.cat([x.clamp(min=0), (-x).clamp(min=0)], 1))
    torch.testing.assert_close(coder(x), x)


def test_neurons_by_magnitude() -> None:
    x = inputs()
    dense = load_coder("neurons?k=3", d_in=D).encode(x).dense()
    kept = dense[:, :D] - dense[:, D:]
    for row, found in zip(x, kept, strict=True):
        largest = sorted(range(D), key=lambda i: -abs(row[i]))[:3]
        assert {i for i in range(D) if found[i]} == set(largest)
        assert torch.equal(found[largest], row[largest])


def test_a_random_coder_is_the_same_everywhere_and_for_any_scale_of_its_inputs() -> None:
    name = "random?n_features=50&k=4&seed=3"
    coder, x = load_coder(name, d_in=D), inputs()
    assert coder.digest == load_coder(name, d_in=D).digest
    assert coder.digest != load_coder("random?n_features=50&k=4&seed=4", d_in=D).digest
    assert coder.metadata["control"] == name
    torch.testing.assert_close(coder.encoder.norm(dim=1), torch.ones(50))
    assert abs(coder.encoder.mean()) < 0.1
    unit = x / x.norm(dim=1, keepdim=True) * D**0.5
    expected = (unit @ coder.encoder.T).clamp(min=0)
    kth = expected.topk(4, dim=1).values[:, -1:]
    torch.testing.assert_close(coder.encode(x).dense(), torch.where(expected >= kth, expected, 0.0))
    torch.testing.assert_close(coder.encode(100 * x).dense(), coder.encode(x).dense())
    assert load_coder("random?n_features=50", d_in=D).k is None


@pytest.mark.parametrize(
    ("name", "message"),
    [("random", "give n_features"), ("random?n_features=0", "whole number"), ("random?n_features=x", "whole number"),
     ("random?features=9", "unknown option 'features'.*n_features"), ("neurons?k=99", "k is 99"),
     ("neurons?seed=1", "unknown option 'seed'")],
)  # fmt: skip
def test_options_that_do_not_fit_are_named(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_coder(name, d_in=D)


def test_a_control_needs_a_width_and_a_folder_of_that_name_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="needs d_in"):
        load_coder("neurons")
    (tmp_path / "neurons").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Exception, match="an empty folder"):
        load_coder("neurons", d_in=D)


def test_a_control_cache_says_what_it_is(tmp_path: Path) -> None:
    subject = FakeSubject()
    corpus = make_corpus(tmp_path / "corpus", random_proteins(5))
    coder = load_coder("neurons?k=2", d_in=subject.hook("layer:1").d)
    cache = cache_activations(subject, coder, corpus, tmp_path / "cache", CacheSettings("layer:1", overlap=4))
    assert cache.manifest["coder"]["control"] == "neurons?k=2"
    assert cache.n_features == 2 * subject.d_model
