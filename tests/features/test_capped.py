"""Features of which a cache holds a sample of sequences: nothing is said of the others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autointerp.cache import ActivationCache
from autointerp.cache.subset import ALL, known_sequences
from autointerp.commands import main
from autointerp.features import FeatureLoader
from autointerp.files import TensorFile, write_tensors
from autointerp.records import FeatureRecord
from tests.doubles import write_cache
from tests.features.record_child import digest
from tests.features.test_loader import Truth, check_example
from tests.features.test_negatives import sides_of, silent_bins

CAPPED, FREE = 2, 1


class Capped(Truth):
    """As Truth; feature ``CAPPED`` is known in 60 % of the sequences."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "protein")
        known = known_sequences(7, CAPPED, np.uint64(int(0.6 * 2**64)), 300)
        assert known is not None
        self.known, left = known, self.dense.copy()
        left[~np.repeat(known, np.diff(self.offsets)), CAPPED] = 0
        self.whole = FeatureLoader(self.cache, self.corpus, context=8)
        every = {name: np.array(a) for name, a in self.cache.statistics.items()}
        write_cache(folder / "capped", left, self.corpus, value_dtype="float16")
        threshold = np.full(left.shape[1], ALL)
        threshold[CAPPED] = int(0.6 * 2**64)
        write_tensors(folder / "capped" / "features.safetensors", every | {"threshold": threshold})
        manifest = json.loads((folder / "capped" / "cache.json").read_text())
        manifest["settings"] |= {"seed": 7, "max_activations_per_feature": 100}
        (folder / "capped" / "cache.json").write_text(json.dumps(manifest))
        self.cache = ActivationCache.open(folder / "capped")


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Capped:
    return Capped(tmp_path_factory.mktemp("capped"))


NEGATIVES: list[dict[str, Any]] = [
    {"negatives": "random"},
    {"negatives": "family"},
    {"negatives": "near-miss", "n_explain": 10, "n_test": 10},
    {"negatives": "neighbour", "neighbours": np.array([[1], [0], [1], [0], [0], [0]])},
]


@pytest.mark.parametrize("choice", NEGATIVES)
def test_only_known_sequences_are_shown(truth: Capped, choice: dict[str, Any]) -> None:
    loader = FeatureLoader(truth.cache, truth.corpus, context=8, n_non_activating=10_000, min_examples=3, **choice)
    for code, side in sides_of(loader[CAPPED]):
        for e in (*side.positives, *side.negatives):
            assert truth.known[e.sequence]
            check_example(truth, CAPPED, e)  # the activations are those of the whole feature
        if choice["negatives"] == "random":
            expected = {w for w in silent_bins(truth, CAPPED, code, 8) if truth.known[w[0]]}
            assert {(e.sequence, e.start) for e in side.negatives} == expected


def test_similar_windows_are_known_ones(truth: Capped) -> None:
    n = sum(-(-int(length) // 8) for length in np.diff(truth.offsets))
    embeddings = np.random.default_rng(0).normal(size=(n, 4)).astype(np.float32)
    loader = FeatureLoader(
        truth.cache, truth.corpus, context=8, negatives="similar", embeddings=embeddings, n_non_activating=30
    )
    for _, side in sides_of(loader[CAPPED]):
        assert len(side.negatives) == 30
        assert all(truth.known[e.sequence] for e in side.negatives)


def test_numbers_are_those_of_all_activations(truth: Capped) -> None:
    loader = FeatureLoader(truth.cache, truth.corpus, context=8)
    found, whole = loader[CAPPED].statistics, truth.whole[CAPPED].statistics
    for name in ("count", "max", "frequency", "n_sequences"):
        assert getattr(found, name) == getattr(whole, name)
    assert found.mean == pytest.approx(whole.mean, rel=1e-6)
    bounds = zip(truth.offsets[:-1], truth.offsets[1:], strict=True)
    fires = np.array([truth.dense[a:b, CAPPED].any() for a, b in bounds])
    groups = truth.groups[fires & truth.known]
    assert found.n_groups == len({*groups.tolist()})


def test_they_are_shown_with_the_numbers_of_all(truth: Capped, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["inspect", f"{truth.cache.path}", "--corpus", f"{truth.corpus.path}", "--feature", str(CAPPED)]
    assert main(words) == 0
    found, column = capsys.readouterr().out.splitlines(), truth.dense[:, CAPPED].astype(np.float32)
    assert found[0].startswith(f"feature {CAPPED}: fires on {(column > 0).sum():,} of {len(column):,} tokens")
    assert found[1].startswith(f"max {column.max():.4g}, ")
    assert found[2].startswith(f"the cache holds {len(truth.cache[CAPPED][0]):,} of these activations")


def test_other_features_are_as_ever(truth: Capped) -> None:
    record = FeatureLoader(truth.cache, truth.corpus, context=8)[FREE]
    assert isinstance(record, FeatureRecord)
    assert digest(record) == digest(truth.whole[FREE])
    assert "threshold" in TensorFile(truth.cache.path / "features.safetensors")
