"""Logs: what they write, what a resumed training takes back, and that packages are imported only when asked for."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from autointerp.errors import MissingDependency, UsageError
from tests.training.doubles import sparse_world
from training import TrainConfig, train
from training.observers import open_logs
from training.observers.csv import CsvLog

SMALL = TrainConfig(tokens=20 * 128, n_features=40, k=3, batch_size=128, validate_every=10, checkpoint_every=5, seed=3)


def test_csv_lines_and_new_columns(tmp_path: Path) -> None:
    log = CsvLog(tmp_path, 0)
    log.record(10, {"fvu": 0.1 + 0.2, "dead": 3.0})
    log.record(10, {"validation_fvu": 0.5})
    log.record(20, {"fvu": 0.25, "dead": 2.0})
    expected = "step,fvu,dead,validation_fvu\n10,0.30000000000000004,3.0,\n10,,,0.5\n20,0.25,2.0,\n"
    assert (tmp_path / "metrics.csv").read_text() == expected


def test_csv_takes_back_what_will_come_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    for step, left in (
        (20, ["10,0.5,", "10,,0.4", "20,0.3,"]),
        (15, ["10,0.5,", "10,,0.4"]),
        (10, ["10,0.5"]),
        (0, []),
    ):
        path.write_text("step,fvu,validation_fvu\n10,0.5,\n10,,0.4\n20,0.3,\n20,,0.2\n30,0.1,\n40,0.0")  # cut by a kill
        log = CsvLog(tmp_path, step)
        assert path.read_text().splitlines()[1:] == left
        log.record(99, {"fvu": 1.0})
        assert path.read_text().splitlines()[-1].startswith("99,1.0")


class FakeRun:
    """What ``wandb.init`` gives."""

    def __init__(self, **given: Any) -> None:
        self.given, self.id = given, given["id"]
        self.curves: list[tuple[int, dict[str, float]]] = []
        self.artifacts: list[Any] = []
        self.ended: int | None = None

    def log(self, values: dict[str, float], step: int) -> None:
        self.curves.append((step, values))

    def log_artifact(self, artifact: Any) -> None:
        self.artifacts.append(artifact)

    def finish(self, exit_code: int) -> None:
        self.ended = exit_code


class FakeArtifact:
    def __init__(self, name: str, type: str) -> None:
        self.name, self.type, self.files = name, type, []

    def add_file(self, path: str, name: str) -> None:
        assert Path(path).is_file()
        self.files.append(name)


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> list[FakeRun]:
    """The runs that are opened; nothing goes over a network."""
    runs: list[FakeRun] = []
    module = ModuleType("wandb")
    module.init = lambda **given: runs.append(FakeRun(**given)) or runs[-1]  # type: ignore[attr-defined,func-returns-value]
    module.Artifact = FakeArtifact  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", module)
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    return runs


def test_wandb_gets_curves_settings_and_the_coder(wandb: list[FakeRun], tmp_path: Path) -> None:
    subject, corpus, _ = sparse_world(n=8_000)
    train(subject, corpus, "layer:1", SMALL, tmp_path / "mine", log=["wandb"])
    (run,) = wandb
    assert (run.given["project"], run.given["name"], run.given["resume"]) == ("autointerp", "mine", "allow")
    assert run.given["config"]["training"]["k"] == 3
    assert [step for step, values in run.curves if "fvu" in values] == [10, 20]
    assert [step for step, values in run.curves if "validation/fvu" in values] == [10, 20]
    assert {"learning_rate", "l0", "dead", "tokens"} <= set(run.curves[0][1])
    (artifact,) = run.artifacts
    assert (artifact.type, artifact.files) == ("coder", ["cfg.json", "coder.json", "sae_weights.safetensors"])
    assert run.ended == 0


def test_wandb_goes_on_in_the_same_run_after_an_interrupt(wandb: list[FakeRun], tmp_path: Path) -> None:
    subject, corpus, _ = sparse_world(n=8_000)

    class Stops:
        def start(self, *stage: Any) -> None: ...
        def finish(self) -> None: ...
        def advance(self, n: int, **facts: Any) -> None:
            if n and len(wandb) == 1 and wandb[0].curves:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(subject, corpus, "layer:1", SMALL, tmp_path, Stops(), log=["wandb"])
    train(subject, corpus, "layer:1", SMALL, tmp_path, log=["wandb"])
    assert len({run.id for run in wandb}) == 1
    assert [(run.ended, len(run.artifacts)) for run in wandb] == [(1, 0), (0, 1)]


def test_tensorboard_gets_scalars(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    written: list[tuple[str, float, int]] = []
    made: dict[str, Any] = {}

    class SummaryWriter:
        def __init__(self, folder: str, purge_step: int | None) -> None:
            made.update(folder=folder, purge_step=purge_step)

        def add_scalar(self, name: str, value: float, step: int) -> None:
            written.append((name, value, step))

        def close(self) -> None:
            made["closed"] = True

    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = SummaryWriter  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    (log,) = open_logs(["tensorboard"], tmp_path, {}, 40)
    log.record(50, {"fvu": 0.5, "validation_fvu": 0.25})
    log.finish(None)
    assert made == {"folder": str(tmp_path / "tensorboard"), "purge_step": 41, "closed": True}
    assert written == [("fvu", 0.5, 50), ("validation/fvu", 0.25, 50)]


@pytest.mark.parametrize(("name", "module"), [("tensorboard", "torch.utils.tensorboard"), ("wandb", "wandb")])
def test_a_missing_package_is_named(name: str, module: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependency, match=rf"--log {name} needs .* pip install \"autointerp\[tracking\]\""):
        open_logs([name], tmp_path, {}, 0)


def test_an_unknown_log() -> None:
    with pytest.raises(UsageError, match=r"unknown log 'tensorbord'.*did you mean 'tensorboard'"):
        open_logs(["csv", "tensorbord"], Path(), {}, 0)


def test_nothing_is_imported_unless_asked_for(tmp_path: Path) -> None:
    import subprocess

    code = (
        "import sys, training, training.observers; sys.exit(bool({'wandb', 'tensorboard', 'torch'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
