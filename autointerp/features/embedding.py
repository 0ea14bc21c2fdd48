"""Embeddings of every window of a corpus: what ``similar`` negatives are found by."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from autointerp.errors import FormatError, UsageError, missing
from autointerp.features.checks import check_corpus
from autointerp.features.contexts import bins_of, default_context
from autointerp.features.examples import Cutter
from autointerp.files import TensorFile, write_tensor_stream
from autointerp.progress import Observer, Stage

if TYPE_CHECKING:
    from autointerp.cache.reader import ActivationCache
    from autointerp.corpus import Corpus
    from autointerp.subjects import Hook, Subject

SENTENCES = "sentence-transformers/all-MiniLM-L6-v2"
"""The model for text; 384 numbers a window."""
AT_ONCE = 1 << 13
"""Windows embedded between two writes, at least."""
Pieces = Iterator[np.ndarray]


def embed_windows(
    cache: ActivationCache,
    corpus: Corpus,
    path: str | Path,
    *,
    context: int | None = None,
    model: str | None = None,
    device: str = "cpu",
    observer: Observer | None = None,
) -> np.ndarray:
    """The embeddings in the file ``path``, memory-mapped; made first if there is none.

    A window is a bin: ``context`` tokens from the beginning of a sequence on, the next ``context``, and so on; at level
    ``sequence`` the beginning of each sequence.

    Parameters
    ----------
    context : tokens of a window, as of the FeatureLoader.
    model : of text, a sentence-transformers model; of proteins, a subject or ``SUBJECT@HOOK``, whose states are
        averaged over the window. By default ``SENTENCES``, and the cache's own subject and hook.
    device : ``cpu``, ``cuda``, ``cuda:N`` or ``auto``.

    Returns
    -------
    (n_windows, d) float16.

    Raises
    ------
    UsageError : the file holds embeddings of other windows, or by another model. MissingDependency : no
        sentence-transformers.
    """
    check_corpus(cache, corpus)
    path, context = Path(path), default_context(cache.level) if context is None else context
    bins = bins_of(cache, context, centred=False)
    name = model or (SENTENCES if corpus.kind == "text" else _own_subject(cache))
    # the tokens' bounds are part of it: another subject may cut a text into others
    windows = hashlib.sha256(f"{cache.level} {context} ".encode() + cache.offsets.tobytes())
    key = {"corpus": corpus.digest, "model": name, "windows": windows.hexdigest()}
    if not path.exists():
        make: Callable[..., tuple[int, Pieces]] = _sentences if corpus.kind == "text" else _states
        cutter = Cutter(cache, corpus, bins, context)
        with Stage(observer, "embedding windows", len(bins), "window") as stage:
            d, pieces = make(cutter, name, device, stage)
            write_tensor_stream(path, {"embedding": (np.dtype(np.float16), (len(bins), d), pieces)}, key)
    file = TensorFile(path)
    if "embedding" not in file:
        raise FormatError(path, "embeddings of windows", f"tensors {', '.join(file.entries) or 'none'}")
    for what, value in key.items():
        if file.metadata.get(what) != value:
            raise UsageError(f"{path} holds embeddings of another {what}: name another file, which is then made")
    return file.map()["embedding"]


def _own_subject(cache: ActivationCache) -> str:
    return f"{cache.manifest['subject']['name']}@{cache.manifest['subject']['hook']}"


def _sentences(cutter: Cutter, name: str, device: str, stage: Observer) -> tuple[int, Pieces]:
    """Embeddings by a sentence-transformers model."""
    with missing("embedding text", "similar"):
        from sentence_transformers import SentenceTransformer
    model = SentenceTransformer(name, device=None if device == "auto" else device)

    def pieces() -> Pieces:
        for first in range(0, len(cutter.bins), AT_ONCE):
            texts = cutter.texts(np.arange(first, min(first + AT_ONCE, len(cutter.bins))))
            yield model.encode(texts, batch_size=64, show_progress_bar=False, normalize_embeddings=True)
            stage.advance(len(texts))

    return len(model.encode(["one"], show_progress_bar=False)[0]), pieces()


def _states(cutter: Cutter, name: str, device: str, stage: Observer) -> tuple[int, Pieces]:
    """States of a subject, averaged over each window."""
    from autointerp.subjects import load_subject

    name, _, place = name.partition("@")
    subject = load_subject(name, device=device)
    hook = subject.hook(place or f"layer:{subject.n_layers}")

    def pieces() -> Pieces:
        base = cutter.bins.base
        firsts = np.unique(np.searchsorted(base, np.arange(0, base[-1], AT_ONCE), "right") - 1)
        for first, last in pairwise([*firsts.tolist(), len(base) - 1]):
            yield _averages(cutter, subject, hook, range(first, last)).clip(-65504, 65504)  # the range of float16
            stage.advance(int(base[last] - base[first]))

    return hook.d, pieces()


def _averages(cutter: Cutter, subject: Subject, hook: Hook, rows: range) -> np.ndarray:
    """(windows of ``rows``, d) float32, 0 for a sequence without tokens."""
    from autointerp.subjects import iter_states, tokenize_rows

    ids = [tokens.ids for tokens in tokenize_rows(subject, cutter.corpus, rows)]
    lengths = np.diff(cutter.cache.offsets[rows.start : rows.stop + 1])
    if [len(i) for i in ids] != lengths.tolist():
        raise UsageError(f"{subject.name} cuts the corpus into other tokens than the cache's subject does")
    base = cutter.bins.base[rows.start : rows.stop + 1]
    window_of = np.repeat(base[:-1] - base[0], lengths)
    if not cutter.by_sequence:
        window_of += (np.arange(len(window_of)) - np.repeat(np.cumsum(lengths) - lengths, lengths)) // cutter.context
    total = np.zeros((int(base[-1] - base[0]), hook.d), np.float32)
    for positions, states in iter_states(subject, ids, [hook.name], overlap=min(64, subject.context_length // 4)):
        window = window_of[positions]
        order = np.argsort(window, kind="stable")
        starts = np.flatnonzero(np.diff(window[order], prepend=-1))
        total[window[order][starts]] += np.add.reduceat(states[hook.name].float().cpu().numpy()[order], starts)
    return total / np.maximum(np.bincount(window_of, minlength=len(total)), 1)[:, None]
