"""The activation cache: a folder of feature-major shards, memory-mapped (ARCHITECTURE §4.2)."""

from autointerp.cache.reader import ActivationCache

__all__ = ["ActivationCache"]
