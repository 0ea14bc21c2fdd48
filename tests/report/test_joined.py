"""The joined table of a run against its parts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from autointerp.errors import FormatError
from autointerp.report import write_report
from autointerp.report.joined import best_terms, borne_out, explanations_of, joined_table, place_of, read_joined
from autointerp.store import RunStore
from tests.report.studies import fill, judged, trials
from tests.studies import MOTIFS, N_NOISE


def joined(folder: Path) -> dict[int, dict[str, Any]]:
    with RunStore.open(folder, readonly=True) as store:
        return {row["feature"]: row for row in joined_table(store).to_pylist()}


def two_explainers(folder: Path) -> Path:
    """Features 3 and 5 by both, 9 by one; nulls for one scorer; feature 4 failed."""
    from dataclasses import replace

    rng = np.random.default_rng(0)
    own = [judged(f, name, trials(rng, 0.8)) for name in ("detection@2", "fuzzing@2") for f in (3, 5, 9)]
    nulls = [judged(f, "detection@2", trials(rng, 0.5), null=True) for f in (3, 5)]
    fill(folder, [*own, *nulls], failed=[4], text="first")
    others = [replace(s, explainer="residue@1") for s in own if s.feature != 9]
    return fill(folder, others, explainer="residue@1", text="second")


def table(path: Path, **columns: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


def test_every_explanation_and_score_has_its_column(tmp_path: Path) -> None:
    found = joined(two_explainers(tmp_path))
    assert sorted(found) == [3, 4, 5, 9]
    with RunStore.open(tmp_path, readonly=True) as store:
        scores = store.scores().to_pylist()
    assert len(scores) == 12
    for s in scores:
        column = f"score[{s['explainer'].partition('@')[0]}/{s['scorer'].partition('@')[0]}]"
        row = found[s["feature"]]
        if s["is_null"]:
            assert row[f"{column}_null"] == s["value"]
        else:
            assert (row[column], row[f"{column}_low"], row[f"{column}_high"]) == (s["value"], s["ci_low"], s["ci_high"])
    assert [found[f]["explanation[default]"] for f in (3, 4, 5, 9)] == ["first", None, "first", "first"]
    assert [found[f]["explanation[residue]"] for f in (3, 4, 5, 9)] == ["second", None, "second", None]
    assert found[9]["score[residue/detection]"] is None
    assert "score[default/fuzzing]_null" not in found[3]
    told = explanations_of(found[3])
    assert [(one["explainer"], one["text"], sorted(one["scores"])) for one in told] == [
        ("default", "first", ["detection", "fuzzing"]),
        ("residue", "second", ["detection", "fuzzing"]),
    ]


def test_statistics_come_from_the_cache_and_make_a_row_of_every_feature(study: Path, tmp_path: Path) -> None:
    from autointerp.cache import ActivationCache

    run = two_explainers(tmp_path / "run")
    (run / "run.toml").write_text(f'[run]\ncache = "{study / "cache"}"\n')
    cache = ActivationCache.open(study / "cache")
    found = joined(run)
    assert sorted(found) == list(range(len(MOTIFS) + N_NOISE + 1))
    for feature, tokens, values in cache.features():
        row = found[feature]
        assert row["n_activations"] == len(tokens)
        assert row["frequency"] == pytest.approx(len(tokens) / cache.n_tokens)
        assert row["max"] == values.max(initial=0)
        assert row["dead"] is (len(tokens) == 0)
    assert found[0]["explanation[default]"] is None


def test_a_cache_that_moved_with_the_run_is_found(study: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "cache").symlink_to(study / "cache")
    (tmp_path / "run" / "run.toml").write_text('[run]\ncache = "elsewhere/cache"\n')
    assert place_of(tmp_path / "run", "cache") == tmp_path / "cache"
    assert place_of(tmp_path / "run", "corpus") is None


def test_the_analysis_comes_before_the_cache(study: Path, tmp_path: Path) -> None:
    run = two_explainers(tmp_path)
    (run / "run.toml").write_text(f'[run]\ncache = "{study / "cache"}"\n')
    table(run / "analysis/features.parquet", feature=[0, 3, 5], max=[1.0, 2.0, 3.0], pattern=["point", None, "short"],
          x=pa.nulls(3, pa.float32()))  # fmt: skip
    found = joined(run)
    assert sorted(found) == [0, 3, 4, 5, 9]
    assert [found[f]["pattern"] for f in (0, 3, 5, 9)] == ["point", None, "short", None]
    assert [found[f]["max"] for f in (0, 3, 5, 9)] == [1.0, 2.0, 3.0, None]
    assert "x" not in found[0]  # nothing is known of it


def test_biology_is_joined_where_there_is_some(tmp_path: Path) -> None:
    run = two_explainers(tmp_path)
    table(run / "concepts/features.parquet", feature=[5, 11], concept=["Active site", "Helix"], f1=[0.75, 0.5],
          threshold=[0.15, 0.5], precision=[1.0, 1.0])  # fmt: skip
    table(run / "families/families.parquet", feature=[3, 3, 5, 5], family=["bad", "best", "x", "y"],
          f1=[0.9, 0.5, 0.25, 0.75], part=["interprot", "held-out", "held-out", "held-out"])  # fmt: skip
    terms = [
        (3, "GO:3", "over", -9.0),
        (3, "GO:1", "under", -20.0),
        (5, "GO:2", "over", -2.0),
        (3, "GO:2", "over", -12.0),
    ]
    table(run / "go/enrichment.parquet", feature=[t[0] for t in terms], term=[t[1] for t in terms],
          name=pa.array([f"name of {t[1]}" for t in terms]).dictionary_encode(), direction=[t[2] for t in terms],
          log10_p=[t[3] for t in terms], q=[10.0 ** t[3] for t in terms])  # fmt: skip
    found = joined(run)
    assert sorted(found) == [3, 4, 5, 9, 11]
    assert (found[5]["concept"], found[5]["concept_f1"], found[5]["concept_threshold"]) == ("Active site", 0.75, 0.15)
    assert (found[11]["concept"], found[3]["concept"]) == ("Helix", None)
    assert (found[3]["family"], found[5]["family"]) == ("best", "y")
    assert (found[3]["go_terms"], found[3]["go_names"][0], found[3]["go_q"]) == (
        ["GO:2", "GO:3"],
        "name of GO:2",
        1e-12,
    )
    assert found[5]["go_terms"] == ["GO:2"]
    assert found[9]["go_terms"] is None


def test_few_terms_of_many_are_kept() -> None:
    rng = np.random.default_rng(0)
    feature = rng.integers(0, 6, 200)
    p = -rng.permutation(200).astype(float)
    kind = rng.choice(["over", "under"], 200)
    found = best_terms(pa.table({"feature": feature, "term": [f"GO:{i}" for i in range(200)], "name": ["n"] * 200,
                                 "direction": kind, "log10_p": p, "q": p}), most=3)  # fmt: skip
    for row in found.to_pylist():
        own = [i for i in range(200) if feature[i] == row["feature"] and kind[i] == "over"]
        assert row["go_terms"] == [f"GO:{i}" for i in sorted(own, key=lambda i: p[i])[:3]]


def test_the_report_writes_it_and_it_is_read_as_long_as_it_holds(tmp_path: Path) -> None:
    run = two_explainers(tmp_path)
    with RunStore.open(run, readonly=True) as store:
        write_report(store)
        expected = joined_table(store)
    assert pq.read_table(run / "features.parquet").equals(expected)
    csv = pyarrow.csv.read_csv(run / "features.csv")
    assert csv.column_names == expected.column_names
    assert csv["explanation[default]"].to_pylist()[0] == "first"
    assert len(pq.read_table(run / "explanations.parquet")) == 6
    changed = expected.append_column("mark", pa.array([1] * len(expected)))
    pq.write_table(changed, run / "features.parquet")  # as if written by the report
    assert "mark" in read_joined(run).column_names
    table(run / "concepts/features.parquet", feature=[5], concept=["Helix"], f1=[0.5], threshold=[0.0])
    later = (run / "features.parquet").stat().st_mtime + 5
    os.utime(run / "concepts/features.parquet", (later, later))
    assert "mark" not in read_joined(run).column_names
    assert read_joined(run)["concept"].to_pylist() == [None, None, "Helix", None]


def test_a_table_of_the_same_name_from_before_is_not_taken_for_it(tmp_path: Path) -> None:
    run = two_explainers(tmp_path)
    table(run / "features.parquet", feature=[1, 1], failure=["", ""])
    assert "failure" not in read_joined(run).column_names


def test_a_table_that_is_something_else_is_named(tmp_path: Path) -> None:
    run = two_explainers(tmp_path)
    table(run / "concepts/features.parquet", feature=[1], label=["a"])
    with pytest.raises(FormatError, match=r"features\.parquet.*no column 'concept'"):
        joined(run)
    (run / "concepts/features.parquet").write_text("no table")
    with pytest.raises(FormatError, match="expected a Parquet table"):
        joined(run)


def test_what_held_out_sequences_do_not_bear_out_is_no_name_of_a_feature() -> None:
    row = {"feature": 1, "concept": "Domain", "concept_f1": 0.0, "family": "RRM", "family_f1": 0.2, "go_q": None}
    assert borne_out(row) == {"feature": 1, "family": "RRM", "family_f1": 0.2, "go_q": None}
    assert borne_out({"concept": "Domain", "concept_f1": None}) == {"concept": "Domain", "concept_f1": None}


def test_an_analysis_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    run = two_explainers(tmp_path)
    table(run / "analysis/features.parquet", feature=[0], max=[1.0])
    (run / "analysis/analysis.json").write_text('{"format": "autointerp-analysis", "version": 99}')
    with RunStore.open(run, readonly=True) as store, pytest.raises(FormatError, match="99"):
        joined_table(store)
