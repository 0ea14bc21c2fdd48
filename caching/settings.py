"""What decides the bytes of a cache."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from autointerp.cache.layout import VALUE_DTYPES, token_dtype
from autointerp.errors import UsageError

if TYPE_CHECKING:
    from autointerp.subjects import Subject

POOLING = {"states": "mean, then encode", "mean": "encode, then mean", "max": "encode, then max"}
"""What the manifest says of each."""


@dataclass(frozen=True)
class CacheSettings:
    """Settings of a caching run; all of them are recorded in the manifest.

    Raises
    ------
    UsageError : a value outside its range.
    """

    hook: str
    """Place in the subject, e.g. ``layer:3``."""
    level: str = "token"
    """``token``, or ``sequence``: one code for each sequence."""
    value_dtype: str = "float16"
    """Type of the stored activations: float16 or float32."""
    overlap: int = 64
    """Tokens that windows of an over-long sequence share, a quarter of the context at most; positions are kept once."""
    batch_tokens: int | None = None
    """Padded tokens in one forward pass; by default 4,096 on a CPU, 65,536 elsewhere."""
    block_size: int = 1 << 16
    """Characters (residues) of corpus in one block: the unit of resumption, and what bounds memory."""
    shard_activations: int = 1 << 22
    """Activations in one shard; what bounds memory while compacting."""
    max_tokens: int | None = None
    """Stop after this many tokens, at a sequence's end."""
    max_activations_per_feature: int | None = None
    """Keep of a feature that has more the activations of some sequences only, this many at most."""
    seed: int = 0
    """Decides which sequences those are."""
    pooling: str = "states"
    """How level ``sequence`` pools: mean of the ``states``, then encode; or encode tokens, then ``mean`` or ``max``."""

    def __post_init__(self) -> None:
        if self.level not in ("token", "sequence"):
            raise UsageError(f"level {self.level!r}: valid are token, sequence")
        if self.pooling not in POOLING:
            raise UsageError(f"pooling {self.pooling!r}: valid are {', '.join(POOLING)}")
        if self.pooling != "states" and self.level != "sequence":
            raise UsageError(f"pooling {self.pooling!r} is of level sequence, this is level {self.level}")
        if self.value_dtype not in VALUE_DTYPES:
            raise UsageError(f"value_dtype {self.value_dtype!r}: valid are {', '.join(VALUE_DTYPES)}")
        for name in ("batch_tokens", "block_size", "shard_activations", "max_tokens", "max_activations_per_feature"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise UsageError(f"{name} {value}: must be at least 1")
        for name in ("overlap", "seed"):
            if (value := getattr(self, name)) < 0:
                raise UsageError(f"{name} {value}: must not be negative")

    def on(self, subject: Subject) -> CacheSettings:
        """These settings for ``subject``: every default a number, for its device; the overlap as its context allows."""
        cpu = str(getattr(subject, "device", "cpu")).startswith("cpu")
        # measured on a CPU: 2,048 to 16,384 are equally fast, and memory follows
        batch = self.batch_tokens or (1 << 12 if cpu else 1 << 16)
        return replace(self, batch_tokens=batch, overlap=min(self.overlap, subject.context_length // 4))

    @staticmethod
    def token_dtype(vocab_size: int) -> np.dtype:
        """Smallest unsigned type for the ids of a vocabulary."""
        return token_dtype(max(vocab_size - 1, 0))
