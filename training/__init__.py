"""Training of sparse coders on a subject's states: ``training.train(subject, corpus, hook, config, out)``.

Importing this imports no torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from autointerp.errors import missing
from training.config import TrainConfig

if TYPE_CHECKING:
    from autointerp.coders import SparseCoder
    from autointerp.progress import Observer
    from autointerp.subjects import Subject
    from training.stream import Sequences

__all__ = ["TrainConfig", "train"]


def train(
    subject: Subject,
    corpus: Sequences,
    hook: str,
    config: TrainConfig,
    out: str | Path,
    observer: Observer | None = None,
) -> SparseCoder:
    """Train a TopK autoencoder on the states of ``subject`` at ``hook`` and write it to the folder ``out``.

    An interrupted training leaves a checkpoint in ``out``, from which the same call continues; a finished one is read
    back. ``coder.metadata["results"]`` holds fvu, l0 and dead share on held-out sequences.

    Raises
    ------
    UsageError : a setting out of range, a corpus with fewer tokens than a batch, or an ``out`` of another training.
    AutointerpError : states that are not finite.
    """
    with missing("training a sparse coder", "torch"):
        from training.trainer import train_topk
    return train_topk(subject, corpus, hook, config, Path(out), observer)
