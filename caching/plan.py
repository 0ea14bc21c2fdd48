"""What a caching run will take, measured on a sample before it starts."""

from __future__ import annotations

import resource
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from autointerp.cache.layout import VALUE_DTYPES
from autointerp.errors import UsageError
from autointerp.progress import Silent
from autointerp.subjects import tokenize_rows
from caching.aside import Aside, finishers
from caching.capping import CAPPED_BYTES
from caching.compact import MERGE_BYTES
from caching.encode import begin_block
from caching.memory import SLACK, Resident

if TYPE_CHECKING:
    from autointerp.corpus import Corpus
    from autointerp.subjects import Subject
    from caching.run import Target
    from caching.settings import CacheSettings


@dataclass(frozen=True)
class Plan:
    """What a run will take; numbers of a sample, so that they are estimates.

    Attributes
    ----------
    tokens : content tokens. activations : of all targets together, as many as are kept.
    disk_bytes : of the finished caches. peak_disk_bytes : while blocks and shards lie beside each other.
    memory_bytes : most that is resident, the same for a corpus of any length but for the index of its sequences.
    """

    tokens: int
    activations: int
    disk_bytes: int
    peak_disk_bytes: int
    memory_bytes: int

    def __str__(self) -> str:
        return (
            f"about {self.tokens:,} tokens and {self.activations:,} activations; {_size(self.disk_bytes)} on disk, "
            f"{_size(self.peak_disk_bytes)} while compacting; {_size(self.memory_bytes)} of memory at most"
        )


def plan_run(subject: Subject, targets: Sequence[Target], corpus: Corpus, settings: CacheSettings) -> Plan:
    """Encode one batch of sequences spread over ``corpus`` and scale up.

    Raises
    ------
    UsageError : the corpus holds no token.
    """
    settings = settings.on(subject)
    assert settings.batch_tokens is not None
    lengths = np.asarray(corpus.lengths, np.int64)
    rows = _spread(lengths, settings.batch_tokens)
    sample = tokenize_rows(subject, corpus, rows)
    if not (n_sampled := sum(len(s.ids) for s in sample)):
        raise UsageError("the corpus holds no token")
    pairs = [(target.coder, replace(settings, hook=target.hook)) for target in targets]
    blocks = begin_block(subject, pairs, sample, 0, Silent(), Resident(), Aside("cpu"))()
    found = [len(block["token"]) for block in blocks]

    per_character = n_sampled / int(lengths[rows].sum())
    tokens = int(lengths.sum() * per_character)
    share = min(1.0, settings.max_tokens / tokens) if settings.max_tokens else 1.0
    tokens, sequences = int(tokens * share), int(len(lengths) * share)
    by_sequence = settings.level == "sequence"
    scale = sequences * np.count_nonzero(lengths) / len(lengths) / len(rows) if by_sequence else tokens / n_sampled
    spilled = int(sum(found) * scale)
    most = settings.max_activations_per_feature
    activations = int(sum(np.minimum(np.diff(b["indptr"]) * scale, most or np.inf).sum() for b in blocks))

    one = 4 + np.dtype(VALUE_DTYPES[settings.value_dtype]).itemsize  # a position and a value
    n_blocks = -(-int(lengths.sum() * share) // settings.block_size)
    text = subject.kind == "text"
    whole = tokens * (settings.token_dtype(subject.vocab_size).itemsize + 4 * text) + 8 * sequences
    features = sum(target.coder.n_features for target in targets)
    others = len(targets) * whole + features * 258  # statistics and histogram of each feature
    disk = activations * one + others
    in_block = spilled / n_blocks
    # a block's activations lie in pieces for all targets, then for one in four copies on the way to feature-major order
    spill = in_block * one + in_block / len(targets) * (3 * one + 4)
    spill *= 1 + finishers(getattr(subject, "device", "cpu"))
    shard = min(settings.shard_activations, activations)
    widest = max(target.coder.n_features for target in targets)
    in_shard = min(1.0, settings.shard_activations * len(targets) / max(spilled, 1))  # of the features, on average
    merge = shard * MERGE_BYTES + n_blocks * widest * in_shard * 20
    if most and activations < spilled:
        merge += most * CAPPED_BYTES
    return Plan(
        tokens=tokens,
        activations=activations,
        disk_bytes=disk,
        peak_disk_bytes=disk + spilled * one + others + n_blocks * features * 16,
        memory_bytes=int(_peak() + SLACK + max(spill, merge)),
    )


def _spread(lengths: np.ndarray, size: int) -> list[int]:
    """Rows at even distances among those that are not empty, of about ``size`` characters together."""
    filled = np.flatnonzero(lengths)
    n = min(len(filled), 1 + int(size / max(lengths[filled].mean(), 1))) if len(filled) else 0
    return filled[(np.arange(n) * 2 + 1) * len(filled) // max(2 * n, 1)].tolist()


def _peak() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _size(n: int) -> str:
    return f"{n / 1e9:.1f} GB" if n >= 1e9 else f"{n / 1e6:.0f} MB"
