"""Training from end to end: recovery, resumption, refusals."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from autointerp.coders import SparseCoder, load_coder
from autointerp.errors import FormatError, UsageError
from tests.training.doubles import ListCorpus, TableSubject, counting_corpus, numbered_subject, sparse_world
from training import TrainConfig, train
from training.checkpoint import State
from training.evaluate import evaluate, split_groups
from training.schedule import trapezoid
from training.stream import Position
from training.topk import TopK
from training.trainer import step

SMALL = TrainConfig(
    tokens=40 * 128, n_features=40, k=3, batch_size=128, buffer_mb=1, checkpoint_every=7, dead_after=512, seed=3
)


@pytest.fixture(scope="module")
def world() -> tuple[TableSubject, ListCorpus, torch.Tensor]:
    return sparse_world(n=8_000)


@pytest.fixture(scope="module")
def undisturbed(world: Any, tmp_path_factory: pytest.TempPathFactory) -> SparseCoder:
    return train(*world[:2], "layer:1", SMALL, tmp_path_factory.mktemp("undisturbed"))


def test_a_planted_dictionary_is_recovered(tmp_path: Path) -> None:
    subject, corpus, directions = sparse_world()
    config = TrainConfig(tokens=800_000, n_features=96, k=3, batch_size=1024, learning_rate=3e-3)
    coder = train(subject, corpus, "layer:1", config, tmp_path)
    best = (directions @ coder.decoder.T).max(1).values
    assert best.mean() > 0.9
    assert (best > 0.95).float().mean() > 0.8
    results = coder.metadata["results"]
    assert results["fvu"] < 0.1
    assert 2.5 < results["l0"] <= 3
    assert results["n"] == 1000  # a twentieth of the sequences


def test_what_a_training_writes(world: Any, tmp_path: Path) -> None:
    coder = train(*world[:2], "1", SMALL, tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"coder.json", "cfg.json", "sae_weights.safetensors"}
    manifest = json.loads((tmp_path / "coder.json").read_text())
    facts = manifest["metadata"]
    assert (facts["subject"], facts["subject_digest"], facts["corpus_digest"]) == ("table", "d1", "c1")
    assert (facts["hook"], facts["level"]) == ("layer:1", "token")
    assert facts["training"]["batch_size"] == 128
    assert facts["training"]["learning_rate"] == pytest.approx(2e-3 * (1024 / 40) ** 0.5)
    assert facts["results"]["tokens"] == 40 * 128
    back = load_coder(tmp_path)
    assert back.digest == coder.digest
    torch.testing.assert_close(back.decoder.norm(dim=1), torch.ones(40))


class Interrupt:
    """Presses Ctrl-C once, after so many tokens."""

    def __init__(self, after: int) -> None:
        self.left = after
        self.seen = 0

    def start(self, stage: str, total: int | None, unit: str) -> None: ...

    def advance(self, n: int, **facts: Any) -> None:
        self.seen += n
        if self.left > 0 and (n or self.left == 1):
            self.left -= max(n, 1)
            if self.left <= 0:
                os.kill(os.getpid(), signal.SIGINT)

    def finish(self) -> None: ...


def same(a: SparseCoder, b: SparseCoder) -> bool:
    return a.digest == b.digest and a.metadata["results"] == b.metadata["results"]


def test_a_seed_gives_the_same_coder(world: Any, undisturbed: SparseCoder, tmp_path: Path) -> None:
    assert same(train(*world[:2], "layer:1", SMALL, tmp_path / "a"), undisturbed)
    assert not same(train(*world[:2], "layer:1", replace(SMALL, seed=4), tmp_path / "b"), undisturbed)


@pytest.mark.parametrize("steps", [1, 6, 7, 23, 40])
def test_ctrl_c_and_the_same_call_give_the_undisturbed_coder(
    steps: int, world: Any, undisturbed: SparseCoder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(*world[:2], "layer:1", SMALL, tmp_path, Interrupt(steps * 128))
    assert f"after step {steps} of 40: the same command continues" in caplog.text
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.safetensors"]
    observer = Interrupt(0)
    assert same(train(*world[:2], "layer:1", SMALL, tmp_path, observer), undisturbed)
    assert observer.seen >= 40 * 128


def test_ctrl_c_twice_and_while_states_are_made(world: Any, undisturbed: SparseCoder, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):  # before the first step: nothing to save
        train(*world[:2], "layer:1", SMALL, tmp_path, Interrupt(1))
    assert not list(tmp_path.iterdir())
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            train(*world[:2], "layer:1", SMALL, tmp_path, Interrupt(10 * 128))
    assert same(train(*world[:2], "layer:1", SMALL, tmp_path), undisturbed)


def test_a_killed_training_goes_on_from_its_last_checkpoint(
    world: Any, undisturbed: SparseCoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training import trainer

    class Killed(BaseException):
        """Nothing runs after it, as after a kill."""

    def dies(state: State, *rest: Any) -> dict[str, str]:
        if state.step == 17:
            raise Killed
        return step(state, *rest)

    monkeypatch.setattr(trainer, "step", dies)
    with pytest.raises(Killed):
        train(*world[:2], "layer:1", SMALL, tmp_path)
    monkeypatch.undo()
    assert same(train(*world[:2], "layer:1", SMALL, tmp_path), undisturbed)


@pytest.mark.parametrize("finished", [False, True])
def test_other_settings_are_refused_by_name(finished: bool, world: Any, tmp_path: Path) -> None:
    subject, corpus, _ = world
    if finished:
        train(subject, corpus, "layer:1", SMALL, tmp_path)
    else:
        with pytest.raises(KeyboardInterrupt):
            train(subject, corpus, "layer:1", SMALL, tmp_path, Interrupt(256))
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    changed: dict[str, tuple[Any, ...]] = {
        r"k 3 \(now 4\)": (subject, corpus, "layer:1", replace(SMALL, k=4)),
        r"tokens 5120 \(now 6400\)": (subject, corpus, "layer:1", replace(SMALL, tokens=6400)),
        r"hook 'layer:1' \(now 'layer:0'\)": (subject, corpus, "layer:0", SMALL),
        r"subject_digest 'd1' \(now 'd2'\)": (replace(subject, digest="d2"), corpus, "layer:1", SMALL),
        r"corpus_digest 'c1' \(now 'c2'\)": (subject, replace(corpus, digest="c2"), "layer:1", SMALL),
        r"level 'token' \(now 'sequence'\)": (subject, corpus, "layer:1", replace(SMALL, level="sequence")),
    }
    for message, arguments in changed.items():
        with pytest.raises(UsageError, match=message):
            train(*arguments, tmp_path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_a_finished_training_is_read_back(world: Any, tmp_path: Path) -> None:
    first = train(*world[:2], "layer:1", SMALL, tmp_path)
    passes = world[0].passes
    again = train(*world[:2], "layer:1", replace(SMALL, checkpoint_every=9), tmp_path)
    assert same(first, again)
    assert world[0].passes == passes


def test_a_damaged_checkpoint(world: Any, tmp_path: Path) -> None:
    (tmp_path / "checkpoint.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    with pytest.raises(FormatError, match="a training checkpoint"):
        train(*world[:2], "layer:1", SMALL, tmp_path)


def test_level_sequence(tmp_path: Path) -> None:
    subject, corpus, _ = sparse_world(n=8_000)
    coder = train(subject, corpus, "layer:1", replace(SMALL, level="sequence"), tmp_path)
    assert coder.metadata["level"] == "sequence"
    assert coder.metadata["results"]["n"] == 50
    assert coder.metadata["results"]["epochs"] > 4


def test_dead_features_come_back_only_with_the_auxiliary_loss() -> None:
    subject, _, _ = sparse_world(n=8_000)
    fired = {}
    for weight in (0.0, 1 / 32):
        config = replace(SMALL, tokens=300 * 128, n_features=48, aux_coefficient=weight, learning_rate=3e-3)
        state = State.of(TopK.initial(subject.table[:128], 48, 0))
        with torch.no_grad():
            state.model.encoder[:24] *= 0.01  # too weak to be among the k
        for i in range(config.n_steps):
            rows = np.random.default_rng(i).integers(0, 8_000, 128)
            step(state, subject.table[rows], Position(), config)
        fired[weight] = int((state.silent[:24] < 8 * 128).sum())
    assert fired[1 / 32] > 20
    assert fired[0.0] < fired[1 / 32] / 2


def test_one_group_leaves_nothing_to_measure_on(world: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    corpus = replace(world[1], groups=np.zeros(len(world[1]), int))
    results = train(world[0], corpus, "layer:1", SMALL, tmp_path).metadata["results"]
    assert (results["n"], results["fvu"], results["l0"], results["silent_share"]) == (0, None, None, None)
    assert "were not measured" in caplog.text


def test_evaluation_is_brute_force_over_all_states(world: Any, undisturbed: SparseCoder) -> None:
    subject, corpus, _ = world
    rows = np.arange(100, 400)
    from autointerp.progress import Silent

    found = evaluate(subject, corpus, "layer:1", undisturbed, rows, "token", Silent())
    x = subject.table[800:3200].double()
    error = (x - undisturbed(x.float()).double()).square().sum()
    codes = undisturbed.encode(x.float()).dense()
    assert found["n"] == 2400
    assert found["fvu"] == pytest.approx(float(error / (x - x.mean(0)).square().sum()), rel=1e-6)
    assert found["l0"] == pytest.approx(float((codes > 0).sum(1).double().mean()))
    assert found["silent_share"] == pytest.approx(float((codes.max(0).values == 0).double().mean()))


def test_groups_are_held_out_whole() -> None:
    rng = np.random.default_rng(0)
    groups = np.concatenate([rng.integers(0, 300, 2000), np.full(500, 999)])
    kept, held = split_groups(groups, 0.05, 0)
    assert sorted([*kept, *held]) == list(range(2500))
    assert not set(groups[kept]) & set(groups[held])
    assert 100 < len(held) <= 125
    assert 999 not in groups[held]
    assert not np.array_equal(held, split_groups(groups, 0.05, 1)[1])
    assert len(split_groups(groups, 0.0, 0)[1]) == 0


def test_schedule() -> None:
    rates = [trapezoid(step, 100, 0.1, 0.3) for step in range(100)]
    assert 0 < rates[0] < 0.1
    assert 0 < rates[-1] < 0.05
    assert all(b > a for a, b in pairwise(rates[:11]))
    assert rates[11:70] == [1.0] * 59
    assert all(b < a for a, b in pairwise(rates[71:]))
    assert [trapezoid(step, 5, 0, 0) for step in range(5)] == [1.0] * 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": 0}, "k 0"),
        ({"tokens": 100}, "fewer than one batch"),
        ({"level": "word"}, "valid are token, sequence"),
        ({"held_out": 1.0}, "below 1"),
        ({"learning_rate": -1.0}, "learning_rate"),
    ],
)
def test_settings_out_of_range(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        replace(SMALL, **change)


def test_settings_that_do_not_fit_what_they_meet(tmp_path: Path) -> None:
    subject, corpus = numbered_subject(512), counting_corpus([8] * 64)
    with pytest.raises(UsageError, match="k 50: more than the 40 features"):
        train(subject, corpus, "layer:1", replace(SMALL, k=50), tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is a file"):
        train(subject, corpus, "layer:1", SMALL, tmp_path / "file")
