"""The pooled extraction of the protein seed as a cache of level ``sequence``.

Its script writes, with one suffix, ``POOLING_activations_*.npy`` and ``POOLING_indices_*.npy`` (both (n, k): the codes
of each protein's mean state) and ``POOLING_metadata_*.csv``, a row a protein in the same order.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_array

from autointerp.cache import ActivationCache
from autointerp.corpus import Corpus
from autointerp.errors import FormatError, UsageError, missing
from autointerp.files import digest_file
from autointerp.progress import Observer, Stage
from caching.blocks import write_block
from caching.interchange.finish import by_feature, check_grouping, finish, group
from caching.interchange.staging import staged

if TYPE_CHECKING:
    from autointerp.coders import SparseCoder

PREFIX = "POOLING_"
BLOCK = 1 << 21  # codes in one block
NOT_METADATA = ("sample_idx", "sequence_id", "sequence", "sequence_length", "length", "id", "text", "group")


def is_pooled(folder: str | Path) -> bool:
    """Whether the protein seed's pooled extraction lies in ``folder``."""
    return any(Path(folder).glob(f"{PREFIX}activations_*.npy"))


def read_pooled(
    folder: str | Path,
    out: str | Path,
    corpus_out: str | Path,
    coder: SparseCoder,
    *,
    group_by: str = "identity",
    shard_activations: int = 1 << 22,
    observer: Observer | None = None,
) -> ActivationCache:
    """Read a pooled extraction and write a cache and a corpus with its metadata; both are whole or absent.

    Memory: the table of proteins, and a block or a shard of activations.

    Parameters
    ----------
    coder : that made the codes. The files do not say how many features there are, nor of what.
    group_by : ``identity``: homologues share a group; or ``none``.

    Raises
    ------
    FormatError : files missing, of several extractions, or with impossible values.
    UsageError : the coder has fewer features than the indices name, or something is at ``out`` or ``corpus_out``.
    """
    check_grouping(group_by, "identity", "none")
    found = _Extraction.find(Path(folder))
    rows = _rows(found.metadata, len(found.values))
    with staged(Path(out)) as cache_folder, staged(Path(corpus_out)) as corpus_folder:
        corpus = _write_corpus(corpus_folder, rows, group_by)
        blocks = list(_write_blocks(cache_folder, found, corpus, coder.n_features, observer))
        finish(cache_folder, _facts(found, coder) | {"blocks": blocks}, corpus, shard_activations, observer)
    return ActivationCache.open(out)


@dataclass(frozen=True)
class _Extraction:
    """Codes, memory-mapped: ``values`` (n, k) floats and ``indices`` (n, k) integers; and the files they are in."""

    values: np.ndarray
    indices: np.ndarray
    metadata: Path
    files: tuple[Path, ...]

    @classmethod
    def find(cls, folder: Path) -> _Extraction:
        found = sorted(folder.glob(f"{PREFIX}activations_*.npy"))
        if len(found) != 1:
            names = ", ".join(p.name for p in found) or "none"
            raise FormatError(folder, f"one extraction: one file {PREFIX}activations_*.npy", names)
        suffix = found[0].stem.removeprefix(f"{PREFIX}activations")
        indices, metadata = folder / f"{PREFIX}indices{suffix}.npy", folder / f"{PREFIX}metadata{suffix}.csv"
        values, features = _array(found[0], "f"), _array(indices, "iu")
        if values.shape != features.shape:
            raise FormatError(indices, f"shape {values.shape}, that of the activations", f"{features.shape}")
        return cls(values, features, metadata, (found[0], indices, metadata))


def _array(path: Path, kinds: str) -> np.ndarray:
    expected = f"a two-dimensional .npy of {'floats' if kinds == 'f' else 'integers'}"
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise FormatError(path, expected, "no such file") from None
    except (ValueError, EOFError) as error:
        raise FormatError(path, expected, str(error).splitlines()[0]) from None
    if array.ndim != 2 or array.dtype.kind not in kinds:
        raise FormatError(path, expected, f"{array.dtype} of shape {array.shape}")
    return array


def _rows(path: Path, n: int) -> list[dict[str, str]]:
    try:
        with open(path, encoding="utf-8", newline="") as handle:
            rows = list(csv.DictReader(handle, strict=True))
    except FileNotFoundError:
        raise FormatError(path, "the proteins' metadata", "no such file") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise FormatError(path, "a CSV file in UTF-8", str(error)) from None
    names = list(rows[0]) if rows else []
    if not {"sequence_id", "sequence"} <= set(names):
        raise FormatError(path, "columns sequence_id and sequence", ", ".join(names) or "no rows")
    if len(rows) != n:
        raise FormatError(path, f"{n:,} rows, as there are activations", f"{len(rows):,}")
    if any(None in row or None in row.values() for row in rows):
        raise FormatError(path, "as many fields in every row as in the first", "more or fewer")
    return rows


def _write_corpus(folder: Path, rows: list[dict[str, str]], group_by: str) -> Corpus:
    import pyarrow as pa

    texts = [row["sequence"] for row in rows]
    groups, grouping = group(texts, "protein", group_by)
    columns: dict[str, Any] = {"id": [row["sequence_id"] for row in rows], "text": texts, "group": groups}
    for name in rows[0]:
        if name not in NOT_METADATA:
            columns[name] = pa.array([row[name] or None for row in rows], pa.string())
    source = {"format": "protein seed, pooled"}
    return Corpus.write(folder, pa.table(columns), kind="protein", source=source, grouping=grouping)


def _write_blocks(
    folder: Path, found: _Extraction, corpus: Corpus, n_features: int, observer: Observer | None
) -> Iterator[dict[str, Any]]:
    """Blocks of consecutive proteins; yields their entries for the manifest."""
    with missing("reading the protein seed's extractions", "torch"):
        from autointerp.subjects.esm2 import TOKENS
        from autointerp.subjects.framing import ProteinTokenizer
    tokenize = ProteinTokenizer({token: i for i, token in enumerate(TOKENS)})
    n, k = found.values.shape
    step = max(1, BLOCK // max(k, 1))
    with Stage(observer, "reading", n, "sequence") as stage:
        for index, first in enumerate(range(0, n, step)):
            last = min(first + step, n)
            indptr, row, bits = by_feature(_codes(found, first, last, n_features), found.files[1])
            ids = [tokens.ids for tokens in tokenize(corpus.texts(range(first, last)))]
            tensors = {
                "indptr": indptr,
                "token": row.astype(np.uint32) + np.uint32(first),
                "value": bits.view(np.float32),
                "n_sequences": np.diff(indptr),
                "tokens": np.concatenate(ids).astype(np.uint8),
                "offsets": np.concatenate([[0], np.cumsum([len(i) for i in ids])]).astype(np.int64),
            }
            yield write_block(folder, index, tensors, first, last)
            stage.advance(last - first)


def _codes(found: _Extraction, first: int, last: int, n_features: int) -> csr_array:
    """Codes of proteins ``first`` … ``last − 1`` as a matrix (proteins, features) of the values' bits."""
    with np.errstate(over="ignore"):
        value = found.values[first:last].astype(np.float32)
    feature = found.indices[first:last].astype(np.int64)
    path = found.files[0]
    if not np.all(np.isfinite(value) & (value >= 0)):
        raise FormatError(path, "activations after ReLU", f"{value.min()} … {value.max()}")
    if feature.size and not 0 <= feature.min() <= feature.max() < n_features:
        raise UsageError(
            f"{found.files[1]}: features {feature.min()} … {feature.max()}, the coder has {n_features}: "
            "give the coder that made them"
        )
    active = value > 0
    indptr = np.concatenate([[0], np.cumsum(active.sum(1))])
    return csr_array((value[active].view(np.uint32), feature[active], indptr), (last - first, n_features))


def _facts(found: _Extraction, coder: SparseCoder) -> dict[str, Any]:
    """What ``cache.json`` says of the source; None where neither the files nor the coder say."""
    with missing("reading the protein seed's extractions", "torch"):
        from autointerp.subjects.esm2 import TOKENS
    known = coder.metadata
    return {
        "level": "sequence",
        "pooling": "mean, then encode",
        "subject": {
            "name": known.get("subject", "unknown"),
            "digest": known.get("subject_digest"),
            "kind": "protein",
            "causal": False,
            "hook": known.get("hook", "unknown"),
            "context_length": None,
            "dtype": "unknown type",
        },
        "special_tokens": {
            "rule": "left out by id",
            "ids": {token.strip("<>"): i for i, token in enumerate(TOKENS) if len(token) > 1},
        },
        "coder": {"digest": coder.digest, "architecture": coder.architecture, "d_in": coder.d_in, "k": coder.k},
        "settings": {
            "hook": known.get("hook", "unknown"),
            "level": "sequence",
            "source": {"format": "protein seed, pooled", "files": {p.name: digest_file(p) for p in found.files}},
        },
        "n_features": coder.n_features,
        "value_dtype": "float32",
    }
