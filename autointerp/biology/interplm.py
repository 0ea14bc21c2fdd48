"""InterPLM's concept F1 by its published rules, with what they get wrong, so that its numbers can be reproduced.

Simon & Zou 2024. What differs from :mod:`autointerp.biology.f1`:

- A feature of a categorical type without a note is no label, not even ``any``; nor is one whose note is rare. Binding
  sites have subtypes by ligand, which are then looked for among notes: there are hardly any, and none without the
  table (:mod:`autointerp.biology.interplm_labels`), since a corpus's annotations hold either the ligand or the note.
- ``<1..20`` is taken for ``1..20``; of a corpus's annotations such a feature was left out by the importer.
- Disulfide bonds have no instances: they are one domain a set (a shard, there), and are kept for their residues.
- Active sites, glycosylation, modified residues, disulfide bonds and cofactors are counted by residue: a concept is
  one of them if its whole name contains such a word, so that ``Motif_Cofactor binding`` is one too.
- Of overlapping instances a residue keeps the last, while all count in the denominator of recall.
- Activations are scaled by the maximum over all annotated proteins, those of the test set included; the package of
  2025 (``head``) leaves them raw.
- The threshold is chosen again on test, and a pair that hits nothing there vanishes from the mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autointerp.biology.counting import Counts, Labels, count, cuts, maxima
from autointerp.biology.f1 import TEST, THRESHOLDS, VALID, check_tokens, harmonic
from autointerp.biology.interplm_labels import BINARY, BOND, BY_LIGAND, CATEGORICAL, labels_of_table
from autointerp.biology.regions import ANY, Regions, to_tokens
from autointerp.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa

    from autointerp.cache import ActivationCache
    from autointerp.corpus import Corpus

RESIDUES = ("Active site", "Cofactor", "Glycosylation", "Modified residue", "amino_acid", "Disulfide bond")
"""A concept whose name contains one of these has no domains."""
DROPPED = tuple(f"{t}_{ANY}" for t in ("Region", "Modified residue", "Domain", "Compositional bias", "Motif"))
MIN_RESIDUES = 1500
COLUMNS = ("precision", "recall", "recall_per_domain", "f1", "f1_per_domain", "tp", "fp", "tp_per_domain")


@dataclass(frozen=True, eq=False)
class Report:
    """InterPLM's two tables: each concept's best feature on valid, and all pairs above 0.5 on valid and on test.

    Attributes
    ----------
    best, pairs : a row a pair, with ``valid_…`` and ``…`` (test) values, each at its own best threshold.
    n_concepts : concepts that were kept. n_vanished : concepts whose best feature on valid hits nothing on test.
    left_out : features of the table without a label, by reason.
    """

    best: pa.Table
    pairs: pa.Table
    n_concepts: int
    n_vanished: int
    left_out: dict[str, int]


def concepts(cache: ActivationCache, corpus: Corpus, *, min_required: int = 10) -> Regions:
    """InterPLM's columns as regions; a subtype needs ``min_required`` instances in the whole corpus."""
    table = corpus.annotations
    sequence, start, end, instance = (
        table[c].to_numpy().astype(np.int64) for c in ("sequence", "start", "end", "instance")
    )
    types, notes = (np.array(table[c].to_pylist(), dtype=str) for c in ("type", "label"))
    full = np.char.add(np.char.add(types, "_"), notes)
    noted = np.isin(types, CATEGORICAL) & (types != BY_LIGAND) & (notes != ANY)
    _, number, n = np.unique(full, return_inverse=True, return_counts=True)
    frequent = noted & (n >= min_required)[number]
    binary = np.isin(types, BINARY)
    name = np.concatenate([types[binary], full[frequent], np.char.add(types[frequent], f"_{ANY}")])
    rows = np.concatenate([np.flatnonzero(binary), *[np.flatnonzero(frequent)] * 2])
    within = sequence[rows] < cache.n_sequences
    rows, name = rows[within], name[within]
    return Regions.build(name, instance[rows], *to_tokens(cache, corpus, sequence[rows], start[rows], end[rows]))


def report(
    cache: ActivationCache,
    corpus: Corpus,
    parts: np.ndarray,
    *,
    head: bool = False,
    min_required: int = 10,
    min_domains: int | None = None,
    table: str | Path | None = None,
) -> Report:
    """Both tables by the published rules.

    Parameters
    ----------
    table : UniProt's table of the corpus's entries, to label from as InterPLM does; by default the corpus's
        annotations, which know neither fuzzy ends nor a binding site's note.
    parts : (n_sequences,) 1 valid, 2 test; others are left out of the counts, as are shards that are in neither list.
    head : the rules of the package of 2025: raw activations, and concepts kept by their numbers on valid and test
        together.
    min_domains : a concept needs more domains than this, or more than 1,500 residues; 10 by default, 25 for ``head``.

    Raises
    ------
    UsageError : not residues of proteins, or no concept is frequent enough.
    """
    check_tokens(cache)
    if corpus.kind != "protein":
        raise UsageError("--compat interplm is for proteins")
    left: dict[str, int] = {}
    if table is None:
        regions = concepts(cache, corpus, min_required=min_required)
    else:
        regions, left = labels_of_table(cache, corpus, table, min_required=min_required)
    part = np.repeat(parts, np.diff(cache.offsets))
    side = np.where(part == VALID, 0, np.where(part == TEST, 1, -1)).astype(np.int8)
    positives = Labels.of(regions, cache.n_tokens).positives(side, 2)
    domains = regions.instances(side, 2)
    domains[:, regions.names == BOND] = domains[:, regions.names == BOND].clip(max=1)
    least = (25 if head else 10) if min_domains is None else min_domains
    sums = (domains.sum(0), positives.sum(0)) if head else (domains, positives)
    enough = ((sums[0] > least) | (sums[1] > MIN_RESIDUES)).reshape(-1, len(regions.names)).all(0)
    kept = enough & ~np.isin(regions.names, DROPPED)
    if not kept.any():
        raise UsageError(f"no concept has more than {least} domains or {MIN_RESIDUES:,} residues on valid and on test")
    regions, positives, domains = regions.only(kept), positives[:, kept], domains[:, kept]
    labels = Labels.of(regions, cache.n_tokens, overwrite=True)
    if head:
        cut = np.tile(np.array(THRESHOLDS, np.float32), (cache.n_features, 1))
    else:
        cut = cuts(maxima(cache, np.ones(cache.n_tokens, bool)), THRESHOLDS)
    by_residue = np.array([any(word in name for word in RESIDUES) for name in regions.names.tolist()])
    pieces = [_pairs(c, positives, domains, by_residue) for c in count(cache, labels, side, 2, cut)]
    rows = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
    return _report(rows, regions.names, dict(left))


def _pairs(counts: Counts, positives: np.ndarray, domains: np.ndarray, by_residue: np.ndarray) -> dict[str, np.ndarray]:
    """Pairs with a hit on valid, with their best rows on valid and on test, NaN where there is no hit on test."""
    tp = counts.hits
    fp = counts.fired[..., None] - tp
    precision = tp / np.maximum(tp + fp, 1)
    recall = tp / np.maximum(positives[:, None], 1)
    recall_per_domain = np.where(by_residue, recall, counts.found / np.maximum(domains[:, None], 1))
    f1, f1_per_domain = harmonic(precision, recall), harmonic(precision, recall_per_domain)
    tp_per_domain = np.where(by_residue, 0, counts.found)
    values = np.stack([precision, recall, recall_per_domain, f1, f1_per_domain, tp, fp, tp_per_domain])
    feature, concept = np.nonzero(tp[:, 0].any(1))
    rows: dict[str, np.ndarray] = {"feature": feature + counts.feature, "concept": concept}
    for i, part in enumerate(("valid_", "")):
        here = values[:, feature, i, :, concept].transpose(1, 0, 2)
        hit = here[5] > 0
        at = _ordered(here[4], here[3], hit)
        row = np.arange(len(feature))
        rows[f"{part}threshold"] = np.where(hit.any(1), np.array(THRESHOLDS)[at], np.nan)
        rows |= {f"{part}{n}": np.where(hit.any(1), v[row, at], np.nan) for n, v in zip(COLUMNS, here, strict=True)}
    return rows


def _ordered(first: np.ndarray, then: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """(n,) column of the highest ``first``, among equal ones of the highest ``then``, of those that are ``valid``."""
    first = np.where(valid, first, -1)
    return np.where(first == first.max(1, keepdims=True), then, -1).argmax(1)


def _report(rows: dict[str, np.ndarray], names: np.ndarray, left_out: dict[str, int]) -> Report:
    concept = rows["concept"]
    order = np.lexsort((rows["feature"], -rows["valid_f1"], -rows["valid_f1_per_domain"]))
    best = order[np.unique(concept[order], return_index=True)[1]]
    tested = best[~np.isnan(rows["f1"][best])]
    with np.errstate(invalid="ignore"):
        pairs = np.flatnonzero((rows["valid_f1_per_domain"] > 0.5) & (rows["f1_per_domain"] > 0.5))
    return Report(
        _table(rows, names, tested),
        _table(rows, names, pairs),
        n_concepts=len(names),
        n_vanished=len(best) - len(tested),
        left_out=left_out,
    )


def _table(rows: dict[str, np.ndarray], names: np.ndarray, chosen: np.ndarray) -> pa.Table:
    import pyarrow as pa

    chosen = chosen[np.argsort(-rows["f1_per_domain"][chosen], kind="stable")]
    rows = {name: column[chosen] for name, column in rows.items()}
    columns: dict[str, Any] = {**rows, "concept": names[rows["concept"]].tolist()}
    return pa.table({name: pa.array(values) for name, values in columns.items()})
