"""A stream of states covers every position once and gives what each sequence alone gives."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from autointerp.errors import UsageError
from autointerp.subjects import iter_states, load_subject, plan_windows


def collect(subject: Any, sequences: Sequence[np.ndarray], **options: Any) -> tuple[np.ndarray, np.ndarray]:
    parts = list(iter_states(subject, sequences, ["layer:2"], **options))
    positions = np.concatenate([p for p, _ in parts])
    assert positions.dtype == np.int64
    return positions, torch.cat([s["layer:2"] for _, s in parts]).numpy()


def test_padded_batches_equal_sequences_one_by_one(checkpoint: Path, proteins: list[str]) -> None:
    subject = load_subject(checkpoint)
    ids = [t.ids for t in subject.tokenize([*proteins, ""])]
    positions, states = collect(subject, ids, batch_tokens=90)
    assert sorted(positions.tolist()) == list(range(sum(map(len, ids))))
    alone = np.concatenate([subject.states([w], ["layer:2"])["layer:2"].numpy() for w in ids if len(w)])
    np.testing.assert_allclose(states[np.argsort(positions)], alone, atol=1e-5)


@pytest.mark.parametrize("overlap", [0, 3, 10])
def test_long_sequences_are_windowed(checkpoint: Path, proteins: list[str], overlap: int) -> None:
    subject = load_subject(checkpoint, context_length=12)
    ids = [t.ids for t in subject.tokenize(proteins)]
    positions, states = collect(subject, ids, overlap=overlap, batch_tokens=50)
    expected = []
    for sequence in ids:
        for w in plan_windows(len(sequence), 12, overlap, causal=False):
            window = subject.states([sequence[w.start : w.stop]], ["layer:2"])["layer:2"]
            expected.append(window[w.keep_start - w.start : w.keep_stop - w.start].numpy())
    assert sorted(positions.tolist()) == list(range(sum(map(len, ids))))
    np.testing.assert_allclose(states[np.argsort(positions)], np.concatenate(expected), atol=1e-5)


def test_memory_is_bounded_by_a_batch(checkpoint: Path) -> None:
    """The source is asked for a batch's sequences only, and the model for no more than a batch's tokens."""
    inner = load_subject(checkpoint, context_length=50)
    rng = np.random.default_rng(0)
    sequences = [rng.integers(4, 24, n) for n in rng.integers(1, 120, 60)]
    sizes: list[int] = []

    def states(windows: Sequence[np.ndarray], hooks: Sequence[str]) -> Any:
        sizes.append(len(windows) * max(map(len, windows)))
        return inner.states(windows, hooks)

    spy: Any = SimpleNamespace(name="spy", causal=False, context_length=50, states=states)
    positions, _ = collect(spy, sequences, overlap=8, batch_tokens=200)
    assert max(sizes) <= 200
    assert len(sizes) > 10
    assert sorted(positions.tolist()) == list(range(sum(map(len, sequences))))


def test_wrong_settings_and_nothing_at_all(checkpoint: Path) -> None:
    subject = load_subject(checkpoint, context_length=12)
    sequence = [np.arange(4, 24)]
    with pytest.raises(UsageError, match="takes at most 12"):
        next(iter_states(subject, sequence, ["layer:1"], context_length=13))
    with pytest.raises(UsageError, match="overlap 64"):
        next(iter_states(subject, sequence, ["layer:1"]))
    with pytest.raises(UsageError, match="unknown hook"):
        next(iter_states(subject, sequence, ["layer:9"], overlap=2))
    assert list(iter_states(subject, [], ["layer:1"])) == []
    with pytest.raises(UsageError, match=r"up to 20 tokens: .* takes 1 … 12"):
        subject.states(sequence, ["layer:1"])
