"""InterPLM's labels from the UniProt table that it reads itself, where a corpus's annotations no longer say enough.

An importer joins a ligand and a note into one label and leaves out fuzzy ends; InterPLM enumerates the subtypes of
binding sites by ligand, matches them against notes, and takes ``<1..20`` for ``1..20`` (Simon & Zou 2024).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from autointerp.biology.regions import ANY, Regions
from autointerp.corpus.entries import open_text
from autointerp.corpus.features import feature_type, split_features
from autointerp.corpus.uniprot_tsv import ID_COLUMNS, cells_of
from autointerp.errors import FormatError, UsageError

if TYPE_CHECKING:
    from autointerp.cache import ActivationCache
    from autointerp.corpus import Corpus

BOND = "Disulfide bond"
BINARY = ("Turn", "Helix", "Beta strand", "Coiled coil", "Lipidation", BOND)
CATEGORICAL = (
    "Active site", "Binding site", "Glycosylation", "Modified residue", "Transit peptide", "Compositional bias",
    "Domain", "Region", "Zinc finger", "Motif", "Signal peptide",
)  # fmt: skip
BY_LIGAND = "Binding site"
_POSITION = re.compile(r"(\d+)(?:\.\.(\d+))?")


@dataclass(frozen=True)
class _Feature:
    row: int
    type: str
    spans: tuple[tuple[int, int], ...]
    note: str
    ligand: str


def labels_of_table(
    cache: ActivationCache, corpus: Corpus, path: str | Path, *, min_required: int = 10
) -> tuple[Regions, Counter[str]]:
    """InterPLM's columns as regions, and how many features were left out, by reason.

    Parameters
    ----------
    path : UniProt's table (``.tsv[.gz]``) of the corpus's entries; others in it are passed over.
    min_required : features that must have a note (of binding sites: a ligand) for it to be a subtype.

    Raises
    ------
    FormatError : no column of entries, or no feature column.
    UsageError : no entry is in the corpus, or nothing gets a label.
    """
    left: Counter[str] = Counter()
    features = list(_features(corpus, path, left))
    times = Counter((f.type, f.ligand if f.type == BY_LIGAND else f.note) for f in features)
    names, instances, starts, stops = [], [], [], []
    for number, f in enumerate(features):
        if f.type in BINARY:
            labels = [f.type]
        elif f.note and times[f.type, f.note] >= min_required:
            labels = [f"{f.type}_{f.note}", f"{f.type}_{ANY}"]
        else:
            left["without a note" if not f.note else "note that is rare, or no ligand's name"] += 1
            continue
        if f.row >= cache.n_sequences:
            continue
        begin, length = int(cache.offsets[f.row]), int(corpus.lengths[f.row])
        for name in labels:
            for start, stop in f.spans:
                names.append(name)
                instances.append(number)
                starts.append(begin + start)
                stops.append(begin + min(stop, length))
    if not names:
        raise UsageError(f"{path}: no feature gets a label by InterPLM's rules ({dict(left)})")
    return Regions.build(np.array(names), *(np.array(c, np.int64) for c in (instances, starts, stops))), left


def _features(corpus: Corpus, path: str | Path, left: Counter[str]) -> Iterator[_Feature]:
    """Every feature of the corpus's entries with a usable position; notes and ligands up to their first ``;``."""
    row_of = {id_: row for row, id_ in enumerate(corpus.ids)}
    with open_text(path) as handle:
        header = cells_of(handle.readline())
        names = [cell.strip().lower() for cell in header]
        types = {i: t for i, c in enumerate(header) if (t := feature_type(c)) in (*BINARY, *CATEGORICAL)}
        at = next((names.index(n) for n in ID_COLUMNS if n in names), None)
        if at is None or not types:
            raise FormatError(path, "a UniProt table with Entry and feature columns", f"columns {', '.join(header)}")
        matched = 0
        for line in handle:
            cells = cells_of(line)
            row = row_of.get(cells[at]) if len(cells) == len(header) else None
            if row is None:
                continue
            matched += 1
            for column, type_ in types.items():
                yield from _of_cell(row, str(type_), cells[column], int(corpus.lengths[row]), left)
    if not matched:
        raise UsageError(f"{path}: none of its entries is in the corpus, whose first are {', '.join(corpus.ids[:3])}")


def _of_cell(row: int, type_: str, cell: str, length: int, left: Counter[str]) -> Iterator[_Feature]:
    unreadable: list[str] = []
    for position, qualifiers in split_features(cell, unreadable):
        span = _span(position)
        if span is None or span[0] >= length:
            left["position with ? or :" if span is None else "past the end of the sequence"] += 1
            continue
        start, stop = span
        bond = type_ == BOND and stop - start > 1
        spans = ((start, start + 1), (stop - 1, stop)) if bond else (span,)
        note, ligand = (qualifiers.get(name, "").split(";")[0].strip() for name in ("note", "ligand"))
        yield _Feature(row, type_, spans, note, ligand)
    left.update(unreadable)


def _span(position: str) -> tuple[int, int] | None:
    """``<3..>49`` (from 1, inclusive) as (2, 49); None where it cannot be used."""
    match = _POSITION.fullmatch(position.replace("<", "").replace(">", ""))
    if not match:
        return None
    start, stop = int(match[1]) - 1, int(match[2] or match[1])
    return (start, stop) if 0 <= start < stop else None
