"""``load_subject``: every kind of name, and clear errors for the rest."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import autointerp.subjects as room
from autointerp.errors import AutointerpError, FormatError, MissingDependency, UsageError
from autointerp.registry import Registry
from autointerp.subjects import Subject, load_subject


def test_the_packages_own_model() -> None:
    subject = load_subject("planted-esm", device="auto", context_length=100)
    assert isinstance(subject, Subject)
    assert (subject.name, subject.kind, subject.causal, subject.context_length) == (
        "planted-esm",
        "protein",
        False,
        100,
    )
    (tokens,) = subject.tokenize(["MKTAYIAKQR"])
    states = subject.states([tokens.ids], ["layer:-1"])["layer:-1"]
    assert states.shape == (10, subject.d_model)
    assert torch.isfinite(states).all()


def test_a_fair_esm_name_is_read_from_the_hub_cache(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/esm2_t6_8M_UR50D.pt").write_bytes(checkpoint.read_bytes())
    subject, same = load_subject("esm2_t6_8M_UR50D"), load_subject(checkpoint)
    assert subject.digest == same.digest
    ids = [np.arange(4, 24)]
    assert torch.equal(subject.states(ids, ["layer:2"])["layer:2"], same.states(ids, ["layer:2"])["layer:2"])


def test_a_failed_download_says_where_to_put_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from urllib.error import URLError

    def fail(*_: Any, **__: Any) -> None:
        raise URLError("no network")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    with pytest.raises(AutointerpError, match=r"cannot download https://.*/esm2_t6_8M_UR50D\.pt") as error:
        load_subject("esm2_t6_8M_UR50D")
    assert str(tmp_path / "checkpoints") in str(error.value)


def test_only_namespaces_are_unpickled(checkpoint: Path, tmp_path: Path) -> None:
    marker = tmp_path / "was-run"
    saved = torch.load(checkpoint, weights_only=False)
    saved["args"] = Malice(str(marker))
    torch.save(saved, tmp_path / "evil.pt")
    with pytest.raises(FormatError, match="fair-esm ESM-2 checkpoint"):
        load_subject(tmp_path / "evil.pt")
    assert not marker.exists()
    with pytest.raises(Exception, match="Namespace"):  # the permission did not outlive the call
        torch.load(checkpoint, weights_only=True)


class Malice:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return open, (self.path, "w")


def test_digests_follow_the_weights_not_the_name(checkpoint: Path, tmp_path: Path) -> None:
    copy = tmp_path / "other.pt"
    saved = torch.load(checkpoint, weights_only=False)
    torch.save(saved, copy)
    assert load_subject(copy).digest == load_subject(checkpoint, context_length=5).digest
    saved["model"]["encoder.sentence_encoder.layers.1.fc1.bias"][0] += 1
    torch.save(saved, copy)
    assert load_subject(copy).digest != load_subject(checkpoint).digest


@pytest.mark.parametrize("damage", ["truncated", "no config", "no weights", "other sizes"])
def test_damaged_checkpoints(checkpoint: Path, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "x.pt"
    saved = torch.load(checkpoint, weights_only=False)
    if damage == "no config":
        del saved["cfg"]
    elif damage == "no weights":
        del saved["model"]["encoder.sentence_encoder.layers.0.fc1.weight"]
    elif damage == "other sizes":
        saved["cfg"]["model"].encoder_embed_dim = 48
    torch.save(saved, path)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(FormatError, match=r"x\.pt: expected") as error:
        load_subject(path)
    assert len(str(error.value).splitlines()) <= 2


def test_unknown_names(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown subject 'esm2_t12_35M'.*planted-esm.*near: esm2_t12_35M_UR50D"):
        load_subject("esm2_t12_35M")
    with pytest.raises(FormatError, match="no such file"):
        load_subject(tmp_path / "absent.pt")
    with pytest.raises(FormatError, match=r"no config\.json"):
        load_subject(tmp_path)
    with pytest.raises(UsageError, match="subject of type int"):
        load_subject(3)  # type: ignore[arg-type]


def test_an_unreachable_hub_name_lists_what_is_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import PretrainedConfig

    def fail(*_: Any, **__: Any) -> None:
        raise OSError("We couldn't connect to the hub")

    monkeypatch.setattr(PretrainedConfig, "get_config_dict", fail)
    with pytest.raises(UsageError, match=r"unknown subject 'some/model'; valid: planted-esm(.|\n)*couldn't connect"):
        load_subject("some/model")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"device": "tpu"}, "device 'tpu'; valid: cpu, cuda"),
        ({"device": "cuda:99"}, "CUDA devices here"),
        ({"dtype": "float64"}, "dtype 'float64'; valid: float32, bfloat16, float16"),
        ({"context_length": 0}, "takes 1 … 1022"),
        ({"context_length": 2000}, "takes 1 … 1022"),
    ],
)
def test_wrong_settings(checkpoint: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as error:
        load_subject(checkpoint, **settings)
    assert message in str(error.value)


def test_plug_ins_and_ready_subjects(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ready = load_subject(checkpoint)
    assert load_subject(ready) is ready
    monkeypatch.setattr(room, "subject", Registry("subject", {}))
    given: list[dict[str, Any]] = []

    @room.subject("mine")
    def make(**settings: Any) -> Subject:
        given.append(settings)
        return ready

    assert load_subject("mine", dtype="bfloat16") is ready
    assert given == [{"device": "cpu", "dtype": "bfloat16", "context_length": None}]


@pytest.mark.parametrize("absent", ["torch", "transformers"])
def test_a_missing_package_names_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, absent: str, data: Path
) -> None:
    for name in [m for m in sys.modules if m.startswith("autointerp.subjects.")]:
        if name.rpartition(".")[2] in {"model", "capture", "esm2", "fairesm", "huggingface"}:
            monkeypatch.delitem(sys.modules, name)
            monkeypatch.delattr(room, name.rpartition(".")[2], raising=False)
    monkeypatch.setitem(sys.modules, absent, None)
    with pytest.raises(MissingDependency, match=r'pip install "autointerp\[torch\]"'):
        load_subject("planted-esm" if absent == "torch" else data / "models/stories260K")


def test_importing_the_room_needs_no_torch() -> None:
    import subprocess

    code = "import sys, autointerp.subjects; sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
