"""Compaction: merge blocks into feature shards by contiguous slices, one shard in memory at a time."""

from __future__ import annotations

from itertools import cycle, pairwise, repeat
from pathlib import Path
from typing import Any

import numpy as np

from autointerp.cache.layout import FEATURES, HISTOGRAM_BINS, TOKENS, VALUE_DTYPES, shard_name
from autointerp.errors import FormatError
from autointerp.files import TensorFile, write_tensor_stream, write_tensors
from autointerp.progress import Observer, Stage
from caching.memory import Resident

MERGE_BYTES = 12
"""Bytes an activation of a shard takes while it is merged: a position and a value (float16), twice."""
RUNS = 1 << 16
"""Runs (one feature of one block) joined at once: what bounds the list of them."""


def compact(
    folder: Path, manifest: dict[str, Any], shard_activations: int, observer: Observer | None
) -> dict[str, Any]:
    """Merge every block of ``manifest`` into shards, the token file and the feature statistics.

    Memory: one shard (``shard_activations`` × ``MERGE_BYTES`` while it is merged, or one feature if that is more)
    and two int64 a feature and block. Blocks are left where they are: the caller removes them once the new manifest is
    on disk.

    Returns
    -------
    The finished manifest.
    """
    blocks = [_checked(folder / block["file"], manifest["n_features"]) for block in manifest["blocks"]]
    indptrs = np.stack([block.read("indptr") for block in blocks])
    counts = np.diff(indptrs)
    offsets = np.cumsum(np.concatenate([[0], *(np.diff(block.read("offsets")) for block in blocks)]))
    entries = [_write_tokens(folder, blocks, offsets)]
    n_rows = len(offsets) - 1 if manifest["level"] == "sequence" else int(offsets[-1])
    statistics = _Statistics(n_rows, np.sum([block.read("n_sequences") for block in blocks], axis=0))
    shards, resident = [], Resident()
    with Stage(observer, "compacting", int(counts.sum()), "activation") as stage:
        for first, last in _shard_ranges(counts.sum(0), shard_activations):
            indptr, token, value = _merge(blocks, indptrs[:, first : last + 1], VALUE_DTYPES[manifest["value_dtype"]])
            statistics.add(first, indptr, value)
            name = shard_name(first, last - 1)
            digest = write_tensors(folder / name, {"indptr": indptr, "token": token, "value": value})
            shards.append(
                {"file": name, "digest": digest, "first": first, "last": last - 1, "n_activations": len(token)}
            )
            stage.advance(len(token))
            resident.check()
    entries.append({"file": FEATURES, "digest": write_tensors(folder / FEATURES, statistics.tensors())})
    return {
        **manifest,
        "n_activations": int(counts.sum()),
        "tokens": TOKENS,
        "blocks": [],
        "shards": shards,
        "files": entries,
        "complete": True,
    }


def _checked(path: Path, n_features: int) -> TensorFile:
    block = TensorFile(path)
    if block.size("indptr") != n_features + 1 or block.read("indptr", n_features)[0] != block.size("token"):
        raise FormatError(path, f"a block of {n_features} features", "another shape; delete the cache and start again")
    return block


def _shard_ranges(counts: np.ndarray, size: int) -> list[tuple[int, int]]:
    """Consecutive feature ranges of at most ``size`` activations each, one feature at the least."""
    ranges, first, total = [], 0, 0
    for feature, count in enumerate(counts.tolist()):
        if feature > first and total + count > size:
            ranges.append((first, feature))
            first, total = feature, 0
        total += count
    ranges.append((first, len(counts)))
    return ranges


def _merge(blocks: list[TensorFile], indptrs: np.ndarray, dtype: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Activations of one feature range from all blocks, feature-major; blocks ascend, so tokens do.

    ``indptrs`` is (n_blocks, n_features_in_shard + 1), in the blocks' own positions.
    """
    indptr = np.concatenate([[0], np.cumsum(np.diff(indptrs).sum(0))])
    bounds = indptrs - indptrs[:, :1]  # in what is read of each block
    merged = []
    for name, kind in (("token", np.dtype(np.uint32)), ("value", np.dtype(dtype))):
        parts = [block.read(name, low, high) for block, low, high in zip(blocks, *indptrs[:, [0, -1]].T, strict=True)]
        out = np.empty(indptr[-1], kind)
        step = max(1, RUNS // len(blocks))
        for first in range(0, len(indptr) - 1, step):
            last = min(first + step, len(indptr) - 1)
            lows, highs = (bounds[:, i : i + last - first].T.ravel().tolist() for i in (first, first + 1))
            runs = [part[low:high] for part, low, high in zip(cycle(parts), lows, highs, strict=False)]
            np.concatenate(runs, out=out[indptr[first] : indptr[last]])
        merged.append(out)
    return indptr, merged[0], merged[1]


def _write_tokens(folder: Path, blocks: list[TensorFile], offsets: np.ndarray) -> dict[str, Any]:
    total = int(offsets[-1])
    tensors: dict[str, Any] = {"offsets": (np.dtype(np.int64), offsets.shape, [offsets])}
    for name in ("tokens", "ends"):
        if name in blocks[0]:
            tensors[name] = (blocks[0].entries[name][0], (total,), map(TensorFile.read, blocks, repeat(name)))
    return {"file": TOKENS, "digest": write_tensor_stream(folder / TOKENS, tensors)}


class _Statistics:
    """Per-feature sums, filled shard by shard."""

    def __init__(self, total: int, n_sequences: np.ndarray) -> None:
        self.total, self.n_sequences, n_features = total, n_sequences, len(n_sequences)
        self.count = np.zeros(n_features, np.int64)
        self.max, self.mean = np.zeros((2, n_features), np.float32)
        self.sum_squares = np.zeros(n_features, np.float64)
        self.histogram = np.zeros((n_features, HISTOGRAM_BINS), np.uint32)

    def add(self, first: int, indptr: np.ndarray, value: np.ndarray) -> None:
        """Take in the features from ``first`` on, whose activations ``value[indptr[i]:indptr[i + 1]]`` are."""
        for feature, (a, b) in enumerate(pairwise(indptr.tolist()), first):
            if a == b:
                continue
            values = value[a:b].astype(np.float64)
            top = values.max()
            self.count[feature], self.max[feature], self.mean[feature] = b - a, top, values.mean()
            self.sum_squares[feature] = values @ values
            # Bins are half-open, the last one closed. The product is exact, and the quotient of such short floats never
            # rounds up to an integer: no value is in the wrong bin.
            values *= HISTOGRAM_BINS
            values /= top
            bins = np.bincount(values.astype(np.intp), minlength=HISTOGRAM_BINS + 1)
            bins[-2] += bins[-1]
            self.histogram[feature] = bins[:-1]

    def tensors(self) -> dict[str, np.ndarray]:
        with np.errstate(divide="ignore"):
            frequency = np.log10(self.count / max(self.total, 1))
        return {
            "count": self.count,
            "max": self.max,
            "mean": self.mean,
            "sum_squares": self.sum_squares,
            "n_sequences": self.n_sequences,
            "log10_frequency": np.maximum(frequency, -10.0).astype(np.float32),
            "histogram": self.histogram,
        }
