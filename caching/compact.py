"""Compaction: merge blocks into feature shards by contiguous slices, one shard in memory at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import cycle, pairwise, repeat
from pathlib import Path
from typing import Any

import numpy as np

from autointerp.cache.layout import FEATURES, HISTOGRAM_BINS, TOKENS, VALUE_DTYPES, shard_name
from autointerp.cache.subset import ALL
from autointerp.errors import FormatError
from autointerp.files import TensorFile, write_tensor_stream, write_tensors
from autointerp.progress import Observer, Silent, Stage
from caching.capping import Capped
from caching.memory import Resident

MERGE_BYTES = 12
"""Bytes an activation of a shard takes while it is merged: a position and a value (float16), twice."""
RUNS = 1 << 16
"""Runs (one feature of one block) joined at once: what bounds the list of them."""


def compact(
    folder: Path, manifest: dict[str, Any], shard_activations: int, observer: Observer | None
) -> dict[str, Any]:
    """Merge every block of ``manifest`` into shards, the token file and the feature statistics.

    Memory: one shard (``shard_activations`` × ``MERGE_BYTES`` while it is merged, or one feature if that is more, but
    no more than three times ``max_activations_per_feature`` of it) and one int64 a feature of the shard and block.
    Blocks are left where they are: the caller removes them once the new manifest is on disk.

    Returns
    -------
    The finished manifest.
    """
    blocks = Blocks(folder, manifest)
    counts, resident, shards = blocks.counts(), Resident(), []
    with Stage(observer or Silent(), "compacting", int(counts.sum()), "activation") as stage:
        for first, last in plan_shards(counts, shard_activations, blocks.most):
            shards.append(make_shard(blocks, first, last))
            stage.advance(int(counts[first:last].sum()))
            resident.check()
    return finish(blocks, shards)


@dataclass(frozen=True)
class Shard:
    """A shard that is on disk: its entry in the manifest, and the statistics of its features by name."""

    entry: dict[str, Any]
    statistics: dict[str, np.ndarray]


class Blocks:
    """The blocks of a run, opened; nothing but their headers is held, and it can be pickled.

    Raises
    ------
    FormatError : a file is missing or damaged, or not of this run.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.folder, self.manifest = folder, manifest
        self.n_features = manifest["n_features"]
        self.files = [_checked(folder / block["file"], self.n_features) for block in manifest["blocks"]]
        settings = manifest.get("settings", {})
        self.most: int | None = settings.get("max_activations_per_feature")
        self.seed: int = settings.get("seed", 0)
        self.by_sequence = manifest["level"] == "sequence"

    def counts(self) -> np.ndarray:
        """Activations of each feature, (n_features,) int64."""
        total = np.zeros(self.n_features, np.int64)
        for file in self.files:
            total += np.diff(file.read("indptr"))
        return total

    def n_sequences(self, first: int, last: int) -> np.ndarray:
        """In how many sequences features ``first:last`` are active."""
        total = np.zeros(last - first, np.int64)
        for file in self.files:
            total += file.read("n_sequences", first, last)
        return total

    @cached_property
    def offsets(self) -> np.ndarray:
        """(n_sequences + 1,) int64, first token of each sequence."""
        return np.cumsum(np.concatenate([[0], *(np.diff(file.read("offsets")) for file in self.files)]))

    def sequences(self, token: np.ndarray) -> np.ndarray:
        """Sequence of each ``token``."""
        return token if self.by_sequence else np.searchsorted(self.offsets, token.astype(np.int64), "right") - 1


def plan_shards(counts: np.ndarray, size: int, most: int | None = None) -> list[tuple[int, int]]:
    """Consecutive half-open feature ranges of at most ``size`` activations each, one feature at the least.

    Parameters
    ----------
    counts : (n_features,) activations of each. most : of a feature, that are kept.
    """
    ranges, first, total = [], 0, 0
    for feature, count in enumerate(np.minimum(counts, most or counts.max(initial=0)).tolist()):
        if feature > first and total + count > size:
            ranges.append((first, feature))
            first, total = feature, 0
        total += count
    ranges.append((first, len(counts)))
    return ranges


def make_shard(blocks: Blocks, first: int, last: int) -> Shard:
    """Merge features ``first:last`` of all blocks and write their shard.

    Nothing but the blocks and the range decides its bytes.
    """
    indptrs = np.stack([file.read("indptr", first, last + 1) for file in blocks.files])
    dtype = np.dtype(VALUE_DTYPES[blocks.manifest["value_dtype"]])
    statistics = _Statistics(first, blocks.n_sequences(first, last))
    pieces, lengths = [], [np.zeros(1, np.int64)]
    for a, b, capped in _runs(np.diff(indptrs).sum(0), blocks.most):
        if capped:
            token, value = _capped(blocks, indptrs[:, a], indptrs[:, b], first + a, statistics)
            lengths.append(np.array([len(token)]))
        else:
            indptr, token, value = _merge(blocks.files, indptrs[:, a : b + 1], dtype)
            statistics.add(first + a, indptr, value)
            lengths.append(np.diff(indptr))
        pieces.append((token, value))
    indptr = np.cumsum(np.concatenate(lengths))
    n, (tokens, values) = (int(indptr[-1]),), zip(*pieces, strict=True)
    tensors: dict[str, tuple[np.dtype, tuple[int, ...], Iterable[np.ndarray]]] = {
        "indptr": (indptr.dtype, indptr.shape, [indptr]),
        "token": (np.dtype(np.uint32), n, tokens),
        "value": (dtype, n, values),
    }
    name = shard_name(first, last - 1)
    digest = write_tensor_stream(blocks.folder / name, tensors)
    entry = {"file": name, "digest": digest, "first": first, "last": last - 1, "n_activations": n[0]}
    return Shard(entry, statistics.tensors(blocks.most is not None))


def finish(blocks: Blocks, shards: Sequence[Shard]) -> dict[str, Any]:
    """Write the tokens and the statistics of all features; the finished manifest, whose ``shards`` ascend."""
    tokens = _write_tokens(blocks.folder, blocks.files, blocks.offsets)
    n_rows = len(blocks.offsets) - 1 if blocks.by_sequence else int(blocks.offsets[-1])
    joined = {name: np.concatenate([shard.statistics[name] for shard in shards]) for name in shards[0].statistics}
    with np.errstate(divide="ignore"):
        frequency = np.log10(joined["count"] / max(n_rows, 1))
    joined["log10_frequency"] = np.maximum(frequency, -10.0).astype(np.float32)
    features = {"file": FEATURES, "digest": write_tensors(blocks.folder / FEATURES, joined)}
    return {
        **blocks.manifest,
        "n_activations": sum(shard.entry["n_activations"] for shard in shards),
        "tokens": TOKENS,
        "blocks": [],
        "shards": [shard.entry for shard in shards],
        "files": [tokens, features],
        "complete": True,
    }


def _checked(path: Path, n_features: int) -> TensorFile:
    block = TensorFile(path)
    if block.size("indptr") != n_features + 1 or block.read("indptr", n_features)[0] != block.size("token"):
        raise FormatError(path, f"a block of {n_features} features", "another shape; delete the cache and start again")
    return block


def _runs(counts: np.ndarray, most: int | None) -> list[tuple[int, int, bool]]:
    """Ranges (first, last, False) of features that are kept whole, and (i, i + 1, True) for each that is not."""
    runs, first = [], 0
    for feature in np.flatnonzero(counts > most).tolist() if most else ():
        if feature > first:
            runs.append((first, feature, False))
        runs.append((feature, feature + 1, True))
        first = feature + 1
    return [*runs, (first, len(counts), False)] if first < len(counts) else runs


def _capped(
    blocks: Blocks, begins: np.ndarray, ends: np.ndarray, feature: int, statistics: _Statistics
) -> tuple[np.ndarray, np.ndarray]:
    """What is kept of one feature; its sums are of everything, its histogram of what is kept."""
    assert blocks.most is not None
    kept = Capped(feature, blocks.most, blocks.seed)
    for file, begin, end in zip(blocks.files, begins.tolist(), ends.tolist(), strict=True):
        if begin < end:
            token, value = file.read("token", begin, end), file.read("value", begin, end)
            statistics.sums(feature, value)
            kept.add(blocks.sequences(token), token, value)
    token, value = kept.kept()
    statistics.bins(feature, value)
    statistics.threshold[feature - statistics.first] = kept.threshold
    return token, value


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
    """Sums of the features from ``first`` on."""

    def __init__(self, first: int, n_sequences: np.ndarray) -> None:
        self.first, self.n_sequences, n = first, n_sequences, len(n_sequences)
        self.count = np.zeros(n, np.int64)
        self.max = np.zeros(n, np.float32)
        self.sum, self.sum_squares = np.zeros((2, n), np.float64)
        self.histogram = np.zeros((n, HISTOGRAM_BINS), np.uint32)
        self.threshold = np.full(n, ALL)

    def add(self, first: int, indptr: np.ndarray, value: np.ndarray) -> None:
        """Take in the features from ``first`` on, whose activations ``value[indptr[i]:indptr[i + 1]]`` are."""
        for feature, (a, b) in enumerate(pairwise(indptr.tolist()), first):
            if a < b:
                self.sums(feature, value[a:b])
                self.bins(feature, value[a:b])

    def sums(self, feature: int, value: np.ndarray) -> None:
        """Add some activations (n ≥ 1,) of one feature."""
        i, values = feature - self.first, value.astype(np.float64)
        self.count[i] += len(values)
        self.max[i] = max(self.max[i], values.max())
        self.sum[i] += values.sum()
        self.sum_squares[i] += np.square(values, out=values).sum()  # not a BLAS product: it depends on the threads

    def bins(self, feature: int, value: np.ndarray) -> None:
        """The histogram of one feature, whose largest activation is known by now."""
        # Bins are half-open, the last one closed. The product is exact, and the quotient of such short floats never
        # rounds up to an integer: no value is in the wrong bin.
        values = value.astype(np.float64) * HISTOGRAM_BINS / np.float64(self.max[feature - self.first])
        bins = np.bincount(values.astype(np.intp), minlength=HISTOGRAM_BINS + 1)
        bins[-2] += bins[-1]
        self.histogram[feature - self.first] = bins[:-1]

    def tensors(self, capped: bool) -> dict[str, np.ndarray]:
        """By name; the threshold only where features are capped."""
        return {
            "count": self.count,
            "max": self.max,
            "mean": (self.sum / np.maximum(self.count, 1)).astype(np.float32),
            "sum_squares": self.sum_squares,
            "n_sequences": self.n_sequences,
            "histogram": self.histogram,
            **({"threshold": self.threshold} if capped else {}),
        }
