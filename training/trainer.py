"""The training of a TopK autoencoder, from the first batch to the written coder."""

from __future__ import annotations

import logging
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from autointerp.coders import SparseCoder, load_coder, save_coder
from autointerp.coders.own import MANIFEST
from autointerp.errors import UsageError
from autointerp.progress import Observer, Stage
from autointerp.subjects import Subject
from training import checkpoint
from training.checkpoint import State
from training.config import TrainConfig
from training.evaluate import evaluate, split_groups
from training.schedule import trapezoid
from training.stream import ActivationStream, Position, Sequences
from training.topk import MAX_DEAD, TopK, losses

logger = logging.getLogger(__name__)

CHECKPOINT = "checkpoint.safetensors"
CLIP = 1.0  # largest norm of a step's gradient
SHOW_EVERY = 10  # steps between numbers on the bar: reading them waits for the device


def train_topk(
    subject: Subject, corpus: Sequences, hook: str, config: TrainConfig, out: Path, observer: Observer | None
) -> SparseCoder:
    """See :func:`training.train`."""
    place = subject.hook(hook)
    n_features = config.width(place.d)
    identity = _identity(subject, corpus, place.name, n_features, config)
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file; a coder is a folder")
    if (out / MANIFEST).is_file():
        return _finished(out, identity)
    train_rows, held_rows = split_groups(np.asarray(corpus.groups), config.held_out, config.seed)
    capacity = max(config.batch_size, (config.buffer_mb << 20) // (4 * place.d))
    stream = ActivationStream(subject, corpus, hook, train_rows, config.level, config.batch_size, capacity, config.seed)
    unit = config.level[:3]
    with Stage(observer, "training", config.n_steps * config.batch_size, unit) as stage:
        stream.observer = stage
        state = _train(stream, n_features, config, out / CHECKPOINT, identity, stage)
    parameters = {name: tensor.detach() for name, tensor in vars(state.model).items()}
    coder = SparseCoder("topk", **parameters, k=config.k)
    with Stage(observer, "evaluating", None, unit) as stage:
        results = evaluate(subject, corpus, hook, coder, held_rows, config.level, stage)
    if not results["n"]:
        logger.warning("no group is small enough to hold out: FVU and L0 were not measured")
    dead = float((state.silent >= config.silence).double().mean())
    results |= {"dead_share": dead, "tokens": state.step * config.batch_size, "epochs": state.position.epoch + 1}
    coder = replace(coder, metadata={**identity, "results": results})
    save_coder(coder, out)
    (out / CHECKPOINT).unlink(missing_ok=True)
    return coder


def _train(
    stream: ActivationStream,
    n_features: int,
    config: TrainConfig,
    path: Path,
    identity: dict[str, Any],
    stage: Observer,
) -> State:
    """Run the steps that are left; an interrupt leaves a checkpoint, and so does the end."""
    state: State | None = None
    done, begin = checkpoint.progress(path, identity) if path.is_file() else (0, Position())
    stage.advance(done * config.batch_size)
    try:
        for batch, after in islice(stream.batches(begin), config.n_steps - done):
            if state is None:
                model = None if done else TopK.initial(batch, n_features, config.seed)
                state = State.of(model) if model else checkpoint.load(path, batch.device)
            with checkpoint.unbroken():
                facts = step(state, batch, after, config)
            if state.step % config.checkpoint_every == 0:
                checkpoint.save(path, state, identity)
            stage.advance(len(batch), **facts)
    except KeyboardInterrupt:
        if state is not None:
            checkpoint.save(path, state, identity)
            logger.warning("stopped after step %d of %d: the same command continues", state.step, config.n_steps)
        raise
    if state is None:  # only the evaluation was left
        return checkpoint.load(path, torch.device("cpu"))
    checkpoint.save(path, state, identity)
    return state


def step(state: State, batch: Tensor, after: Position, config: TrainConfig) -> dict[str, str]:
    """One step on ``batch`` (n, d); returns what to show, on some steps."""
    model, optimizer = state.model, state.optimizer
    longest = state.silent.topk(min(MAX_DEAD, len(state.silent)), sorted=False).indices
    dead = longest[state.silent[longest] >= config.silence]
    unexplained, auxiliary, fired = losses(model, batch, config.k, dead)
    optimizer.zero_grad()
    (unexplained + config.aux_coefficient * auxiliary).backward()
    model.project_gradient()
    torch.nn.utils.clip_grad_norm_(vars(model).values(), CLIP)
    rate = config.rate(len(state.silent)) * trapezoid(state.step, config.n_steps, config.warmup, config.decay)
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    model.normalise()
    state.silent += len(batch)
    state.silent[fired] = 0
    state.step, state.position = state.step + 1, after
    if state.step % SHOW_EVERY:
        return {}
    return {"fvu": f"{unexplained.item():.3f}", "l0": f"{len(fired) / len(batch):.1f}", "dead": str(len(dead))}


def _identity(subject: Subject, corpus: Sequences, hook: str, n_features: int, config: TrainConfig) -> dict[str, Any]:
    """What makes a training this one: written into checkpoint and manifest, compared before going on."""
    settings = asdict(config) | {"n_features": n_features, "learning_rate": config.rate(n_features)}
    settings |= {"dead_after": config.silence}
    level = settings.pop("level")
    for name in ("expansion", "checkpoint_every"):
        del settings[name]
    return {
        "subject": subject.name,
        "subject_digest": subject.digest,
        "context_length": subject.context_length,
        "dtype": str(getattr(subject, "dtype", "float32")),
        "hook": hook,
        "level": level,
        "corpus_digest": corpus.digest,
        "training": settings,
    }


def _finished(out: Path, identity: dict[str, Any]) -> SparseCoder:
    """The coder that an earlier call of the same training wrote."""
    coder = load_coder(out)
    checkpoint.same_training(out, coder.metadata, identity)
    logger.info("%s holds this training, finished", out)
    return coder
