"""The activation stream: what it holds, in which order, and from which place it can go on."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch

from autointerp.errors import AutointerpError, UsageError
from tests.training.doubles import ListCorpus, counting_corpus, numbered_subject
from training.stream import ActivationStream, Position, states_of

LENGTHS = [3, 12, 1, 7, 25, 5, 0, 9, 14, 2, 11, 6, 8, 4, 13]  # some longer than the context of 10
TOTAL = sum(LENGTHS)


def stream(capacity: int = 1000, batch_size: int = 8, seed: int = 0, **further: Any) -> ActivationStream:
    corpus = further.pop("corpus", None) or counting_corpus(LENGTHS)
    rows = further.pop("rows", np.arange(len(corpus)))
    subject = further.pop("subject", None) or numbered_subject(TOTAL)
    level = further.pop("level", "token")
    return ActivationStream(subject, corpus, "layer:1", rows, level, batch_size, capacity, seed)


def take(s: ActivationStream, n: int, at: Position | None = None) -> list[tuple[list[int], Position]]:
    return [(x[:, 0].int().tolist(), after) for x, after in islice(s.batches(at or Position()), n)]


def test_an_epoch_holds_every_token_once_but_a_remainder() -> None:
    per_epoch = TOTAL // 8
    batches = take(stream(), 3 * per_epoch)
    for epoch in range(3):
        seen = [i for ids, _ in batches[epoch * per_epoch : (epoch + 1) * per_epoch] for i in ids]
        assert len(set(seen)) == len(seen) == per_epoch * 8
    assert batches[0][0] != batches[per_epoch][0]


def test_batches_mix_sequences_and_do_not_begin_at_the_head() -> None:
    corpus = counting_corpus([10] * 100)
    first = take(stream(200, 50, corpus=corpus, subject=numbered_subject(1000)), 4)
    owners = [{i // 10 for i in ids} for ids, _ in first]
    assert min(map(len, owners)) > 10
    assert max(set().union(*owners)) > 50
    assert len(set().union(*owners)) == 20


def test_a_corpus_that_fits_is_run_once() -> None:
    s = stream()
    take(s, 100)
    assert s.subject.passes < 2 * TOTAL  # windows of long sequences overlap
    small = stream(capacity=30)
    take(small, 100)
    assert small.subject.passes > 5 * TOTAL


@pytest.mark.parametrize("capacity", [8, 30, 50, 119, 1000])
@pytest.mark.parametrize("level", ["token", "sequence"])
def test_a_stream_goes_on_from_any_position(capacity: int, level: str) -> None:
    size = 8 if level == "token" else 3
    whole = take(stream(capacity, size, level=level), 40)
    for done in (1, 7, 14, 15, 29):
        assert take(stream(capacity, size, level=level), 40 - done, whole[done - 1][1]) == whole[done:]


def test_seeds_give_different_orders() -> None:
    assert take(stream(seed=1), 3) == take(stream(seed=1), 3) != take(stream(seed=2), 3)


def test_only_the_rows_asked_for() -> None:
    batches = take(stream(rows=np.array([4, 7])), 30)
    seen = {i for ids, _ in batches for i in ids}
    assert seen <= {*range(23, 48), *range(53, 62)}
    assert len(seen) > 28


def test_means_over_sequences_are_those_of_a_loop() -> None:
    subject, corpus = numbered_subject(TOTAL), counting_corpus(LENGTHS)
    ids = [t.ids for t in subject.tokenize(corpus.items)]
    expected = [float(np.mean(i)) for i in ids if len(i)]
    torch.testing.assert_close(states_of(subject, ids, "layer:1", "sequence")[:, 0], torch.tensor(expected))


def test_too_few_tokens_and_states_that_are_not_finite() -> None:
    with pytest.raises(UsageError, match="holds 120 tokens to train on, fewer than a batch: batch_size 121"):
        take(stream(batch_size=121), 1)
    with pytest.raises(UsageError, match="holds 0 tokens"):
        take(stream(corpus=ListCorpus(["", ""], np.arange(2))), 1)
    subject = numbered_subject(TOTAL)
    subject.table[17] = float("nan")
    with pytest.raises(AutointerpError, match="table layer:1: states are not finite"):
        take(stream(subject=subject), 1)
