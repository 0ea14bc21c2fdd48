"""Blocks: what the encoder spills, feature-major over a range of sequences, written whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from autointerp.cache.layout import block_name
from autointerp.errors import UsageError
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


def feature_major(codes: csr_array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Transpose the codes of a block: from token by token to feature by feature.

    Parameters
    ----------
    codes : (n_rows, n_features), the features of a row in any order; values of any 2- or 4-byte type as unsigned
        integers of that size: SciPy knows no float16.

    Returns
    -------
    indptr : (n_features + 1,) int64. rows : (nnz,) int32, ascending within a feature. values : (nnz,), as given.

    Notes
    -----
    SciPy's conversion is a counting sort in C, linear in rows, features and activations: a quarter of the time of
    NumPy's radix sort and two gathers.
    """
    columns = codes.tocsc()
    return columns.indptr.astype(np.int64), columns.indices, columns.data


def bits_of(dtype: np.dtype) -> np.dtype:
    """The unsigned type of the same size: SciPy moves it, and for positive floats its order is theirs."""
    return np.dtype(f"u{dtype.itemsize}")


def checked(bits: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """``bits`` of positive floats of type ``dtype``.

    Raises
    ------
    UsageError : one of them is infinite, as a value beyond the range of ``dtype`` becomes.
    """
    if bits.max(initial=0) >= np.array(np.inf, dtype).view(bits.dtype):
        raise UsageError(f"an activation above {np.finfo(dtype).max:.6g} does not fit {dtype}: use value_dtype float32")
    return bits


def count_sequences(indptr: np.ndarray, rows: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """In how many sequences each feature is active, (n_features,) int64.

    Parameters
    ----------
    indptr, rows : as :func:`feature_major` gives them. offsets : (n_sequences + 1,) first row of each sequence.
    """
    if not len(rows):
        return np.zeros(len(indptr) - 1, np.int64)
    small = np.min_scalar_type(len(offsets))  # a short table stays in the processor's cache
    sequence = np.repeat(np.arange(len(offsets) - 1, dtype=small), np.diff(offsets))[rows]
    entered = np.zeros(len(rows), np.int32)  # how often the sequence changed up to here
    np.cumsum(sequence[1:] != sequence[:-1], out=entered[1:])
    active = indptr[1:] > indptr[:-1]
    first, last = indptr[:-1][active], indptr[1:][active] - 1
    counts = np.zeros(len(active), np.int64)
    counts[active] = entered[last] - entered[first] + 1
    return counts


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
