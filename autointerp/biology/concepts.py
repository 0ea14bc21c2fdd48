"""Concept F1: which feature finds which annotated element, chosen on one half of the groups, reported on the other.

Definition: residue precision × instance recall, as InterPLM (Simon & Zou 2024) scores domain concepts: of the residues
at which a feature exceeds a share of its maximum, how many carry the label; of the labelled instances, how many hold
such a residue.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from autointerp.errors import UsageError
from autointerp.features.splits import assign_sides

if TYPE_CHECKING:
    from autointerp.cache import ActivationCache
    from autointerp.corpus import Corpus

THRESHOLDS = (0.0, 0.15, 0.5, 0.6, 0.8)
"""Shares of the feature's maximum on the fit half (InterPLM's)."""


@dataclass(frozen=True)
class ConceptMatch:
    """The feature and threshold with the best F1 for one label on the fit half, and their result on the test half."""

    label: str
    feature: int
    threshold: float
    fit_f1: float
    f1: float
    precision: float
    recall: float
    n_instances: int
    """Instances on the test half."""


def match_concepts(
    cache: ActivationCache, corpus: Corpus, *, min_instances: int = 10, seed: int = 0
) -> list[ConceptMatch]:
    """The best feature for every label with at least ``min_instances`` instances on each half, best first.

    The halves are disjoint by group. A feature that never fires on the test half scores 0 there.

    Raises
    ------
    UsageError : the corpus has no annotations, or a row of the cache is not a residue (text, level ``sequence``), or
        activations of some features were left out.
    """
    if cache.level != "token" or corpus.kind != "protein":
        raise UsageError("concepts are matched residue by residue: the cache must be of level token, and of proteins")
    cache.check_whole("matching concepts")
    if not len(corpus.annotations):
        raise UsageError(f"{corpus.path}: this corpus has no annotations")
    sides = assign_sides(np.asarray(corpus.groups)[: cache.n_sequences], (0.5, 0.0, 0.5), seed)
    on_fit = np.repeat(sides == 0, np.diff(cache.offsets))
    labels = _Labels(cache, corpus, on_fit)
    kept = np.flatnonzero(labels.instances.min(0) >= min_instances)
    best: dict[int, ConceptMatch] = {}
    for threshold in THRESHOLDS:
        active = _active(cache, on_fit, threshold)
        fit, test = labels.f1(active, on_fit, 0), labels.f1(active, ~on_fit, 1)
        for label in kept.tolist():
            feature = int(fit[label, :, 0].argmax())
            fit_f1 = float(fit[label, feature, 0])
            if label in best and fit_f1 <= best[label].fit_f1:
                continue
            f1, precision, recall = test[label, feature].tolist()
            name, n_instances = str(labels.names[label]), int(labels.instances[1, label])
            best[label] = ConceptMatch(name, feature, threshold, fit_f1, f1, precision, recall, n_instances)
    return sorted(best.values(), key=lambda match: -match.f1)


class _Labels:
    """Labels and their instances as sparse indicators over tokens."""

    def __init__(self, cache: ActivationCache, corpus: Corpus, on_fit: np.ndarray) -> None:
        table = corpus.annotations
        sequence, start, end, instance = (
            np.asarray(table[n]).astype(np.int64) for n in ("sequence", "start", "end", "instance")
        )
        within = sequence < cache.n_sequences
        types, labels = table["type"].to_pylist(), table["label"].to_pylist()
        names = np.array([f"{kind}: {label}" for kind, label in zip(types, labels, strict=True)])
        self.names, label = np.unique(names[within], return_inverse=True)
        begin = cache.offsets[sequence[within]] + start[within]
        lengths = (end - start)[within]
        token = np.repeat(begin - (np.cumsum(lengths) - lengths), lengths) + np.arange(lengths.sum())
        _, number = np.unique(np.stack([label, instance[within]]), axis=1, return_inverse=True)
        number = number.ravel()
        shape = (cache.n_tokens, int(number.max(initial=-1)) + 1)
        self.instance_of = _indicator(token, np.repeat(number, lengths), shape)
        self.label_of = _indicator(token, np.repeat(label, lengths), (cache.n_tokens, len(self.names)))
        first = np.unique(number, return_index=True)[1]
        self.label_of_instance = label[first]
        fit = on_fit[np.minimum(begin[first], cache.n_tokens - 1)]
        self.instances = np.stack(
            [np.bincount(self.label_of_instance[side], minlength=len(self.names)) for side in (fit, ~fit)]
        )

    def f1(self, active: sp.csr_array, rows: np.ndarray, half: int) -> np.ndarray:
        """(n_labels, n_features, 3): F1, precision and recall on the tokens ``rows``."""
        chosen = np.flatnonzero(rows)
        active = active[chosen]
        hits = (self.label_of[chosen].T @ active).toarray().astype(np.float64)
        fired = np.asarray(active.sum(0)).ravel()
        found = (self.instance_of[chosen].T @ active).tocoo()
        recalled = np.zeros(hits.shape)
        np.add.at(recalled, (self.label_of_instance[found.row], found.col), found.data > 0)
        precision = hits / np.maximum(fired, 1)
        recall = recalled / np.maximum(self.instances[half], 1)[:, None]
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
        return np.stack([f1, precision, recall], -1)


def _indicator(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> sp.csr_array:
    matrix = sp.csr_array((np.ones(len(rows), np.float32), (rows, columns)), shape=shape)
    matrix.data[:] = 1.0  # overlapping annotations of one label count once
    return matrix


def _active(cache: ActivationCache, on_fit: np.ndarray, threshold: float) -> sp.csr_array:
    """(n_tokens, n_features) indicator of activations above ``threshold`` × the feature's maximum on the fit half."""
    tokens, indptr = [], [0]
    for _, token, value in cache.features():
        if threshold:
            top = value[on_fit[token]].max(initial=0)
            token = token[value.astype(np.float32) > threshold * float(top)] if top else token[:0]
        tokens.append(token)
        indptr.append(indptr[-1] + len(token))
    rows = np.concatenate(tokens).astype(np.int64)
    data = np.ones(len(rows), np.float32)
    return sp.csc_array((data, rows, np.array(indptr)), shape=(cache.n_tokens, cache.n_features)).tocsr()
