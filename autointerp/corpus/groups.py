"""Groups of sequences that must not stand on two sides of a split: homologues, near-duplicates, a column, or none."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from autointerp.corpus import kmers, mmseqs, shingles
from autointerp.errors import UsageError, nearest
from autointerp.progress import Observer

if TYPE_CHECKING:
    import pyarrow as pa

_log = logging.getLogger(__name__)
IDENTITY, NEAR_DUPLICATES, NONE = "identity", "near-duplicates", "none"
USUAL = {"protein": IDENTITY, "text": NEAR_DUPLICATES}
"""How sequences of each kind are compared with each other, unless another grouping is asked for."""


def similarity_groups(
    texts: Sequence[str], by: str, observer: Observer | None = None
) -> tuple[np.ndarray, dict[str, Any]]:
    """Group sequences that are alike: proteins ``by`` identity, texts ``by`` near-duplicates.

    Returns
    -------
    (n,) int64 labels, and what the manifest says of them: ``tool``, ``claim`` and their settings.
    """
    if by == IDENTITY:
        return identity_groups(texts, observer)
    claim = f"Jaccard similarity of at least {shingles.MIN_JACCARD:g}; paraphrases and excerpts may stand apart"
    about = {"by": by, "tool": f"MinHash of {shingles.K}-character shingles", "claim": claim}
    return shingles.near_duplicate_groups(texts, observer), about


def identity_groups(texts: Sequence[str], observer: Observer | None = None) -> tuple[np.ndarray, dict[str, Any]]:
    """Group homologous proteins: with MMseqs2 if it is installed, else by shared 5-mers.

    Returns
    -------
    (n,) int64 labels, and what the manifest says of them: ``tool``, ``claim`` and their settings.
    """
    if mmseqs.available():
        claim = f"at least {mmseqs.IDENTITY:.0%} identity over {mmseqs.COVERAGE:.0%} of both sequences"
        about = {"by": IDENTITY, "tool": f"MMseqs2 {mmseqs.version()}", "claim": claim}
        return mmseqs.mmseqs_groups(texts), about
    claim = f"at least {kmers.CLAIM:.0%} identity over 80% of both sequences; remoter homologues may stand apart"
    _log.warning("mmseqs is not on the PATH: groups by shared 5-mers claim only %s", claim)
    about = {"by": IDENTITY, "tool": f"{kmers.K}-mers and banded alignment", "claim": claim}
    return kmers.kmer_groups(texts, observer), about


def column_groups(table: pa.Table, column: str) -> tuple[np.ndarray, dict[str, Any]]:
    """Group by equal values of a metadata column; a sequence without a value is its own group.

    Raises
    ------
    UsageError : no such column.
    """
    from autointerp.corpus.corpus import COLUMNS

    valid = [c for c in table.column_names if c not in COLUMNS]
    if column not in valid:
        raise UsageError(f"group-by {column!r}; {nearest(column, [*valid, *USUAL.values(), NONE])}")
    numbers: dict[Any, int] = {}
    keys = ((None, i) if value in (None, "") else value for i, value in enumerate(table[column].to_pylist()))
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64), {"by": column}
