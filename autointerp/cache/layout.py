"""Names and shapes of what lies in a cache folder: one place that writers and readers share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from autointerp.errors import FormatError
from autointerp.files import read_json

FORMAT = "autointerp-cache"
VERSION = 1
MANIFEST = "cache.json"
TOKENS = "tokens.safetensors"
FEATURES = "features.safetensors"
SHARDS = "shards"
BLOCKS = "blocks"
VALUE_DTYPES = {"float16": np.float16, "float32": np.float32}
MAX_TOKENS = 1 << 32
"""A position is a uint32; a corpus beyond it needs several caches."""
HISTOGRAM_BINS = 50


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """Read ``cache.json``.

    Raises
    ------
    FormatError : not a cache folder, or one of another version.
    """
    folder = Path(folder)
    if not (folder / MANIFEST).exists():
        what = "no such folder" if not folder.is_dir() else "a folder without cache.json"
        raise FormatError(folder, "an activation cache (written by `autointerp cache`)", what)
    return read_json(folder / MANIFEST, FORMAT, VERSION)


def token_dtype(largest_id: int) -> np.dtype:
    """Smallest unsigned type that holds token ids up to ``largest_id``."""
    return np.dtype(np.min_scalar_type(largest_id))


def shard_name(first: int, last: int) -> str:
    """File name of the shard with features ``first`` … ``last`` (inclusive), relative to the cache."""
    return f"{SHARDS}/{first:07d}-{last:07d}.safetensors"


def block_name(index: int) -> str:
    """File name of a block, relative to the cache."""
    return f"{BLOCKS}/{index:06d}.safetensors"
