"""Checkpoints: everything that the next step depends on, in one file, and Ctrl-C that never falls inside a step."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from autointerp.errors import FormatError, UsageError
from autointerp.files import write_tensors
from training.stream import Position
from training.topk import TopK

FORMAT, VERSION = "autointerp-training", 1


@dataclass
class State:
    """A training between two steps.

    Attributes
    ----------
    silent : (n_features,) int64, tokens since each feature fired.
    step : steps done. All randomness follows from the seed and ``position``, so there is no generator to keep.
    """

    model: TopK
    optimizer: torch.optim.Adam
    silent: Tensor
    step: int = 0
    position: Position = field(default_factory=Position)

    @classmethod
    def of(cls, model: TopK) -> State:
        """A training that begins with these parameters."""
        silent = torch.zeros(len(model.encoder), dtype=torch.int64, device=model.encoder.device)
        return cls(model, torch.optim.Adam(vars(model).values()), silent)


def save(path: Path, state: State, identity: Mapping[str, Any]) -> None:
    """Write the state of the training that ``identity`` describes, atomically."""
    tensors = {"silent": state.silent, **vars(state.model)}
    for name, parameter in vars(state.model).items():
        tensors |= {f"{name}.{key}": value for key, value in state.optimizer.state[parameter].items()}
    arrays = {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}
    facts = {"format": FORMAT, "version": VERSION, "step": state.step, "position": asdict(state.position)}
    write_tensors(path, arrays, {"training": json.dumps({**facts, "identity": dict(identity)})})


def progress(path: Path, identity: Mapping[str, Any]) -> tuple[int, Position]:
    """Steps done in the checkpoint at ``path``, and where its stream stood.

    Raises
    ------
    FormatError : not a checkpoint, or a damaged one.
    UsageError : a checkpoint of another training; the message names the fields that differ.
    """
    with _opened(path) as file:
        facts = _facts(path, file)
    same_training(path.parent, facts["identity"], identity)
    return facts["step"], Position(**facts["position"])


def load(path: Path, device: torch.device) -> State:
    """The state in the checkpoint at ``path``, on ``device``."""
    with _opened(path, str(device)) as file:
        facts = _facts(path, file)
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    names = [f.name for f in fields(TopK)]
    state = State.of(TopK(**{name: tensors[name] for name in names}).requiring())
    for name, parameter in vars(state.model).items():
        adam = {key.split(".")[1]: value for key, value in tensors.items() if key.startswith(f"{name}.")}
        state.optimizer.state[parameter] = adam | {"step": adam["step"].cpu()} if adam else {}
    state.silent, state.step, state.position = tensors["silent"], facts["step"], Position(**facts["position"])
    return state


@contextmanager
def _opened(path: Path, device: str = "cpu") -> Iterator[Any]:
    try:
        with safe_open(path, "pt", device=device) as file:
            yield file
    except SafetensorError as error:
        raise FormatError(path, "a training checkpoint", f"a damaged file ({error})") from None


def _facts(path: Path, file: Any) -> dict[str, Any]:
    facts = json.loads((file.metadata() or {}).get("training", "{}"))
    if (facts.get("format"), facts.get("version")) != (FORMAT, VERSION):
        raise FormatError(path, f"{FORMAT} version {VERSION}", f"{facts.get('format')} version {facts.get('version')}")
    return facts


def same_training(folder: Path, stored: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Refuse to go on in a folder that holds a training with other settings.

    Raises
    ------
    UsageError : names each field that differs.
    """
    stored, asked = ({**facts, **facts.get("training", {})} for facts in (stored, asked))
    differing = [name for name in asked if name != "training" and stored.get(name) != asked[name]]
    if differing:
        changes = ", ".join(f"{name} {stored.get(name)!r} (now {asked[name]!r})" for name in differing)
        raise UsageError(f"{folder} holds a training with {changes}: give its settings again, or another --out")


@contextmanager
def unbroken() -> Iterator[None]:
    """Hold Ctrl-C back until the block is done, so that it never leaves half a step behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: caught.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if caught:
        raise KeyboardInterrupt
