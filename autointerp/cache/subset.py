"""Which sequences a feature's activations are kept of, when there are more than a cache is to hold.

Whole sequences are kept, in the order of a hash of (seed, feature, sequence), as many as fit: a bottom-k sample
(Cohen & Kaplan 2007), which depends on nothing but those three numbers. All sequences whose hash is below the first one
left out are *known*: their activations are all there, or there are none. So they are an even sample in which
frequencies, contexts and silent sequences are what they are in the whole corpus. A sample of single tokens would not
do: contexts would have holes, and a silent context could not be told from one whose activations were left out.
"""

from __future__ import annotations

import numpy as np

ALL = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
"""The threshold of a feature of which nothing was left out."""


def sequence_hash(seed: int, feature: int, sequences: np.ndarray) -> np.ndarray:
    """Hash (n,) uint64 of each of ``sequences`` for one feature: the finaliser of SplitMix64, once for each number."""
    key = _mixed(_mixed(np.array([seed], np.uint64)) ^ np.uint64(feature))
    return _mixed(key ^ sequences.astype(np.uint64))


def known_sequences(seed: int, feature: int, threshold: np.uint64, n_sequences: int) -> np.ndarray | None:
    """(n_sequences,) bool, whether a sequence's activations of ``feature`` are all in the cache; None if all are."""
    if threshold == ALL:
        return None
    return sequence_hash(seed, feature, np.arange(n_sequences)) < threshold


def _mixed(x: np.ndarray) -> np.ndarray:
    """Steele, Lea & Flood 2014, with Stafford's variant 13 of the constants; array arithmetic wraps around."""
    x = x + np.uint64(0x9E37_79B9_7F4A_7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58_476D_1CE4_E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D0_49BB_1331_11EB)
    return x ^ (x >> np.uint64(31))
