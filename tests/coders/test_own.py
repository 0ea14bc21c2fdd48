"""Our own format: the round trip, and what SAELens 6 needs to find in it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from autointerp.coders import SparseCoder, load_coder, save_coder
from autointerp.errors import FormatError, UsageError
from tests.coders.samples import CODERS, D, K, M, inputs, make

WRITTEN = {
    "topk": (make(k=K), "topk", set()),
    "standard": (make(), "standard", set()),
    "jumprelu": (make(threshold=torch.linspace(0, 1, M)), "jumprelu", {"threshold"}),
    "transcoder": (make(d_out=11, subtract_b_dec=False), "transcoder", set()),
    "skip": (make(skip=torch.randn(D, D), subtract_b_dec=False), "skip_transcoder", {"W_skip"}),
    "jumprelu skip": (
        make(skip=torch.randn(D, D), subtract_b_dec=False, threshold=torch.ones(M)),
        "jumprelu_skip_transcoder",
        {"threshold", "W_skip"},
    ),
    "normed": (make(input_norm="layer_norm"), "standard", set()),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_round_trip(name: str, tmp_path: Path) -> None:
    coder = WRITTEN[name][0]
    metadata = {"subject": "esm", "subject_digest": "ab", "hook": "layer:3", "results": {"fvu": 0.25}}
    save_coder(SparseCoder(**{**vars(coder), "metadata": metadata}), tmp_path)
    back = load_coder(tmp_path)
    assert back.digest == coder.digest
    assert (back.architecture, back.k, back.input_norm) == (coder.architecture, coder.k, coder.input_norm)
    assert back.metadata == {"format": "autointerp-coder", **metadata}
    assert torch.equal(back(inputs()), coder(inputs()))


@pytest.mark.parametrize("name", WRITTEN)
def test_what_saelens_6_reads(name: str, tmp_path: Path) -> None:
    coder, architecture, further = WRITTEN[name]
    save_coder(coder, tmp_path)
    config = json.loads((tmp_path / "cfg.json").read_text())
    assert config["architecture"] == architecture
    assert (config["d_in"], config["d_sae"]) == (coder.d_in, coder.n_features)
    assert (config["dtype"], config["device"]) == ("float32", "cpu")
    assert config["reshape_activations"] == "none"
    assert config["metadata"]["sae_lens_version"].startswith("6.")
    assert config["apply_b_dec_to_input"] == coder.subtract_b_dec
    if architecture == "topk":
        assert (config["k"], config["rescale_acts_by_decoder_norm"]) == (K, False)
    if "transcoder" in architecture:
        assert config["d_out"] == coder.d_out
    with safe_open(tmp_path / "sae_weights.safetensors", "pt") as file:
        shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
    m, d, o = coder.n_features, coder.d_in, coder.d_out
    every = {
        "W_enc": (d, m), "b_enc": (m,), "W_dec": (m, o), "b_dec": (o,), "threshold": (m,), "W_skip": (o, d)
    }  # fmt: skip
    assert shapes == {key: every[key] for key in {"W_enc", "b_enc", "W_dec", "b_dec"} | further}


def test_the_same_coder_gives_the_same_bytes(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        save_coder(make(k=K), tmp_path / folder)
    for name in ("cfg.json", "sae_weights.safetensors", "coder.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_what_saelens_has_no_name_for_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no topk transcoder"):
        save_coder(CODERS["wide"], tmp_path)


def test_tensors_of_another_coder_are_noticed(tmp_path: Path) -> None:
    save_coder(make(0, k=K), tmp_path / "a")
    save_coder(make(1, k=K), tmp_path / "b")
    (tmp_path / "b" / "sae_weights.safetensors").replace(tmp_path / "a" / "sae_weights.safetensors")
    with pytest.raises(FormatError, match="digest"):
        load_coder(tmp_path / "a")


def test_a_newer_version_is_refused(tmp_path: Path) -> None:
    save_coder(make(k=K), tmp_path)
    manifest = json.loads((tmp_path / "coder.json").read_text()) | {"version": 2}
    (tmp_path / "coder.json").write_text(json.dumps(manifest))
    with pytest.raises(FormatError, match="version 2"):
        load_coder(tmp_path)


def test_importing_coders_and_training_imports_no_torch() -> None:
    code = "import sys, autointerp.coders, training; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
