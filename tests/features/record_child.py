"""Prints digests of records from a process of its own: CORPUS CACHE FEATURES…"""

from __future__ import annotations

import hashlib
import sys

from autointerp.cache import ActivationCache
from autointerp.corpus import Corpus
from autointerp.features import FeatureLoader
from autointerp.records import FeatureRecord


def digest(record: FeatureRecord) -> str:
    """Hash of everything that a record holds."""
    state = hashlib.sha256(repr((record.feature, record.statistics, record.modality, record.level)).encode())
    for side in (record.explain, record.validation, record.test):
        for e in (*side.positives, *side.negatives):
            parts = (e.sequence, e.start, e.text, e.ends.tolist(), e.activations.tolist(), e.group, e.kind, e.quantile)
            state.update(repr((*parts, e.length, dict(e.metadata))).encode())
    return state.hexdigest()


if __name__ == "__main__":
    loader = FeatureLoader(ActivationCache.open(sys.argv[2]), Corpus.open(sys.argv[1]), context=8, n_explain=20, seed=3)
    print(*(digest(loader[int(feature)]) for feature in sys.argv[3:]))
