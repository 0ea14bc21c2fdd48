"""Annotating against a dense encoding of every token, feature by feature."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from autointerp.annotating import Annotated, FeatureTables, annotate
from autointerp.errors import UsageError
from autointerp.subjects import iter_states
from tests.doubles import FakeSubject, fake_coder, random_documents, random_proteins

N = 20
MAXIMA = np.where(np.arange(N) % 5 == 4, np.nan, 8.0 + np.arange(N)).astype(np.float32)
"""Of every fifth feature nothing is known."""


def tables() -> FeatureTables:
    """What a run would know: maxima, an explanation of the even features, a concept of feature 3."""
    even = [f"fires on {f}" if f % 2 == 0 else None for f in range(N)]
    columns: dict[str, Any] = {
        "feature": pa.array(range(N), pa.int32()),
        "max": pa.array([None if np.isnan(m) else float(m) for m in MAXIMA], pa.float32()),
        "explanation[default]": even,
        "score[default/detection]": [0.75 if text else None for text in even],
        "score[default/detection]_low": [0.5 if text else None for text in even],
        "concept": ["Active site" if f == 3 else None for f in range(N)],
        "concept_f1": [0.5 if f == 3 else None for f in range(N)],
        "go_terms": [["GO:1", "GO:2"] if f == 3 else None for f in range(N)],
        "go_names": [["one", "two"] if f == 3 else None for f in range(N)],
    }
    return FeatureTables(pa.table(columns))


def dense(subject: FakeSubject, text: str, coder: Any) -> np.ndarray:
    """(n_tokens, n_features), each window's tokens encoded by themselves."""
    ids = [subject.tokenize([text])[0].ids]
    found = np.zeros((len(ids[0]), N), np.float32)
    overlap = min(64, subject.context_length // 4)
    for positions, states in iter_states(subject, ids, ["layer:1"], overlap=overlap):
        found[positions] = coder.encode(states["layer:1"]).dense().numpy()
    return found


def of(one: Annotated) -> dict[int, tuple[list[int], list[float]]]:
    return {f.feature: (f.positions.tolist(), f.values.tolist()) for f in one.firings}


@pytest.mark.parametrize(("kind", "k"), [("protein", None), ("protein", 4), ("text", 3)])
def test_every_activation_is_found_where_it_is(kind: str, k: int | None) -> None:
    subject, coder = FakeSubject(kind), fake_coder(N, k=k)
    texts = random_proteins(12) if kind == "protein" else random_documents(12)
    found = annotate(texts, subject, coder, hook="layer:1", ids=[f"p{i}" for i in range(12)])
    assert [one.id for one in found] == [f"p{i}" for i in range(12)]
    for text, one in zip(texts, found, strict=True):
        expected = dense(subject, text, coder)
        assert "".join(one.tokens) == text
        assert one.n_tokens == len(expected)
        fires = {f: (np.flatnonzero(c).tolist(), c[c > 0].tolist()) for f, c in enumerate(expected.T) if c.any()}
        assert of(one) == fires
        assert one.n_fired == len(fires)
        for firing in one.firings:
            column = expected[:, firing.feature]
            assert firing.max == column.max()
            assert firing.peak == int(column.argmax())
            assert firing.coverage == pytest.approx((column > 0).mean())
            assert firing.share is None


def test_filters_keep_what_a_loop_over_tokens_keeps() -> None:
    subject, coder, known = FakeSubject(), fake_coder(N, bias=-12.0), tables()
    texts = random_proteins(8, (20, 60), seed=3)
    wanted, ranges = [2, 3, 4, 7, 9, 11], ((3, 9), (15, 30))
    found = annotate(texts, subject, coder, known, hook="layer:1", min_share=0.4, positions=ranges, features=wanted)
    some = 0
    for text, one in zip(texts, found, strict=True):
        expected: dict[int, tuple[list[int], list[float]]] = {}
        for (token, feature), value in np.ndenumerate(dense(subject, text, coder)):
            inside = any(a <= token < b for a, b in ranges)
            if feature in wanted and inside and value > 0 and value >= np.float32(0.4) * MAXIMA[feature]:
                places, values = expected.setdefault(feature, ([], []))
                places.append(token)
                values.append(float(value))
        assert of(one) == expected
        assert 4 not in expected  # its maximum is unknown
        some += len(expected)
    assert some > 10


@pytest.mark.parametrize("by", ["share", "activation", "coverage", "sum"])
def test_the_best_features_come_first(by: str) -> None:
    subject, coder, known = FakeSubject(), fake_coder(N, bias=-10.0), tables()
    text = random_proteins(1, (40, 40), seed=5)[0]
    (one,) = annotate([text], subject, coder, known, hook="layer:1", by=by)
    (few,) = annotate([text], subject, coder, known, hook="layer:1", by=by, top=3)
    columns = dense(subject, text, coder).T
    measures = {
        "share": lambda f: -1.0 if np.isnan(MAXIMA[f]) else float(columns[f].max() / MAXIMA[f]),
        "activation": lambda f: float(columns[f].max()),
        "coverage": lambda f: float((columns[f] > 0).mean()),
        "sum": lambda f: float(columns[f].sum()),
    }
    values = [measures[by](f.feature) for f in one.firings]
    assert len(values) > 5
    assert values == sorted(values, reverse=True)
    assert [f.feature for f in few.firings] == [f.feature for f in one.firings[:3]]
    assert few.n_fired == one.n_fired
    for firing in one.firings:
        known_max = MAXIMA[firing.feature]
        assert firing.share == (None if np.isnan(known_max) else pytest.approx(firing.max / known_max))


def test_features_of_a_coverage() -> None:
    subject, coder = FakeSubject(), fake_coder(N, bias=-10.0)
    text = random_proteins(1, (60, 60), seed=7)[0]
    (one,) = annotate([text], subject, coder, hook="layer:1", coverage=(0.1, 0.5))
    share = (dense(subject, text, coder) > 0).mean(0)
    assert {f.feature for f in one.firings} == set(np.flatnonzero((share >= 0.1) & (share <= 0.5)).tolist())
    assert 0 < len(one.firings) < one.n_fired


@pytest.mark.parametrize("pooling", ["states", "mean", "max"])
def test_level_sequence_has_one_activation_a_sequence(pooling: str) -> None:
    subject, coder = FakeSubject(), fake_coder(N, bias=-3.0)
    texts = random_proteins(6, (5, 60), seed=1)
    found = annotate(texts, subject, coder, hook="layer:1", level="sequence", pooling=pooling)
    for text, one in zip(texts, found, strict=True):
        ids = subject.tokenize([text])[0].ids
        if pooling == "states":
            total = np.zeros(coder.d_in)
            for _, states in iter_states(subject, [ids], ["layer:1"], overlap=4):
                total += states["layer:1"].numpy().sum(0)
            import torch

            expected = coder.encode(torch.tensor(total / len(ids), dtype=torch.float32)[None]).dense()[0].numpy()
        else:
            codes = dense(subject, text, coder)
            expected = codes.max(0) if pooling == "max" else codes.astype(np.float64).mean(0)
        assert {f.feature for f in one.firings} == set(np.flatnonzero(expected).tolist())
        for firing in one.firings:
            assert firing.max == pytest.approx(expected[firing.feature], rel=1e-5, abs=1e-5)
            assert (firing.positions.tolist(), firing.peak) == ([], -1)


def test_what_is_known_of_a_feature_is_told() -> None:
    known = tables()
    told = [{"explainer": "default", "text": "fires on 2", "scores": {"detection": 0.75}}]
    assert known.about(2) == {"explanations": told, "max": 10.0}
    assert known.about(3) == {
        "concept": "Active site", "concept_f1": 0.5, "go_terms": ["GO:1", "GO:2"], "go_names": ["one", "two"],
        "max": 11.0,
    }  # fmt: skip
    assert known.about(9) == {}
    assert known.about(N + 5) == {}
    subject, coder = FakeSubject(), fake_coder(N)
    (one,) = annotate(random_proteins(1, (50, 50)), subject, coder, known, hook="layer:1")
    for firing in one.firings:
        assert firing.about == known.about(firing.feature)


def test_a_coder_wider_than_the_tables() -> None:
    subject, coder = FakeSubject(), fake_coder(N, bias=-10.0)
    few = FeatureTables(pa.table({"feature": [0, 2], "max": [4.0, 2.0]}))
    (one,) = annotate(random_proteins(1, (60, 60)), subject, coder, few, hook="layer:1")
    shares = {f.feature: f.share for f in one.firings}
    assert len(shares) > 3
    assert {f for f, share in shares.items() if share is not None} == {0, 2} & set(shares)


def test_many_sequences_are_as_each_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autointerp.annotating.firing.AT_ONCE", 70)
    subject, coder = FakeSubject(), fake_coder(N)
    texts = random_proteins(15, (1, 60), seed=9)
    together = annotate(texts, subject, coder, hook="layer:1")
    alone = [annotate([text], subject, coder, hook="layer:1")[0] for text in texts]
    assert [of(one) for one in together] == [of(one) for one in alone]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"by": "shares"}, "share"),
        ({"positions": ((5, 5),)}, "positions 5 to 5 hold nothing"),
        ({"min_share": 2.0}, "min_share 2"),
        ({"coverage": (0.5, 0.1)}, "shares in order"),
        ({"top": 0}, "top 0"),
        ({"ids": ["a", "b"]}, "2 ids for 1 sequences"),
        ({"hook": None}, "--hook"),
        ({"hook": "layer:9"}, "unknown hook"),
        ({"level": "sequence", "positions": ((0, 2),)}, "no positions"),
        ({"level": "word"}, "level 'word'"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        annotate(["ACDE"], FakeSubject(), fake_coder(N), **{"hook": "layer:1", **options})


def test_an_empty_sequence_is_named() -> None:
    with pytest.raises(UsageError, match="sequence b is empty"):
        annotate(["ACDE", ""], FakeSubject(), fake_coder(N), hook="layer:1", ids=["a", "b"])


def test_runs_are_stretches_of_neighbours() -> None:
    subject, coder = FakeSubject(), fake_coder(N, bias=-8.0)
    (one,) = annotate(random_proteins(1, (60, 60)), subject, coder, hook="layer:1")
    for firing in one.firings:
        runs = firing.runs()
        assert [p for a, b in runs for p in range(a, b)] == firing.positions.tolist()
        assert all(b < c for (_, b), (c, _) in pairwise(runs))
