"""A GO study: which terms the proteins of each feature of a cache have more often than the background."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import scipy.sparse as sp

from autointerp.biology.enrichment import Findings, enrich, enrich_ranks
from autointerp.biology.go import TermTable, of_organism, sequence_maxima
from autointerp.errors import UsageError
from autointerp.features.checks import check_corpus
from autointerp.progress import Observer

if TYPE_CHECKING:
    import pyarrow as pa

    from autointerp.biology.obo import Ontology
    from autointerp.cache import ActivationCache
    from autointerp.corpus import Corpus

SEED = {"test": "fisher", "alternative": "two-sided", "background": "all", "threshold": 0.0, "alpha": 0.05,
        "min_study": 1, "min_proteins": 1, "together": True}  # fmt: skip
"""The protein seed's choices: Bonferroni over all namespaces, depleted terms and unannotated proteins in."""


@dataclass(frozen=True)
class GoSettings:
    """What a GO study tests."""

    test: Literal["fisher", "ranks"] = "fisher"
    """Fisher's exact test on study sets, or Mann & Whitney's on all activations."""
    alternative: Literal["over", "two-sided"] = "over"
    """Over-representation, or any deviation."""
    background: Literal["annotated", "namespace", "all"] = "annotated"
    """Proteins with any term, with any term of the namespace, or all of the corpus."""
    threshold: float = 0.0
    """A protein is in the study set where the feature exceeds this share of its maximum."""
    alpha: float = 0.05
    """Findings have an adjusted p-value of at most this."""
    min_study: int = 2
    """Features with fewer proteins in the background are not tested."""
    min_proteins: int = 2
    """Terms with fewer proteins in the background are not tested."""
    organism: str | None = None
    """Only sequences of this organism (name or id, as the corpus has it)."""
    together: bool = False
    """Correct over all namespaces at once, and by Bonferroni's rule within a feature."""
    null: bool = True
    """Count the findings with the proteins' annotations shuffled, too: among all, and among proteins of like length."""
    seed: int = 0
    """Of the shuffle."""

    def __post_init__(self) -> None:
        if not 0 <= self.threshold < 1:
            raise UsageError(f"threshold {self.threshold:g}: a share of the feature's maximum, 0 … below 1")
        if not 0 < self.alpha < 0.5:
            raise UsageError(f"alpha {self.alpha:g}: must be above 0 and below 0.5")
        if self.test == "ranks" and (self.alternative != "over" or self.threshold):
            raise UsageError("test ranks looks at over-representation, at all activations: no two-sided, no threshold")
        if min(self.min_study, self.min_proteins) < 1:
            raise UsageError("min_study and min_proteins must be at least 1")


@dataclass(frozen=True, eq=False)
class NamespaceResult:
    """Findings of one namespace (or of all together); terms in them are those of the whole ontology."""

    namespace: str
    findings: Findings
    null_findings: int | None
    length_null_findings: int | None
    """With annotations shuffled among proteins of like length: what a feature's liking for length brings alone."""


@dataclass(frozen=True, eq=False)
class GoStudy:
    """What :func:`study_go` found.

    Attributes
    ----------
    results : one a namespace with annotated proteins.
    fires_in : (n_features,) sequences of the cache in which each feature exceeds the threshold.
    background : (n_sequences,) bool. organisms : sequences of each organism in the corpus.
    """

    ontology: Ontology
    table: TermTable
    settings: GoSettings
    results: tuple[NamespaceResult, ...]
    fires_in: np.ndarray
    background: np.ndarray
    organisms: Mapping[str, int]
    identity: str

    def rows(self) -> pa.Table:
        """Every finding: feature, term, counts, effect and p-values, the strongest of each feature first."""
        import pyarrow as pa

        return pa.concat_tables([_rows(self.ontology, r, self.settings) for r in self.results])

    def features(self) -> pa.Table:
        """One row a feature: where it fires, whether it was tested, how many findings, and the best term."""
        import pyarrow as pa

        n = len(self.fires_in)
        columns: dict[str, Any] = {"feature": np.arange(n), "fires_in": self.fires_in}
        for r in self.results:
            f = r.findings
            best = np.full(n, -1)
            over = np.flatnonzero(f.effect > _no_effect(self.settings))[::-1]
            best[f.feature[over]] = f.term[over]  # the strongest stands first, so it is written last
            columns |= {
                f"{r.namespace}_study": f.study,
                f"{r.namespace}_tested": f.tested_features,
                f"{r.namespace}_terms": np.bincount(f.feature, minlength=n),
                f"{r.namespace}_best": pa.array([self.ontology.ids[t] if t >= 0 else None for t in best], pa.string()),
                f"{r.namespace}_best_name": pa.array(
                    [self.ontology.names[t] if t >= 0 else None for t in best], pa.string()
                ),
            }
        return pa.table(columns)

    def terms(self) -> pa.Table:
        """The terms of the findings and all above them: term, name, namespace, depth, parents (ids, with spaces)."""
        import pyarrow as pa

        o = self.ontology
        found = np.unique(np.concatenate([np.zeros(0, np.int64), *(r.findings.term for r in self.results)]))
        kept = np.unique(o.ancestors[found].indices) if len(found) else found
        above = [" ".join(o.ids[p] for p in o.parents[[i]].indices) for i in kept.tolist()]
        return pa.table(
            {
                "term": pa.array([o.ids[i] for i in kept], pa.string()),
                "name": pa.array([o.names[i] for i in kept], pa.string()),
                "namespace": pa.array([o.namespaces[n] for n in o.namespace[kept]], pa.string()),
                "depth": o.depth[kept].astype(np.int32),
                "parents": pa.array(above, pa.string()),
            }
        )

    def summary(self) -> dict[str, Any]:
        """The choices made and what came of them, as JSON."""
        return {
            "settings": asdict(self.settings),
            "ontology": {
                "version": self.ontology.version,
                "terms": len(self.ontology),
                "obsolete": len(self.ontology.obsolete),
                **self.ontology.counts,
            },
            "annotations": {"source": self.table.source, **self.table.counts},
            "taxa": dict(self.table.taxa),
            "organisms": dict(list(self.organisms.items())[:20]),
            "background": {"proteins": int(self.background.sum()), "identity": self.identity},
            "features": len(self.fires_in),
            "never_fire": int((self.fires_in == 0).sum()),
            "namespaces": {r.namespace: _facts(r, self.settings) for r in self.results},
        }


def study_go(
    cache: ActivationCache,
    corpus: Corpus,
    ontology: Ontology,
    table: TermTable,
    settings: GoSettings | None = None,
    observer: Observer | None = None,
) -> GoStudy:
    """Test every feature against every term, namespace by namespace.

    Raises
    ------
    UsageError : the corpus is not the cache's, there is no such organism, or the background is empty.
    """
    settings = settings or GoSettings()
    check_corpus(cache, corpus)
    n = cache.n_sequences
    kept, organisms = of_organism(corpus, settings.organism, contains=settings.together)
    annotated = np.diff(table.propagated.indptr)[:n] > 0
    background = kept[:n] & (annotated | (settings.background == "all"))
    if background.sum() < 2:
        raise UsageError(f"{int(background.sum())} proteins of the cache are in the background; at least 2 are needed")
    lengths = np.asarray(corpus.lengths)[:n]
    activation = sequence_maxima(cache, range(cache.n_features), settings.threshold, observer)
    fires_in = np.diff(activation.indptr)
    results = []
    spaces = ["all"] if settings.together else ontology.namespaces
    for i, name in enumerate(spaces):
        columns = np.arange(len(ontology)) if settings.together else np.flatnonzero(ontology.namespace == i)
        side = table.propagated[:n][:, columns]
        rows = background & (np.diff(side.indptr) > 0) if settings.background == "namespace" else background
        rows = np.flatnonzero(rows)
        side = side[rows]
        if side.nnz:
            results.append(
                _one(name, activation[:, rows], side, columns, len(ontology), lengths[rows], settings, observer)
            )
    digest = hashlib.blake2b("\n".join(corpus.ids[i] for i in np.flatnonzero(background)).encode(), digest_size=16)
    return GoStudy(
        *(ontology, table, settings, tuple(results), fires_in, background, organisms), identity=digest.hexdigest()
    )


def _one(
    name: str,
    activation: sp.csr_array,
    side: sp.csr_array,
    columns: np.ndarray,
    n_terms: int,
    lengths: np.ndarray,
    settings: GoSettings,
    observer: Observer | None,
) -> NamespaceResult:
    """Findings of the terms in ``columns``, and how many there are when proteins swap their annotations."""
    found = _significant(_test(activation, side, settings, observer), settings)
    nulls: list[int | None] = [None, None]
    if settings.null:
        rng = np.random.default_rng(settings.seed)
        for i, order in enumerate((rng.permutation(side.shape[0]), _among_alike(lengths, rng))):
            nulls[i] = len(_significant(_test(activation, side[order], settings, observer), settings).feature)
    annotated, tested = np.zeros(n_terms, np.int64), np.zeros(n_terms, bool)
    annotated[columns], tested[columns] = found.annotated, found.tested_terms
    term = columns[found.term].astype(np.int32)
    return NamespaceResult(name, replace(found, term=term, annotated=annotated, tested_terms=tested), *nulls)


def _among_alike(lengths: np.ndarray, rng: np.random.Generator, alike: int = 20) -> np.ndarray:
    """(n,) a permutation that exchanges proteins only with some ``alike`` of about the same length."""
    order = np.argsort(lengths, kind="stable")
    result = np.empty(len(order), np.int64)
    for begin in range(0, len(order), alike):
        part = order[begin : begin + alike]
        result[part] = rng.permutation(part)
    return result


def _test(a: sp.csr_array, side: sp.csr_array, settings: GoSettings, observer: Observer | None) -> Findings:
    least = {"alpha": settings.alpha, "min_study": settings.min_study, "min_proteins": settings.min_proteins}
    if settings.test == "ranks":
        return enrich_ranks(a, side, observer=observer, **least)  # type: ignore[arg-type]
    return enrich(a, side, alternative=settings.alternative, observer=observer, **least)  # type: ignore[arg-type]


def _significant(found: Findings, settings: GoSettings) -> Findings:
    return found.only(np.flatnonzero(_decisive(found, settings) <= np.log(settings.alpha)))


def _decisive(found: Findings, settings: GoSettings) -> np.ndarray:
    """The logarithms by which a finding is one."""
    return found.ln_bonferroni if settings.together else found.ln_q


def _no_effect(settings: GoSettings) -> float:
    return 0.5 if settings.test == "ranks" else 1.0


def _rows(ontology: Ontology, result: NamespaceResult, settings: GoSettings) -> pa.Table:
    import pyarrow as pa

    f = result.findings
    terms, place = np.unique(f.term, return_inverse=True)

    def coded(values: list[str]) -> pa.DictionaryArray:
        return pa.DictionaryArray.from_arrays(pa.array(place, pa.int32()), pa.array(values, pa.string()))

    direction = pa.array((f.effect > _no_effect(settings)).astype(np.int32))
    effect = {"outranks": f.effect} if settings.test == "ranks" else {"fold": f.effect}
    return pa.table(
        {
            "feature": f.feature,
            "namespace": coded([ontology.namespaces[ontology.namespace[t]] for t in terms]),
            "term": coded([ontology.ids[t] for t in terms]),
            "name": coded([ontology.names[t] for t in terms]),
            "depth": ontology.depth[f.term].astype(np.int32),
            "direction": pa.DictionaryArray.from_arrays(direction, ["under", "over"]),
            "in_study": f.count,
            "study": f.study[f.feature],
            "in_background": f.annotated[f.term],
            "background": np.full(len(f.feature), f.population),
            **effect,
            "p": np.exp(f.ln_p),
            "log10_p": f.ln_p / np.log(10),
            "q": np.exp(f.ln_q),
            "bonferroni": np.exp(f.ln_bonferroni),
        }
    )


def _facts(result: NamespaceResult, settings: GoSettings) -> dict[str, Any]:
    """Numbers of one namespace, for the summary."""
    f = result.findings
    tested, over = f.tested_features, f.effect > _no_effect(settings)
    silent, single = (f.study == 0), (f.study > 0) & ~tested
    return {
        "background": f.population,
        "features_tested": int(tested.sum()),
        "features_without_proteins": int(silent.sum()),
        "features_with_too_few_proteins": int(single.sum()),
        "median_study": float(np.median(f.study[tested])) if tested.any() else None,
        "terms_tested": int(f.tested_terms.sum()),
        "terms_with_too_few_proteins": int(((f.annotated > 0) & ~f.tested_terms).sum()),
        "tests": f.n_tests,
        "findings": len(f.feature),
        "findings_under": int((~over).sum()),
        "features_with_findings": len(np.unique(f.feature[over])),
        "terms_found": len(np.unique(f.term[over])),
        "findings_with_annotations_shuffled": result.null_findings,
        "findings_with_annotations_shuffled_among_like_lengths": result.length_null_findings,
    }
