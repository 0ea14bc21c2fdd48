"""Blocks: what the encoder spills, feature-major over a range of sequences, written whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from autointerp.cache.layout import block_name
from autointerp.files import write_tensors


def plan_blocks(lengths: np.ndarray, block_size: int) -> Iterator[tuple[int, int]]:
    """Cut sequences into consecutive ranges of about ``block_size`` characters (residues).

    The ranges follow from the corpus and ``block_size`` alone, so that a re-run makes the same blocks.

    Parameters
    ----------
    lengths : (n_sequences,) lengths as the corpus states them.

    Yields
    ------
    (first, last) : half-open range of sequences; a range exceeds ``block_size`` only if it is one sequence.
    """
    first, size = 0, 0
    for index, length in enumerate(lengths.tolist()):
        if size and size + length > block_size:
            yield first, index
            first, size = index, 0
        size += length
    if first < len(lengths):
        yield first, len(lengths)


def feature_dtype(n_features: int) -> np.dtype:
    """Type of feature indices while a block is made."""
    return np.dtype(np.uint16 if n_features <= 1 << 16 else np.uint32)


def feature_major(
    rows: np.ndarray, features: np.ndarray, values: np.ndarray, n_features: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sort activations by feature, then by row.

    Parameters
    ----------
    rows : (nnz,) uint32 positions, ascending. features : (nnz,) of any order within a row. values : (nnz,).

    Returns
    -------
    indptr : (n_features + 1,) int64. rows, values : (nnz,) in feature-major order, rows ascending within a feature.

    Notes
    -----
    NumPy's stable sort of 16-bit integers is a radix sort, so up to 65,536 features the cost is linear.
    """
    narrow = features.astype(feature_dtype(n_features), copy=False)
    order = np.argsort(narrow, kind="stable")
    indptr = np.zeros(n_features + 1, np.int64)
    np.cumsum(np.bincount(narrow, minlength=n_features), out=indptr[1:])
    return indptr, rows[order], values[order]


def write_block(folder: Path, index: int, tensors: dict[str, np.ndarray], first: int, last: int) -> dict[str, Any]:
    """Write one block atomically; return its entry for the manifest."""
    name = block_name(index)
    digest = write_tensors(folder / name, tensors)
    return {
        "file": name,
        "digest": digest,
        "first": first,
        "last": last,
        "n_tokens": len(tensors["tokens"]),
        "n_activations": len(tensors["token"]),
    }
