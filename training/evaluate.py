"""How well a coder reconstructs states it was not trained on."""

from __future__ import annotations

import numpy as np
import torch

from autointerp.coders import SparseCoder
from autointerp.progress import Observer
from autointerp.subjects import Subject, tokenize_rows
from training.stream import CHUNK, Sequences, states_of

MAX_ROWS = 200_000  # enough for FVU to three digits


def split_groups(groups: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows to train on and rows held out: whole groups, drawn by seed, together at most ``share`` of the rows.

    A group that would go beyond the share is passed over, so the second may be empty where all groups are large.
    """
    labels, group_of, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    room, held = int(share * len(groups)), np.zeros(len(labels), bool)
    for label in np.random.default_rng([seed, 2]).permutation(len(labels)).tolist():
        if sizes[label] <= room:
            held[label] = True
            room -= int(sizes[label])
    mask = held[group_of]
    return np.flatnonzero(~mask), np.flatnonzero(mask)


def evaluate(
    subject: Subject, corpus: Sequences, hook: str, coder: SparseCoder, rows: np.ndarray, level: str, observer: Observer
) -> dict[str, float | int | None]:
    """FVU, L0 and the share of features that never fire, on the sequences ``rows``.

    ``fvu`` is Σ‖x − x̂‖² / Σ‖x − x̄‖² with the sums over all states and x̄ their common mean.

    Returns
    -------
    ``n``, ``fvu``, ``l0``, ``silent_share``; None where there is nothing to measure on.
    """
    n, active, squared_error, squared = 0, 0, 0.0, 0.0
    total = torch.zeros(coder.d_in, dtype=torch.float64, device=coder.b_dec.device)
    fired = torch.zeros(coder.n_features, dtype=torch.bool, device=coder.b_dec.device)
    for start in range(0, len(rows), CHUNK):
        tokens = tokenize_rows(subject, corpus, rows[start : start + CHUNK].tolist())
        x = states_of(subject, [t.ids for t in tokens], hook, level).to(coder.b_dec.device)
        if not len(x):
            continue
        codes = coder.encode(x)
        centred = (x - coder.b_dec).double()  # near the mean, so that the variance keeps its digits
        total += centred.sum(0)
        squared += float(centred.square().sum())
        squared_error += float((x - coder.decode(codes)).double().square().sum())
        active += len(codes.indices)
        fired[codes.indices] = True
        n += len(x)
        observer.advance(len(x))
        if n >= MAX_ROWS:
            break
    variance = squared - float(total.square().sum()) / n if n else 0.0
    return {
        "n": n,
        "fvu": squared_error / variance if variance > 0 else None,
        "l0": active / n if n else None,
        "silent_share": 1 - float(fired.double().mean()) if n else None,
    }
