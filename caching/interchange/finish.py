"""What every importer does: codes by feature, and from its blocks to a finished cache."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from autointerp.cache.layout import BLOCKS, FORMAT, MANIFEST, VERSION
from autointerp.corpus import Corpus
from autointerp.errors import FormatError, UsageError
from autointerp.files import write_json
from autointerp.progress import Observer
from caching.blocks import feature_major
from caching.compact import compact


def by_feature(codes: csr_array, path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """:func:`caching.blocks.feature_major` of what the file at ``path`` holds.

    Raises
    ------
    FormatError : a feature has two activations in one row.
    """
    indptr, row, bits = feature_major(codes)
    feature = np.repeat(np.arange(len(indptr) - 1, dtype=np.int32), np.diff(indptr))
    if np.any((row[1:] == row[:-1]) & (feature[1:] == feature[:-1])):
        raise FormatError(path, "each activation once", "one given twice")
    return indptr, row, bits


def check_grouping(group_by: str, *valid: str) -> None:
    """Refuse a grouping that is not ``valid`` (the importer's default first)."""
    if group_by not in valid:
        raise UsageError(f"group_by {group_by!r}: valid are {', '.join(valid)}")


def group(texts: list[str], kind: str, group_by: str) -> tuple[np.ndarray, dict[str, Any]]:
    """Group of each sequence, and how it was found: homologous proteins share one, or each is its own.

    Raises
    ------
    UsageError : homologues of texts.
    """
    if group_by == "none":
        return np.arange(len(texts)), {"by": "none"}
    if kind != "protein":
        raise UsageError("group_by identity is for proteins; valid for text: none")
    from autointerp.corpus.groups import identity_groups

    return identity_groups(texts)


def finish(
    folder: Path, facts: dict[str, Any], corpus: Corpus, shard_activations: int, observer: Observer | None
) -> None:
    """Compact the blocks in ``folder`` and write the manifest.

    Parameters
    ----------
    facts : the fields of ``cache.json`` that only the importer knows, ``blocks`` among them; None for what is unknown.
    shard_activations : as in :func:`caching.compact.compact`.
    """
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "complete": False,
        **facts,
        "corpus": {"digest": corpus.digest, "kind": corpus.kind, "n_sequences": len(corpus)},
        "n_sequences": len(corpus),
        "n_tokens": sum(block["n_tokens"] for block in facts["blocks"]),
        "n_activations": 0,
        "tokens": None,
        "shards": [],
        "files": [],
    }
    write_json(folder / MANIFEST, compact(folder, manifest, shard_activations, observer))
    shutil.rmtree(folder / BLOCKS)
