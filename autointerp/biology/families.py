"""Family specificity: does a feature fire strongly in the proteins of one family, and in no others?

InterProt's protocol (Adams et al. 2025): a feature's family is that of the protein in which it is strongest; a protein
is called a member where the feature's largest activation exceeds a share of the feature's maximum; the share is chosen
by F1 on one half of the proteins, and the F1 of the other half stands. Above 0.7 a feature is family-specific.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from autointerp.biology.f1 import harmonic
from autointerp.biology.go import sequence_maxima
from autointerp.errors import UsageError, nearest
from autointerp.features.splits import GROUP, SEQUENCE, assign_sides, units_of
from autointerp.progress import Observer, Stage
from autointerp.statistics.nulls import empirical_p

if TYPE_CHECKING:
    import pyarrow as pa

    from autointerp.cache import ActivationCache
    from autointerp.corpus import Corpus

THRESHOLDS = tuple(round(0.1 * i, 1) for i in range(3, 10))
"""Shares of the feature's maximum (InterProt's): 0.3, 0.4 … 0.9."""
SPECIFIC = 0.7
"""A feature with a higher F1 is family-specific (InterProt's bound)."""
PARTS = ("interprot", "held-out")
"""InterProt's halves, at random, the family and the maximum known from both; and ours, of whole groups of homologues,
family and maximum known from the choosing half alone, for families that have members on both."""
COLUMNS = ("pfam", "interpro", "protein_families", "Pfam", "InterPro", "Domain")
"""Metadata columns and types of annotations that are looked for, in this order, where none is named."""
CHUNK = 512
"""Features at a time: 8 bytes for each of them and each protein in which it fires."""
_ACCESSION = re.compile(r"\b(?:PF\d{5}|IPR\d{6})\b")


@dataclass(frozen=True, eq=False)
class Families:
    """Which sequence is of which families: ``member`` (n_sequences, n_families) of 0 and 1, from ``source``."""

    names: np.ndarray
    member: sp.csr_array
    source: str


@dataclass(frozen=True, eq=False)
class FamilyStudy:
    """What :func:`family_specificity` found.

    Attributes
    ----------
    table : a row for each feature that has a family, and each of :data:`PARTS`: the family, the protein that names it,
        the threshold with its F1 on the choosing half (``chosen_f1``), and F1, precision, recall and counts of proteins
        on the other half; ``null_f1`` with families dealt anew (mean of the draws), ``p`` the share of all null F1 that
        is at least as high.
    counts : for each part, features that never fire, whose strongest protein has no family (held-out: none with members
        on both halves), whose family has no member on the reported half (their F1 is 0), that are specific, and that
        are with families dealt anew.
    """

    table: pa.Table
    counts: dict[str, dict[str, float]]


def families_of(corpus: Corpus, column: str | None = None, n: int | None = None) -> Families:
    """Families of the first ``n`` sequences, from a metadata column or a type of annotations.

    Of a text the accessions of Pfam or InterPro in it count; else its parts between ``;`` or ``, ``. Annotations give
    their labels, ``any`` aside.

    Raises
    ------
    UsageError : there is nothing of this name, or no family in it.
    """
    n = len(corpus) if n is None else n
    types = set(corpus.annotations["type"].unique().to_pylist()) if corpus.annotations.num_rows else set()
    there = [*corpus.metadata_columns, *sorted(types)]
    if column is None:
        column = next((name for name in COLUMNS if name in there), None)
        if column is None:
            raise UsageError(
                f"{corpus.path} has none of {', '.join(COLUMNS)}: give --column, of {', '.join(there) or 'none'}; or "
                "add regions with `autointerp corpus annotate --format pfam --type Pfam`"
            )
    exact = next((name for name in there if name == column), None)
    name = exact or next((name for name in there if name.lower() == column.lower()), None)
    if name is None:
        raise UsageError(f"--column {column}: no such metadata column or type of annotations; {nearest(column, there)}")
    if name in corpus.metadata_columns:
        pairs = [(row, f) for row, value in enumerate(corpus.column(name).to_pylist()[:n]) for f in _names(value)]
    else:
        table = corpus.annotations
        here = [r for r, t in enumerate(table["type"].to_pylist()) if t == name]
        found = table.select(["sequence", "label"]).take(here).to_pylist()
        pairs = [(r["sequence"], r["label"]) for r in found if r["sequence"] < n and r["label"] != "any"]
    if not pairs:
        raise UsageError(f"{corpus.path}: {name} names no family of the cached sequences")
    rows, families = zip(*pairs, strict=True)
    names, number = np.unique(np.array(families, dtype=str), return_inverse=True)
    member = sp.csr_array((np.ones(len(rows), np.int32), (np.array(rows), number)), (n, len(names)))
    member.data[:] = 1  # a protein may have one domain several times
    return Families(names, member, name)


def _names(value: Any) -> list[str]:
    text = "; ".join(map(str, value)) if isinstance(value, list) else str(value or "")
    found = _ACCESSION.findall(text) or [part.strip() for part in re.split(r";|, ", text)]
    return list(dict.fromkeys(filter(None, found)))


def family_specificity(
    cache: ActivationCache,
    corpus: Corpus,
    families: Families,
    *,
    null_draws: int = 1,
    seed: int = 0,
    observer: Observer | None = None,
) -> FamilyStudy:
    """F1 of every feature as a detector of its family, by InterProt's halves and by halves of whole groups.

    Raises
    ------
    UsageError : activations of some features were left out of the cache.
    """
    n, rng = cache.n_sequences, np.random.default_rng(seed)
    halves = {part: assign_sides(units_of(corpus, by, n), (0.5, 0.0, 0.5), seed) == 0
              for part, by in zip(PARTS, (SEQUENCE, GROUP), strict=True)}  # fmt: skip
    dealt = {}
    for part, half in halves.items():
        member = families.member if part == "interprot" else _on_both(families.member, half)
        dealt[part] = [member, *(member[_within(half, rng)] for _ in range(null_draws))]
    pieces: dict[str, list[list[dict[str, np.ndarray]]]] = {part: [[] for _ in dealt[part]] for part in PARTS}
    with Stage(observer, "family specificity", cache.n_features, "feature") as stage:
        for first in range(0, cache.n_features, CHUNK):
            chunk = range(first, min(first + CHUNK, cache.n_features))
            activation = sequence_maxima(cache, chunk)
            for part, half in halves.items():
                known = half if part == "held-out" else np.ones(n, bool)
                for draw, member in enumerate(dealt[part]):
                    pieces[part][draw].append(_specific(activation, member, half, known, first))
            stage.advance(len(chunk))
    joined = {part: [_joined(p) for p in draws] for part, draws in pieces.items()}
    counts = {part: _counts(draws, cache.n_features) for part, draws in joined.items()}
    return FamilyStudy(_table(joined, families, corpus.ids, cache.n_features), counts)


def _on_both(member: sp.csr_array, half: np.ndarray) -> sp.csr_array:
    """Only the families that have members on both halves."""
    sizes = [np.bincount(member[np.flatnonzero(side)].indices, minlength=member.shape[1]) for side in (half, ~half)]
    return _kept(member, np.minimum(*sizes)[member.indices] > 0)


def _within(half: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(n,) an order of the sequences that leaves each on its half."""
    order = np.arange(len(half))
    for side in (half, ~half):
        order[side] = rng.permutation(order[side])
    return order


def _specific(
    activation: sp.csr_array, member: sp.csr_array, choosing: np.ndarray, known: np.ndarray, first: int
) -> dict[str, np.ndarray]:
    """Best threshold on ``choosing`` of each feature and family of its strongest protein, and its counts elsewhere.

    Parameters
    ----------
    activation : (n_features, n_sequences) largest activations. known : (n_sequences,) where maximum and family are
        taken from. first : number of the first feature.
    """
    seen = activation[:, np.flatnonzero(known)]
    maximum = seen.max(axis=1).toarray().ravel() if seen.shape[1] else np.zeros(activation.shape[0])
    fires = np.flatnonzero(maximum > 0)
    top = np.flatnonzero(known)[np.asarray(seen[fires].argmax(axis=1)).ravel()] if len(fires) else fires
    of_top = member[top]
    feature, family = np.repeat(fires, np.diff(of_top.indptr)), of_top.indices.astype(np.int64)
    counts, members = _counted(activation, maximum, member, choosing, feature, family)
    chosen_f1, f1 = (_f1(counts[half, 0], counts[half, 1], members[half]) for half in range(2))
    at, pair = chosen_f1.argmax(0) if len(feature) else np.empty(0, np.int64), np.arange(len(feature))
    hits, called = counts[1][:, at, pair]
    pairs: dict[str, np.ndarray] = {"feature": feature + first, "family": family}
    pairs |= {"top": np.repeat(top, np.diff(of_top.indptr)), "threshold": np.array(THRESHOLDS)[at]}
    pairs |= {"chosen_f1": chosen_f1[at, pair], "f1": f1[at, pair]}
    pairs |= {"precision": hits / np.maximum(called, 1), "recall": hits / np.maximum(members[1], 1)}
    pairs |= {"n_members": members[1], "n_called": called, "n_hits": hits}
    order = np.lexsort((family, -pairs["chosen_f1"], feature))  # of several families of one protein, the best
    kept = order[np.unique(feature[order], return_index=True)[1]]
    return {name: column[kept] for name, column in pairs.items()} | {"fires": fires + first}


def _counted(
    activation: sp.csr_array,
    maximum: np.ndarray,
    member: sp.csr_array,
    choosing: np.ndarray,
    feature: np.ndarray,
    family: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """On both halves: (2, 2, n_thresholds, n_pairs) hits and calls, and (2, n_pairs) members of the family."""
    top = np.repeat(maximum, np.diff(activation.indptr))
    share = np.divide(activation.data, top, out=np.zeros_like(activation.data), where=top > 0)
    counts = np.zeros((2, 2, len(THRESHOLDS), len(feature)), np.int64)
    members = np.zeros((2, len(feature)), np.int64)
    for half, side in enumerate((choosing, ~choosing)):
        columns = np.flatnonzero(side)
        of_side = member[columns]
        members[half] = np.bincount(of_side.indices, minlength=member.shape[1])[family]
        for t, threshold in enumerate(THRESHOLDS):
            called = _kept(activation, share > np.float32(threshold))[:, columns]
            counts[half, 0, t] = _at(called @ of_side, feature, family)
            counts[half, 1, t] = np.diff(called.indptr)[feature]
    return counts, members


def _kept(matrix: sp.csr_array, keep: np.ndarray) -> sp.csr_array:
    """Ones where ``keep``, of the stored values."""
    indptr = np.concatenate([[0], np.cumsum(keep)])[matrix.indptr]
    return sp.csr_array((np.ones(keep.sum(), np.int32), matrix.indices[keep], indptr), matrix.shape)


def _f1(hits: np.ndarray, called: np.ndarray, members: np.ndarray) -> np.ndarray:
    return harmonic(hits / np.maximum(called, 1), hits / np.maximum(members, 1))


def _at(matrix: sp.csr_array, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The (rows, columns) entries, 0 where there is none; far quicker than fancy indexing of a sparse matrix."""
    matrix = matrix.tocsr()
    matrix.sort_indices()
    width = matrix.shape[1]
    keys = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr)) * width + matrix.indices
    wanted = rows * width + columns
    place = np.searchsorted(keys, wanted)
    there = place < len(keys)
    there[there] = keys[place[there]] == wanted[there]
    values = np.zeros(len(wanted))
    values[there] = matrix.data[place[there]]
    return values


def _joined(pieces: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([p[name] for p in pieces]) for name in pieces[0]}


def _counts(draws: list[dict[str, np.ndarray]], n_features: int) -> dict[str, float]:
    own, *nulls = draws
    return {
        "never_fire": n_features - len(own["fires"]),
        "strongest_protein_without_family": len(own["fires"]) - len(own["feature"]),
        "family_without_members_on_the_reported_half": int((own["n_members"] == 0).sum()),
        "specific": int((own["f1"] > SPECIFIC).sum()),
        **({"specific_by_chance": float(np.mean([(d["f1"] > SPECIFIC).sum() for d in nulls]))} if nulls else {}),
    }


def _table(
    joined: dict[str, list[dict[str, np.ndarray]]], families: Families, ids: list[str], n_features: int
) -> pa.Table:
    import pyarrow as pa

    return pa.concat_tables(_of_part(joined, families, ids, n_features))


def _of_part(
    joined: dict[str, list[dict[str, np.ndarray]]], families: Families, ids: list[str], n_features: int
) -> Iterator[pa.Table]:
    import pyarrow as pa

    for part, (own, *nulls) in joined.items():
        columns: dict[str, Any] = {n: c for n, c in own.items() if n not in ("fires", "family", "top")}
        named = {"part": [part] * len(own["feature"]), "family": families.names[own["family"]].tolist()}
        named["top_protein"] = [ids[i] for i in own["top"].tolist()]
        if nulls:
            by_chance = np.zeros((len(nulls), n_features))
            for draw, null in enumerate(nulls):
                by_chance[draw, null["feature"]] = null["f1"]
            columns["null_f1"] = by_chance.mean(0)[own["feature"]]
            columns["p"] = empirical_p(own["f1"], by_chance[:, own["fires"]].ravel())
        head = {"feature": pa.array(columns.pop("feature").astype(np.int32))}
        head |= {name: pa.array(values, pa.string()) for name, values in named.items()}
        yield pa.table(head | {name: pa.array(values) for name, values in columns.items()})


def tally(families: Families) -> dict[str, int]:
    """How many sequences have a family, how many families there are, and how many have one member."""
    sizes = Counter(np.bincount(families.member.indices, minlength=len(families.names)).tolist())
    return {
        "sequences": families.member.shape[0],
        "with a family": int((np.diff(families.member.indptr) > 0).sum()),
        "families": len(families.names),
        "of one member": sizes[1],
    }
