"""Where a protein's features fire, as residue features: InterProScan's columns, or GFF3."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np

from autointerp.errors import UsageError
from autointerp.files import atomic_open
from autointerp.report.joined import borne_out, explanations_of

if TYPE_CHECKING:
    from autointerp.cache import ActivationCache
    from autointerp.corpus import Corpus
    from autointerp.export.settings import Settings
    from autointerp.export.source import Source

ANALYSIS = "autointerp"


@dataclass(frozen=True, slots=True, eq=False)
class Regions:
    """Stretches of one feature, (n,) each.

    Attributes
    ----------
    sequence : row in the corpus. start, end : residues from 1, both included. peak : largest activation in it.
    """

    sequence: np.ndarray
    start: np.ndarray
    end: np.ndarray
    peak: np.ndarray


def regions_of(cache: ActivationCache, feature: int, min_share: float) -> Regions:
    """Stretches of neighbouring residues at which a feature reaches ``min_share`` of its maximum."""
    tokens, values = cache[feature]
    strength = values.astype(np.float32)
    kept = strength >= min_share * strength.max(initial=0)
    at, strength = tokens[kept].astype(np.int64), strength[kept]
    if not len(at):
        empty = np.empty(0, np.int64)
        return Regions(empty, empty, empty, np.empty(0, np.float32))
    row = np.searchsorted(cache.offsets, at, "right") - 1
    first = np.flatnonzero(np.append(True, (np.diff(at) > 1) | (np.diff(row) > 0)))
    last = np.append(first[1:], len(at)) - 1
    base = cache.offsets[row[first]]
    return Regions(row[first], at[first] - base + 1, at[last] - base + 1, np.maximum.reduceat(strength, first))


def export_tsv(source: Source, out: Path, settings: Settings) -> dict[str, int]:
    """Write ``residues.tsv``: the 15 columns of InterProScan, a region a row, feature by feature; return the rows.

    Accession, MD5 of the sequence, its length, analysis, feature, explanation, start, stop, peak as a share of the
    feature's maximum, status, date (none), best concept where an InterPro accession would stand, its F1, GO terms
    (joined by |), family.

    Raises
    ------
    UsageError : not of proteins, not of level token, or cache or corpus are not at hand.
    """
    cache, corpus = _proteins(source)
    sums: dict[int, str] = {}
    n = 0
    with atomic_open(out / "residues.tsv") as handle:
        for feature, known, found in _features(source, settings, cache):
            about = _about(known)
            tail = (about["concept"], about["concept_f1"], "|".join(known.get("go_terms") or ()), about["family"])
            for row, start, end, share in _each(cache, feature, found):
                if row not in sums:
                    sums[row] = hashlib.md5(corpus.text(row).encode(), usedforsecurity=False).hexdigest()
                size = int(corpus.lengths[row])
                head = (corpus.ids[row], sums[row], size, ANALYSIS, f"feature{feature}", about["text"])
                cells = (*head, start, end, f"{share:.4g}", "T", "-", *tail)
                handle.write(("\t".join(_plain(cell) for cell in cells) + "\n").encode("utf-8", "replace"))
                n += 1
    return {"region": n}


def export_gff3(source: Source, out: Path, settings: Settings) -> dict[str, int]:
    """Write ``residues.gff3``, a region a line, feature by feature; return the lines.

    Each is a ``polypeptide_region`` (SO:0000839) with the peak as a share of the feature's maximum for score.

    Raises
    ------
    UsageError : as :func:`export_tsv`.
    """
    cache, corpus = _proteins(source)
    n = 0
    with atomic_open(out / "residues.gff3") as handle:
        handle.write(b"##gff-version 3\n")
        for row, id_ in enumerate(corpus.ids[: cache.n_sequences]):
            if size := int(corpus.lengths[row]):
                handle.write(f"##sequence-region {_seqid(id_)} 1 {size}\n".encode())
        for feature, known, found in _features(source, settings, cache):
            shared = _attributes(feature, known)
            for row, start, end, share in _each(cache, feature, found):
                n += 1
                own = f"ID=f{feature}.{n};{shared}"
                cells = (_seqid(corpus.ids[row]), ANALYSIS, "polypeptide_region", start, end, f"{share:.4g}", ".", ".")
                handle.write("\t".join([*map(str, cells), own]).encode("utf-8", "replace") + b"\n")
    return {"region": n}


def _proteins(source: Source) -> tuple[ActivationCache, Corpus]:
    cache, corpus = source.needs_contexts("an export of residues")
    if corpus.kind != "protein" or cache.level != "token":
        raise UsageError(f"residues are of proteins at level token; this run is of {corpus.kind}, level {cache.level}")
    return cache, corpus


def _features(
    source: Source, settings: Settings, cache: ActivationCache
) -> Iterator[tuple[int, Mapping[str, Any], Regions]]:
    features = source.features
    for feature, known in zip(features, source.rows(features), strict=True):
        yield feature, known, regions_of(cache, feature, settings.min_share)


def _each(cache: ActivationCache, feature: int, found: Regions) -> Iterator[tuple[int, int, int, float]]:
    """Row, start, end and share of the maximum of each region."""
    if len(found.peak):
        share = found.peak / found.peak.max()
        yield from zip(found.sequence.tolist(), found.start.tolist(), found.end.tolist(), share.tolist(), strict=True)


def _about(known: Mapping[str, Any]) -> dict[str, Any]:
    told, known = explanations_of(known), borne_out(known)
    f1 = known.get("concept_f1")
    return {
        "text": told[0]["text"] if told else None,
        "concept": known.get("concept"),
        "concept_f1": None if f1 is None else f"{f1:.4g}",
        "family": known.get("family"),
    }


def _attributes(feature: int, known: Mapping[str, Any]) -> str:
    about = _about(known)
    pairs = [("Name", f"feature {feature}"), ("Note", about["text"]), ("concept", about["concept"])]
    pairs += [("concept_f1", about["concept_f1"]), ("family", about["family"])]
    shown = [f"{name}={_escaped(str(value))}" for name, value in pairs if value]
    if terms := known.get("go_terms"):
        shown.append("Ontology_term=" + ",".join(_escaped(term) for term in terms))
    return ";".join(shown)


def _escaped(text: str) -> str:
    """As GFF3 wants what has a meaning of its own, and control characters, in attributes."""
    return "".join(quote(c) if c in ";=&,%" or ord(c) < 32 or ord(c) == 127 else c for c in text)


def _seqid(text: str) -> str:
    """As GFF3 wants it in the first column: letters, digits and .:^*$@!+_?-| as they are, all else escaped."""
    return quote(text, safe=".:^*$@!+_?-|")


def _plain(cell: object) -> str:
    return "-" if cell in (None, "") else " ".join(str(cell).split())
