"""Small studies for the tests of explaining, judging and reporting: hand-made records, a planted cache, judges."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autointerp.cache import ActivationCache
from autointerp.clients import Scripted
from autointerp.corpus import Corpus
from autointerp.features import FeatureLoader
from autointerp.records import Example, FeatureRecord, FeatureStatistics, Outcome, Request, Side

RESIDUES = "ACDEFGHIKLMNPQRSTVWY"
MOTIFS = ("WHC", "MYW", "CCF", "HWM", "YCW", "FMH", "WWY", "CHM", "MMC", "HYF")
"""Feature ``i`` of the planted study fires at the middle of ``MOTIFS[i]``, and nowhere else."""
N_NOISE = 2
"""Features after the motifs' that fire at random; the last feature of all never fires."""
SETTINGS: dict[str, Any] = {"n_explain": 12, "n_test": 10, "n_non_activating": 10, "context": 16, "min_examples": 5}


def planted_study(folder: Path, *, n_sequences: int = 240, seed: int = 0) -> tuple[ActivationCache, Corpus]:
    """A corpus of random proteins, each motif in a sixth of them, and its cache; every sequence is its own group."""
    from tests.doubles import make_corpus, write_cache  # they need torch

    rng = np.random.default_rng(seed)
    plain = [r for r in RESIDUES if r not in set("".join(MOTIFS))]
    texts, hits = [], []
    for row in range(n_sequences):
        text = list(rng.choice(plain, 48))
        for motif in rng.choice(len(MOTIFS), len(MOTIFS) // 5, replace=False):
            place = int(rng.integers(0, 46))
            if set(text[place : place + 3]) <= set(plain):
                text[place : place + 3] = MOTIFS[motif]
                hits.append((row * 48 + place + 1, int(motif)))
        texts.append("".join(text))
    dense = np.zeros((n_sequences * 48, len(MOTIFS) + N_NOISE + 1), np.float32)
    for token, motif in hits:
        dense[token, motif] = rng.integers(8, 64) / 8
    for noise in range(N_NOISE):
        dense[rng.choice(len(dense), 60, replace=False), len(MOTIFS) + noise] = rng.integers(8, 64, 60) / 8
    corpus = make_corpus(folder / "corpus", texts, keywords=[f"word {i % 7}" for i in range(n_sequences)])
    return write_cache(folder / "cache", dense, corpus), corpus


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a planted study, for a room's ``conftest.py`` to take over."""
    folder = tmp_path_factory.mktemp("study")
    planted_study(folder)
    return folder


def planted_loader(folder: Path, **settings: Any) -> FeatureLoader:
    """A loader of the study in ``folder``."""
    cache, corpus = ActivationCache.open(folder / "cache"), Corpus.open(folder / "corpus")
    return FeatureLoader(cache, corpus, **(SETTINGS | settings))


def example(
    text: str = "ACDEFGHI",
    activations: Sequence[float] = (),
    *,
    sequence: int = 0,
    start: int = 5,
    length: int = 100,
    kind: str = "activating",
    quantile: int = 0,
    tokens: Sequence[str] = (),
    **metadata: Any,
) -> Example:
    """An example with a token a letter (or the given tokens); its group is its sequence."""
    tokens = list(tokens) or list(text)
    values = np.zeros(len(tokens), np.float32)
    values[: len(activations)] = activations
    ends = np.cumsum([len(t) for t in tokens])
    return Example(sequence, start, "".join(tokens), ends, values, sequence, kind, quantile, length, metadata)


def record(
    feature: int = 7, *, n: int = 10, n_explain: int = 6, width: int = 12, level: str = "token", seed: int = 0
) -> FeatureRecord:
    """A record with ``n`` positives and ``n`` negatives to test on; contexts are random, peaks are too."""
    rng = np.random.default_rng([seed, feature])
    next_row = iter(range(10_000))

    def make(activating: bool, quantile: int) -> Example:
        values = np.zeros(width, np.float32)
        if activating:
            values[rng.choice(width, int(rng.integers(1, 4)), replace=False)] = rng.integers(4, 16) / 4
        text = "".join(rng.choice(list(RESIDUES), width))
        kind = "activating" if activating else "random"
        return example(text, values.tolist(), sequence=next(next_row), kind=kind, quantile=quantile, keywords="Zinc")

    def side(size: int) -> Side:
        return Side(tuple(make(True, i % 10) for i in range(size)), tuple(make(False, -1) for _ in range(size)))

    statistics = FeatureStatistics(20, 4.0, 2.0, 0.01, 20, 20)
    return FeatureRecord(feature, side(n_explain), Side(), side(n), statistics, "protein", level)


def truth_of(records: Iterable[FeatureRecord]) -> dict[tuple[int, str], bool]:
    """By (feature, id of the example): whether it activates the feature."""
    table = {}
    for r in records:
        table |= {(r.feature, e.id): True for e in r.test.positives}
        table |= {(r.feature, e.id): False for e in r.test.negatives}
    return table


def answers(values: Iterable[bool | int]) -> str:
    """A reply to a judge's request."""
    return json.dumps({"answers": [int(v) for v in values]})


def asker(records: Iterable[FeatureRecord]) -> Callable[[Request], int]:
    """Tells which feature a request is about: the one it shows, or the number in an explanation such as "feature 7"."""
    shown = {tuple(e.text for e in r.explain.positives): r.feature for r in records}

    def about(request: Request) -> int:
        assert request.task is not None
        if request.task.kind == "explain":
            return shown[tuple(e.text for e in request.task.examples)]
        return int(request.task.explanation.split()[-1])

    return about


def honest(
    records: Iterable[FeatureRecord],
    judge: Callable[[bool], bool | int] = bool,
    on_call: Callable[[Request], Outcome | str | None] = lambda request: None,
) -> Scripted:
    """Explains a feature by its number and judges by the truth about that number.

    ``judge`` turns the truth of an example into the answer; ``on_call`` sees every request first and may raise, or
    return an outcome to answer with.
    """
    records = list(records)
    about, table = asker(records), truth_of(records)

    def answer(request: Request) -> str | Outcome:
        assert request.task is not None
        if (special := on_call(request)) is not None:
            return special
        feature = about(request)
        if request.task.kind == "explain":
            return json.dumps({"explanation": f"feature {feature}"})
        return answers(judge(table.get((feature, e.id), False)) for e in request.task.examples)

    return Scripted(answer)
