"""The training of a TopK autoencoder, from the first batch to the written coder."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from autointerp.coders import SparseCoder, load_coder, save_coder
from autointerp.coders.own import MANIFEST
from autointerp.errors import AutointerpError
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
    if (out / MANIFEST).is_file():
        return _finished(out, identity)
    train_rows, held_rows = split_groups(np.asarray(corpus.groups), config.held_out, config.seed)
    stream = _stream(subject, corpus, hook, train_rows, config, place.d)
    with Stage(observer, "training", config.n_steps * config.batch_size, "tok") as stage:
        stream.observer = stage
        state = _train(stream, n_features, config, out / CHECKPOINT, identity, stage)
    coder = _coder(state.model, config.k)
    with Stage(observer, "evaluating", None, "tok") as stage:
        results = evaluate(subject, corpus, hook, coder, held_rows, config.level, stage)
    if not results["n"]:
        logger.warning("no group is small enough to hold out %.0f %%: FVU and L0 were not measured", 100 * config.held_out)
    dead = float((state.silent >= config.silence).double().mean())
    results |= {"dead_share": dead, "tokens": state.step * config.batch_size, "epochs": state.position.epoch + 1}
    coder = replace(coder, metadata={**identity, "results": results})
    save_coder(coder, out)
    (out / CHECKPOINT).unlink(missing_ok=True)
    return coder


def _train(
    stream: ActivationStream, n_features: int, config: TrainConfig, path: Path, identity: dict[str, Any], stage: Observer
) -> State:
    """Run the steps that are left, from the checkpoint if there is one; leave one on every exit but an error."""
    state: State | None = None
    if path.is_file():
        state = checkpoint.load(path, identity, stream.subject_device)
        logger.info("continuing from step %d of %d", state.step, config.n_steps)
        stage.advance(state.step * config.batch_size)
    try:
        with closing(stream.batches(state.position if state else Position())) as batches:
            for batch, after in batches:
                if state is None:
                    state = State.of(TopK.initial(batch, n_features, config.seed))
                if state.step >= config.n_steps:
                    break
                with checkpoint.unbroken():
                    facts = step(state, batch, after, config)
                if state.step % config.checkpoint_every == 0:
                    checkpoint.save(path, state, identity)
                stage.advance(len(batch), **facts)
    except KeyboardInterrupt:
        if state is not None:
            checkpoint.save(path, state, identity)
            logger.warning("stopped after step %d of %d; the same command continues", state.step, config.n_steps)
        raise
    assert state is not None
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
    return {"fvu": f"{float(unexplained):.3f}", "l0": f"{len(fired) / len(batch):.1f}", "dead": str(len(dead))}
