"""Probes on planted truth: what one feature knows, what several know together, what the states or the token know."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score, roc_auc_score

from autointerp.biology import probe_inputs
from autointerp.biology.f1 import parts_of
from autointerp.biology.probe_inputs import drawn, feature_matrix, states_of
from autointerp.biology.probes import INPUTS, ProbeSettings, probe_concepts
from autointerp.biology.regions import annotated
from autointerp.cache import ActivationCache
from autointerp.commands import main
from autointerp.corpus import Corpus
from autointerp.errors import UsageError
from tests.doubles import FakeSubject, make_corpus, random_proteins, write_cache

N, LENGTH, FEATURES = 90, 20, 8
Made = tuple[ActivationCache, Corpus, np.ndarray, dict[str, np.ndarray], FakeSubject]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """90 proteins in groups of three. Feature 2 is `one`; 3 and 4 together `two`; a state is `state`; W is `W`."""
    folder, rng = tmp_path_factory.mktemp("probes"), np.random.default_rng(0)
    texts, subject = random_proteins(N, (LENGTH, LENGTH)), FakeSubject(context_length=32)
    n = N * LENGTH
    dense = rng.integers(1, 9, (n, FEATURES)) / 8 * (rng.random((n, FEATURES)) < 0.2)
    states = subject.states([t.ids for t in subject.tokenize(texts)], ["layer:1"])["layer:1"].numpy()
    truth = {
        "one": dense[:, 2] > 0,
        "two": (dense[:, 3] > 0) | (dense[:, 4] > 0),
        "state": states[:, 0] > np.quantile(states[:, 0], 0.8),
        "W": np.array(list("".join(texts))) == "W",
        "noise": rng.random(n) < 0.1,
    }
    rows = [(i // LENGTH, i % LENGTH, i % LENGTH + 1, "Site", name, 0)
            for name, marks in truth.items() for i in np.flatnonzero(marks).tolist()]  # fmt: skip
    rows = [(*row[:5], number) for number, row in enumerate(rows)]
    corpus = make_corpus(folder / "corpus", texts, groups=(np.arange(N) // 3).tolist(), annotations=rows)
    return write_cache(folder / "cache", dense.astype(np.float32), corpus, subject), corpus, dense, truth, subject


def test_each_input_finds_what_it_knows_and_nothing_else(made: Made) -> None:
    cache, corpus, _, _, subject = made
    parts = parts_of(cache, corpus, shares=(0.4, 0.2, 0.4))
    study = probe_concepts(
        cache,
        corpus,
        annotated(cache, corpus, whole_types=False),
        parts,
        ProbeSettings(max_concepts=9),
        subject=subject,
    )
    found = {(r["concept"].removeprefix("Site: "), r["input"]): r for r in study.table.to_pylist()}
    assert {name for _, name in found} == set(INPUTS)
    area = {key: row["auroc"] for key, row in found.items()}
    assert found["one", "one feature"]["feature"] == 2
    assert area["one", "one feature"] == 1.0 > area["one", "features"] > 0.99
    assert (
        found["one", "one feature"]["f1"] == 1.0 > found["one", "one feature"]["balanced_f1"] > 0.9
    )  # a penalty shifts one half
    assert area["two", "features"] > 0.99 > 0.9 > area["two", "one feature"] > 0.65
    assert found["two", "one feature"]["feature"] in (3, 4)
    assert area["state", "states"] > 0.99 > 0.95 > area["state", "token"] > 0.6 > area["state", "features"]
    assert area["W", "token"] == 1.0
    for name in INPUTS:
        row = found["noise", name]
        assert row["auroc_low"] - 0.03 < 0.5 < row["auroc_high"] + 0.03
        assert row["average_precision"] < 0.25
        assert 0.05 < row["prevalence"] < 0.15


def test_the_measures_are_scikit_learns_on_groups_that_were_not_trained_on(made: Made) -> None:
    """The probe on states of one concept, step by step: no group on two sides, the states, the fit, every measure."""
    cache, corpus, _, truth, subject = made
    parts = parts_of(cache, corpus, shares=(0.4, 0.2, 0.4), seed=1)
    sample = drawn(cache, corpus, parts, (10**6, 10**6, 10**6), 0)
    sides = [set(sample.group[sample.part == part].tolist()) for part in range(3)]
    assert not (sides[0] & sides[1] | sides[0] & sides[2] | sides[1] & sides[2])
    raw = subject.states([t.ids for t in subject.tokenize(corpus.texts(range(N)))], ["layer:1"])["layer:1"].numpy()
    fit, valid, test = (sample.part == part for part in range(3))
    x = (raw - raw[fit].mean(0)) / raw[fit].std(0)
    assert states_of(cache, corpus, subject, sample) == pytest.approx(x, abs=1e-5)
    study = probe_concepts(
        cache, corpus, annotated(cache, corpus, whole_types=False), parts,
        ProbeSettings(tokens=10**6, candidates=1), subject=subject,
    )  # fmt: skip
    row = next(r for r in study.table.to_pylist() if (r["concept"], r["input"]) == ("Site: state", "states"))
    y = truth["state"]
    p = LogisticRegression(C=row["strength"], class_weight="balanced", max_iter=200).fit(x[fit], y[fit])
    p = p.predict_proba(x)[:, 1]
    assert row["auroc"] == pytest.approx(roc_auc_score(y[test], p[test]), abs=1e-4)
    assert row["average_precision"] == pytest.approx(average_precision_score(y[test], p[test]), abs=1e-3)
    assert row["balanced_f1"] == pytest.approx(f1_score(y[test], p[test] > 0.5), abs=5e-3)
    called = p[test] >= row["threshold"]
    for name, measure in (("f1", f1_score), ("precision", precision_score), ("recall", recall_score)):
        assert row[name] == pytest.approx(measure(y[test], called), abs=5e-3)
    best = max(f1_score(y[valid], p[valid] >= t) for t in p[valid])
    assert f1_score(y[valid], p[valid] >= row["threshold"] - 1e-4) == pytest.approx(best, abs=5e-3)
    assert (row["n_positive"], row["prevalence"]) == (y[test].sum(), pytest.approx(y[test].mean()))


@pytest.mark.parametrize("chunk", [50, 1 << 20])
def test_features_at_the_tokens_drawn_as_shares_of_the_maximum_on_fit(
    made: Made, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, corpus, dense, *_ = made
    monkeypatch.setattr(probe_inputs, "CHUNK", chunk)
    sample = drawn(cache, corpus, parts_of(cache, corpus), (100, 50, 100), 3)
    assert sample.n_sequences.tolist() == [5, 3, 5]  # whole sequences of 20 until the budget is reached
    assert np.bincount(sample.part).tolist() == [100, 60, 100]
    top = dense[sample.token[sample.part == 0]].max(0)
    assert feature_matrix(cache, sample).toarray() == pytest.approx(dense[sample.token] / top)


def test_what_cannot_be_probed(made: Made) -> None:
    cache, corpus, *_ = made
    regions, parts = annotated(cache, corpus), parts_of(cache, corpus)
    with pytest.raises(UsageError, match=r"no concept has 500 instances among the tokens drawn .*the most is"):
        probe_concepts(cache, corpus, regions, parts, ProbeSettings(min_instances=500))
    with pytest.raises(UsageError, match=r"the cache is of subject fake-protein .*give the subject that was cached"):
        probe_concepts(cache, corpus, regions, parts, subject=FakeSubject(seed=1, context_length=32))
    with pytest.raises(UsageError, match="candidates 0"):
        ProbeSettings(candidates=0)


def test_the_command(made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache, corpus, *_ = made
    args = ["probes", str(cache.path), "--corpus", str(corpus.path), "--out", str(tmp_path), "--no-states"]
    assert main([*args, "--max-concepts", "2", "--pattern", "acid=[DE]", "--no-annotations"]) == 0
    said = capsys.readouterr().out
    (row,) = [r for r in pq.read_table(tmp_path / "probes.parquet").to_pylist() if r["input"] == "token"]
    assert (row["concept"], row["auroc"]) == ("pattern: acid", 1.0)
    assert "concepts     1; 0 left out" in said
    assert "token         1.000" in said
    assert "states" not in said
    assert main([*args, "--tokens", "0"]) == 2
