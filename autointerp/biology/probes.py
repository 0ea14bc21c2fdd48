"""Linear probes for annotated concepts: from one feature, from all features, from the subject's own states.

After InterProt (Adams et al. 2025): logistic regressions whose classes weigh alike, trained on some clusters of
homologues and tested on others. One feature that does what all states together do is a feature of the concept; where
all features do worse than the states, the coder lost what the subject knew. The token itself, as a fourth input, tells
what takes no subject at all.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import scipy.sparse as sp

from autointerp.biology.counting import Labels
from autointerp.biology.f1 import check_tokens, harmonic
from autointerp.biology.probe_inputs import Sample, drawn, feature_matrix, states_of
from autointerp.biology.regions import Regions
from autointerp.errors import UsageError, missing
from autointerp.progress import Observer, Stage
from autointerp.statistics.auroc import auroc_interval
from autointerp.statistics.clusters import Clusters

if TYPE_CHECKING:
    import pyarrow as pa

    from autointerp.cache import ActivationCache
    from autointerp.corpus import Corpus
    from autointerp.subjects import Subject

FIT, VALID, TEST = range(3)
STRENGTHS = (0.01, 0.1, 1.0)
"""Inverse strengths of the penalty (scikit-learn's C); the one with the best average precision on valid is taken."""
INPUTS = ("one feature", "features", "states", "token")
Matrix: TypeAlias = "np.ndarray | sp.csr_array"


@dataclass(frozen=True)
class ProbeSettings:
    """How probes are trained and tested."""

    tokens: int = 20_000
    """Tokens of whole sequences drawn for fit and for test each, half as many for valid."""
    candidates: int = 5
    """Features tried for each concept: those that correlate with it most on fit."""
    max_concepts: int = 50
    """Concepts probed, those with the most instances on test."""
    min_instances: int = 10
    """Instances that a concept needs on fit and on test, of what was drawn."""
    seed: int = 0
    """Of the draw."""

    def __post_init__(self) -> None:
        for name in ("tokens", "candidates", "max_concepts", "min_instances"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} {getattr(self, name)}: must be at least 1")


@dataclass(frozen=True, eq=False)
class ProbeStudy:
    """What :func:`probe_concepts` found.

    Attributes
    ----------
    table : a row for each concept and input (:data:`INPUTS`): ``feature`` (of ``one feature``), ``strength``, and on
        test ``auroc`` with a 95 % interval whose unit is the group, ``average_precision`` beside the ``prevalence`` it
        has by chance, F1, precision and recall at the threshold that is best on valid, and ``balanced_f1`` where the
        probe says one half, as InterProt reports it.
    n_tokens, n_sequences : (3,) drawn for fit, valid and test. left_out : concepts with too few instances, on every
        token, or beyond ``max_concepts``.
    """

    table: pa.Table
    n_tokens: np.ndarray
    n_sequences: np.ndarray
    left_out: int


def probe_concepts(
    cache: ActivationCache,
    corpus: Corpus,
    regions: Regions,
    parts: np.ndarray,
    settings: ProbeSettings | None = None,
    *,
    subject: Subject | None = None,
    observer: Observer | None = None,
) -> ProbeStudy:
    """Train and test the probes of every concept that occurs often enough.

    Memory follows from ``settings.tokens``, not from the cache: the tokens drawn, times the subject's width and the
    features active on them, and some 20 bytes for each token of the cache.

    Parameters
    ----------
    parts : (n_sequences,) 0 fit, 1 valid, 2 test, of :func:`autointerp.biology.f1.parts_of`.
    subject : of the cache; without one there are no probes on states.

    Raises
    ------
    UsageError : level ``sequence``, activations that were left out, another subject, or no concept frequent enough.
    """
    check_tokens(cache)
    s = settings or ProbeSettings()
    budget = (s.tokens, max(s.tokens // 2, 1), s.tokens)
    sample = drawn(cache, corpus, parts, budget, s.seed)
    truth, names, left_out = _truths(cache, regions, sample, s)
    features = feature_matrix(cache, sample)
    inputs: dict[str, Matrix] = {"features": features, "token": _one_hot(cache, sample)}
    if subject is not None:
        inputs["states"] = states_of(cache, corpus, subject, sample)
    chosen = _candidates(features[sample.part == FIT], truth[sample.part == FIT], s.candidates)
    rows: list[dict[str, Any]] = []
    with Stage(observer, "probing", len(names), "concept") as stage:
        for concept, name in enumerate(names):
            for row in _probes(inputs, features, chosen[concept], truth[:, concept], sample):
                rows.append({"concept": name, **row})
            stage.advance(1)
    sizes = np.bincount(sample.part, minlength=3), sample.n_sequences
    return ProbeStudy(_table(rows), *sizes, left_out)


def _truths(
    cache: ActivationCache, regions: Regions, sample: Sample, s: ProbeSettings
) -> tuple[np.ndarray, list[str], int]:
    """(n, n_concepts) bool labels of the tokens drawn, the concepts' names, and how many were left out."""
    side = np.full(cache.n_tokens, -1, np.int8)
    side[sample.token] = sample.part
    instances = regions.instances(side, 3)[[FIT, TEST]]
    labels = Labels.of(regions, cache.n_tokens)
    sizes = np.bincount(sample.part, minlength=3)[:, None]
    told = (labels.positives(side, 3) < sizes)[[FIT, TEST]].all(0)  # a mark on every token cannot be told apart
    enough = told & (instances.min(0) >= s.min_instances)
    if not enough.any():
        raise UsageError(
            f"no concept has {s.min_instances} instances among the tokens drawn for fit and for test (the most is "
            f"{int(instances.min(0).max(initial=0))}): give more --tokens or a smaller --min-instances"
        )
    order = np.argsort(-np.where(enough, instances[1], -1), kind="stable")[: s.max_concepts]
    order = np.sort(order[enough[order]])
    truth = np.zeros((len(sample.token), len(regions.names)), bool)
    place = np.full(cache.n_tokens, -1, np.int64)
    place[sample.token] = np.arange(len(sample.token))
    at = place[labels.tokens()]
    on = at >= 0
    truth[at[on], labels.concept[labels.instance[on]]] = True
    return truth[:, order], regions.names[order].tolist(), len(regions.names) - len(order)


def _one_hot(cache: ActivationCache, sample: Sample) -> sp.csr_array:
    ids = cache.tokens[sample.token].astype(np.int64)
    shape = (len(ids), int(ids.max(initial=0)) + 1)
    return sp.csr_array((np.ones(len(ids), np.float32), (np.arange(len(ids)), ids)), shape)


def _candidates(features: sp.csr_array, truth: np.ndarray, n: int) -> np.ndarray:
    """(n_concepts, n) features with the highest absolute correlation with each label, best first."""
    rows = features.shape[0]
    joint = (features.T @ truth.astype(np.float32)).astype(np.float64)  # (n_features, n_concepts)
    mean = np.asarray(features.sum(0)).ravel() / rows
    spread = np.sqrt(np.maximum(np.asarray(features.multiply(features).sum(0)).ravel() / rows - mean**2, 0))
    share = truth.mean(0)
    covariance = joint / rows - mean[:, None] * share
    scale = spread[:, None] * np.sqrt(share * (1 - share))
    correlation = np.divide(np.abs(covariance), scale, out=np.zeros_like(covariance), where=scale > 1e-12)
    return np.argsort(-correlation, axis=0, kind="stable")[:n].T


def _probes(
    inputs: Mapping[str, Matrix], features: sp.csr_array, candidates: np.ndarray, truth: np.ndarray, sample: Sample
) -> Iterator[dict[str, Any]]:
    """One row an input, for one concept."""
    single = [(_fitted(features[:, [f]].toarray(), truth, sample, (1.0,)), f) for f in candidates.tolist()]
    (probe, feature) = max(single, key=lambda found: found[0].valid)
    yield {"input": "one feature", "feature": feature, **_measured(probe, truth, sample)}
    for name in INPUTS[1:]:
        if name in inputs:
            found = _fitted(inputs[name], truth, sample, STRENGTHS)
            yield {"input": name, "feature": None, **_measured(found, truth, sample)}


@dataclass(frozen=True, eq=False)
class _Probe:
    """Probabilities (n,) of every token drawn, by the penalty that was best on valid, and its precision there."""

    probability: np.ndarray
    strength: float
    valid: float


def _fitted(x: Matrix, truth: np.ndarray, sample: Sample, strengths: tuple[float, ...]) -> _Probe:
    with missing("probes", "analysis"):
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression
        from sklearn.metrics import average_precision_score

    fit, valid = sample.part == FIT, sample.part == VALID
    best: _Probe | None = None
    for strength in strengths:
        model = LogisticRegression(C=strength, class_weight="balanced", max_iter=200)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # valid decides, whatever step it stopped at
            model.fit(x[fit], truth[fit])
        probability = model.predict_proba(x)[:, 1]
        known = truth[valid].any()
        score = average_precision_score(truth[valid], probability[valid]) if known else 0.0
        if best is None or score > best.valid:
            best = _Probe(probability, strength, float(score))
    assert best is not None
    return best


def _measured(probe: _Probe, truth: np.ndarray, sample: Sample) -> dict[str, Any]:
    from sklearn.metrics import average_precision_score, precision_recall_curve

    valid, test = sample.part == VALID, sample.part == TEST
    threshold = 0.5
    if truth[valid].any():
        precision, recall, thresholds = precision_recall_curve(truth[valid], probe.probability[valid])
        threshold = float(thresholds[harmonic(precision, recall)[:-1].argmax()])
    y, p = truth[test], probe.probability[test]
    area = auroc_interval(y, p, Clusters.of(sample.group[test])).at(0)
    precision, recall = _at(p >= threshold, y)
    return {
        "strength": probe.strength,
        **dict(zip(("auroc", "auroc_low", "auroc_high"), area, strict=True)),
        "average_precision": float(average_precision_score(y, p)),
        "prevalence": float(y.mean()),
        "f1": float(harmonic(precision, recall)),
        "precision": float(precision),
        "recall": float(recall),
        "threshold": threshold,
        "balanced_f1": float(harmonic(*_at(p > 0.5, y))),
        "n_positive": int(y.sum()),
    }


def _at(called: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall of what is called."""
    hits = (called & truth).sum()
    return np.asarray(hits / max(called.sum(), 1)), np.asarray(hits / max(truth.sum(), 1))


def _table(rows: list[dict[str, Any]]) -> pa.Table:
    import pyarrow as pa

    kinds = {"concept": pa.string(), "input": pa.string(), "feature": pa.int32(), "n_positive": pa.int64()}
    schema = pa.schema([(name, kinds.get(name, pa.float64())) for name in rows[0]])
    return pa.Table.from_pylist(rows, schema=schema)
