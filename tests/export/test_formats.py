"""delphi's folders, SAEDashboard's JSON, tables, InterProScan's columns and GFF3, by hand."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pyarrow.parquet as pq
import pytest

from autointerp.corpus.residue_tables import annotate_corpus
from autointerp.errors import UsageError
from autointerp.explainers.saved import read_explanations
from autointerp.export import export_run
from autointerp.export.residues import regions_of
from autointerp.export.settings import Settings
from tests.doubles import FakeSubject, make_corpus, write_cache
from tests.export.conftest import SAID, TEXTS, with_analysis


def test_delphi_by_hand(run: Path, tmp_path: Path) -> None:
    written = export_run(run, "delphi", tmp_path)
    assert written == {"explanation": 2, "score": 2}
    names = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.glob("[es]*/**/*.txt"))
    assert names == [
        "explanations/layer.1_latent0.txt", "explanations/layer.1_latent2.txt", "scores/detection/layer.1_latent0.txt",
        "scores/fuzz/layer.1_latent0.txt",
    ]  # fmt: skip
    assert json.loads((tmp_path / names[0]).read_text()) == SAID
    silent = {"distance": -1.0, "activating": False, "probability": None}
    assert json.loads((tmp_path / names[2]).read_text()) == [
        {"str_tokens": ["M", "K", "V", "L"], "activations": [0.0, 0.0, 4.0, 2.0], "distance": 1.0, "activating": True,
         "prediction": True, "probability": None, "correct": True},
        {"str_tokens": ["V", "L", "A", "C"], "activations": [4.0, 2.0, 0.0, 0.0], "distance": 0.0, "activating": True,
         "prediction": False, "probability": 0.25, "correct": False},
        silent | {"str_tokens": ["G", "H", "I", "K"], "activations": [0.0, 1.0, 0.0, 0.0], "prediction": False,
                  "correct": True},
        silent | {"str_tokens": ["H", "I", "K", "L"], "activations": [1.0, 0.0, 0.0, 0.0], "prediction": None,
                  "correct": None},
    ]  # fmt: skip
    assert json.loads((tmp_path / "run_config.json").read_text())["hookpoints"] == ["layer.1"]


def test_our_own_reader_of_saved_explanations_reads_delphis(run: Path, tmp_path: Path) -> None:
    export_run(run, "delphi", tmp_path)
    assert read_explanations(str(tmp_path / "explanations")) == {0: SAID, 2: "fires at G"}
    export_run(run, "delphi", tmp_path / "other", Settings(explainer="residue"))
    assert read_explanations(str(tmp_path / "other" / "explanations")) == {0: "another"}
    with pytest.raises(UsageError, match="no explanation by nobody"):
        export_run(run, "delphi", tmp_path / "none", Settings(explainer="nobody"))


def test_saedashboard_by_hand(run: Path, tmp_path: Path) -> None:
    with_analysis(run)
    export_run(run, "saedashboard", tmp_path, Settings(context=4, n_top=1, n_bins=2, batch=1))
    first, second = (json.loads((tmp_path / f"batch-{n}.json").read_text()) for n in (0, 1))
    assert {k: v for k, v in first.items() if k != "features"} == {
        "model_id": "fake-protein", "layer": 1, "sae_set": "autointerp", "sae_id_suffix": None
    }  # fmt: skip
    (feature,) = first["features"]
    assert (feature["feature_index"], second["features"][0]["feature_index"]) == (0, 2)
    assert (feature["pos_str"], feature["neg_values"], feature["n_prompts_total"]) == (["V", "K"], [-2.0], 2)
    assert feature["activations"][0] == {
        "bin_min": -1.0, "bin_max": 4.0, "bin_contains": -1.0, "tokens": ["M", "K", "V", "L"],
        "values": [0.0, 0.0, 4.0, 2.0], "qualifying_token_index": 2,
    }  # fmt: skip
    assert len(feature["activations"]) == 2


def test_tables_hold_every_feature_and_every_score(run: Path, tmp_path: Path) -> None:
    export_run(run, "csv", tmp_path)
    export_run(run, "parquet", tmp_path)
    with open(tmp_path / "features.csv", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [row["feature"] for row in rows] == ["0", "1", "2"]
    assert (rows[0]["explanation[default]"], rows[0]["concept"], rows[0]["go_terms"]) == (
        SAID, "Active site; any", "GO:0000001"
    )  # fmt: skip
    assert rows[0]["score[default/detection]"] == "0.75"
    assert pq.read_table(tmp_path / "features.parquet")["go_terms"].to_pylist() == [["GO:0000001"], None, None]
    scores = pq.read_table(tmp_path / "scores.parquet").to_pylist()
    assert [(s["feature"], s["explainer"], s["scorer"], s["value"], s["null_value"]) for s in scores] == [
        (0, "default@2", "detection@2", 0.75, 0.5), (0, "default@2", "fuzzing@2", 0.75, None),
        (0, "residue@1", None, None, None), (2, "default@2", None, None, None),
    ]  # fmt: skip
    export_run(run, "csv", tmp_path / "few", features=[2])
    assert len((tmp_path / "few" / "features.csv").read_text().splitlines()) == 2


def test_interproscan_columns_by_hand(run: Path, tmp_path: Path) -> None:
    export_run(run, "residues", tmp_path, Settings(min_share=0.25))
    rows = [line.split("\t") for line in (tmp_path / "residues.tsv").read_text().splitlines()]
    sums = [hashlib.md5(text.encode()).hexdigest() for text in TEXTS]
    about = ["Active site; any", "0.5", "GO:0000001", "-"]
    assert rows == [
        ["s0", sums[0], "8", "autointerp", "feature0", SAID, "3", "4", "1", "T", "-", *about],
        ["s1", sums[1], "6", "autointerp", "feature0", SAID, "3", "3", "0.25", "T", "-", *about],
        ["s1", sums[1], "6", "autointerp", "feature2", "fires at G", "1", "1", "1", "T", "-", "-", "-", "-", "-"],
    ]


def test_our_own_reader_of_interproscan_takes_the_regions_for_annotations(run: Path, tmp_path: Path) -> None:
    export_run(run, "residues", tmp_path, Settings(min_share=0.25))
    corpus = make_corpus(tmp_path / "corpus", TEXTS)
    added = annotate_corpus(corpus, tmp_path / "residues.tsv", format="interpro")
    assert (added.n_added, dict(added.skipped)) == (3, {})
    rows = added.corpus.annotations.to_pylist()
    assert [(r["sequence"], r["start"], r["end"], r["type"], r["label"]) for r in rows] == [
        (0, 2, 4, "autointerp", "feature0"), (1, 2, 3, "autointerp", "feature0"), (1, 0, 1, "autointerp", "feature2")
    ]  # fmt: skip


def test_gff3_by_hand(run: Path, tmp_path: Path) -> None:
    export_run(run, "gff3", tmp_path)
    lines = (tmp_path / "residues.gff3").read_text().splitlines()
    assert lines[:3] == ["##gff-version 3", "##sequence-region s0 1 8", "##sequence-region s1 1 6"]
    first, second = (line.split("\t") for line in lines[3:])
    assert first[:8] == ["s0", "autointerp", "polypeptide_region", "3", "4", "1", ".", "."]
    assert second[:6] == ["s1", "autointerp", "polypeptide_region", "1", "1", "1"]
    raw = dict(pair.split("=") for pair in first[8].split(";"))
    assert {name: unquote(value) for name, value in raw.items()} == {
        "ID": "f0.1", "Name": "feature 0", "Note": SAID, "concept": "Active site; any", "concept_f1": "0.5",
        "Ontology_term": "GO:0000001",
    }  # fmt: skip


def test_regions_against_a_loop_over_residues(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    texts = ["ACDEFGHIKL"[:n] for n in (1, 10, 7, 10, 1, 3)]
    corpus = make_corpus(tmp_path / "corpus", texts)
    dense = rng.integers(0, 5, (sum(map(len, texts)), 4)).astype(np.float32) * rng.integers(0, 2, (1, 4))
    cache = write_cache(tmp_path / "cache", dense, corpus)
    for feature in range(4):
        column, expected, begin = dense[:, feature], [], 0
        for row, text in enumerate(texts):
            own = column[begin : begin + len(text)]
            marks = "".join("x" if v > 0 and v >= 0.5 * column.max() else "-" for v in own)
            expected += [
                (row, m.start() + 1, m.end(), own[m.start() : m.end()].max()) for m in re.finditer("x+", marks)
            ]
            begin += len(text)
        found = regions_of(cache, feature, 0.5)
        assert list(zip(found.sequence, found.start, found.end, found.peak, strict=True)) == expected


def test_residues_are_of_proteins(tmp_path: Path) -> None:
    from autointerp.store import RunStore

    corpus = make_corpus(tmp_path / "corpus", ["the cat"], kind="text")
    subject = FakeSubject("text")
    n = sum(len(t.ids) for t in subject.tokenize(corpus.texts([0])))
    write_cache(tmp_path / "cache", np.ones((n, 2), np.float32), corpus)
    RunStore.open(tmp_path / "run").close()
    (tmp_path / "run" / "run.toml").write_text(f'[run]\ncache = "{tmp_path / "cache"}"\ncorpus = "{corpus.path}"\n')
    with pytest.raises(UsageError, match="this run is of text"):
        export_run(tmp_path / "run", "gff3", tmp_path / "out")
