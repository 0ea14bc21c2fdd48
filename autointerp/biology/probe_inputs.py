"""What probes read: tokens of sequences drawn at random, their features and the subject's states there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from autointerp.errors import UsageError

if TYPE_CHECKING:
    from autointerp.cache import ActivationCache
    from autointerp.corpus import Corpus
    from autointerp.subjects import Subject

CHUNK = 1 << 20
"""Activations read at a time."""


@dataclass(frozen=True, eq=False)
class Sample:
    """All tokens of the sequences drawn.

    Attributes
    ----------
    sequences : (m,) rows of the corpus, ascending. token : (n,) flat positions in the cache, ascending.
    part, group : (n,) part 0 … 2 and group of each token's sequence. n_sequences : (3,) drawn for each part.
    """

    sequences: np.ndarray
    token: np.ndarray
    part: np.ndarray
    group: np.ndarray
    n_sequences: np.ndarray


def drawn(cache: ActivationCache, corpus: Corpus, parts: np.ndarray, budget: tuple[int, int, int], seed: int) -> Sample:
    """Whole sequences of each part, in a seeded order, until their tokens reach the part's budget."""
    rng = np.random.default_rng(seed)
    lengths = np.diff(cache.offsets)
    order = rng.permutation(len(parts))
    chosen, counts = [], np.zeros(3, np.int64)
    for part, most in enumerate(budget):
        rows = order[(parts[order] == part) & (lengths[order] > 0)]
        reached = np.cumsum(lengths[rows])
        rows = rows[: int(np.searchsorted(reached, most, "left")) + 1]
        chosen.append(rows)
        counts[part] = len(rows)
    sequences = np.sort(np.concatenate(chosen))
    n = lengths[sequences]
    token = np.repeat(cache.offsets[sequences] - (np.cumsum(n) - n), n) + np.arange(n.sum())
    groups = np.asarray(corpus.groups)[sequences]
    return Sample(sequences, token, np.repeat(parts[sequences], n), np.repeat(groups, n), counts)


def feature_matrix(cache: ActivationCache, sample: Sample) -> sp.csr_array:
    """(n, n_features) float32 activations at the tokens drawn, each feature as a share of its maximum on fit.

    Features that are silent on fit are left at 0.
    """
    place = np.full(cache.n_tokens, -1, np.int32)
    place[sample.token] = np.arange(len(sample.token), dtype=np.int32)
    rows, columns, values = [], [], []
    for first, indptr, token, value in cache.chunks(CHUNK):
        row = place[token]
        on = row >= 0
        column = np.repeat(np.arange(first, first + len(indptr) - 1, dtype=np.int32), np.diff(indptr))
        rows.append(row[on])
        columns.append(column[on])
        values.append(value[on].astype(np.float32))
    row, column, data = (np.concatenate(pieces) for pieces in (rows, columns, values))
    top = np.zeros(cache.n_features, np.float32)
    fit = sample.part[row] == 0
    np.maximum.at(top, column[fit], data[fit])
    data = np.divide(data, top[column], out=np.zeros_like(data), where=top[column] > 0)
    return sp.csr_array((data, (row, column)), (len(sample.token), cache.n_features))


def states_of(cache: ActivationCache, corpus: Corpus, subject: Subject, sample: Sample) -> np.ndarray:
    """(n, d) float32 states of the subject at the cache's hook, each coordinate with mean 0 and deviation 1 on fit.

    Raises
    ------
    UsageError : the cache was made of another subject.
    """
    from autointerp.subjects import iter_states, tokenize_rows

    about = cache.manifest["subject"]
    if subject.digest != about["digest"]:
        raise UsageError(
            f"the cache is of subject {about['name']} ({about['digest'][:12]}…), this is {subject.name} "
            f"({subject.digest[:12]}…): give the subject that was cached"
        )
    hook, settings = about["hook"], cache.manifest["settings"]
    ids = [tokens.ids for tokens in tokenize_rows(subject, corpus, sample.sequences.tolist())]
    overlap = min(settings.get("overlap", 64), subject.context_length // 4)
    batch = {"overlap": overlap, "batch_tokens": settings.get("batch_tokens") or 4096}
    states: np.ndarray | None = None
    for positions, found in iter_states(subject, ids, [hook], **batch):
        values = found[hook].float().cpu().numpy()
        if states is None:
            states = np.zeros((len(sample.token), values.shape[1]), np.float32)
        states[positions] = values
    assert states is not None
    fit = states[sample.part == 0]
    deviation = fit.std(0)
    return (states - fit.mean(0)) / np.where(deviation > 0, deviation, 1)
