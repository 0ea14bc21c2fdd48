"""Neuronpedia's layout: rows worked out by hand from the fields in the reference, and their check."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autointerp.errors import UsageError
from autointerp.export import export_run
from autointerp.export.contexts import Contexts
from autointerp.export.neuronpedia_fields import FIELDS, NEEDED, problem
from autointerp.export.settings import Settings
from tests.export.conftest import SAID, with_analysis

SMALL = Settings(context=4, n_top=1, n_bins=2, created="2026-01-31T00:00:00+00:00")
ACTIVATION = (
    "id modelId layer index tokens values maxValue maxValueTokenIndex minValue binMin binMax binContains "
    "qualifyingTokenIndex dfaValues dfaTargetIndex dfaMaxValue lossValues dataIndex dataSource creatorId createdAt"
)
FEATURE = (
    "modelId layer index creatorId createdAt maxActApprox hasVector vector hookName topkCosSimIndices topkCosSimValues "
    "neuron_alignment_indices neuron_alignment_values neuron_alignment_l1 correlated_neurons_indices "
    "correlated_neurons_pearson correlated_neurons_l1 correlated_features_indices correlated_features_pearson "
    "correlated_features_l1 neg_str neg_values pos_str pos_values frac_nonzero freq_hist_data_bar_heights "
    "freq_hist_data_bar_values logits_hist_data_bar_heights logits_hist_data_bar_values decoder_weights_dist "
    "sourceSetName"
)
EXPLANATION = (
    "id modelId layer index description authorId embedding triggeredById typeName explanationModelName notes createdAt"
)
SCORE = "value explanationId explanationScoreTypeName explanationScoreModelName jsonDetails"


def read(path: Path) -> list[dict[str, Any]]:
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [json.loads(line) for line in data.splitlines()]


def exported(
    run: Path, out: Path, settings: Settings = SMALL, features: list[int] | None = None
) -> dict[str, list[dict[str, Any]]]:
    export_run(run, "neuronpedia", out, settings, features)
    folder = out / "fake-protein" / "1-autointerp"
    files = sorted(folder.rglob("*.jsonl*"))
    return {str(path.relative_to(folder)): read(path) for path in files}


def test_the_fields_are_those_of_the_reference() -> None:
    named = {"activation": ACTIVATION, "feature": FEATURE, "explanation": EXPLANATION, "score": SCORE}
    for kind, fields in named.items():
        assert set(FIELDS[kind]) == set(fields.split()), kind


def test_the_layout(run: Path, tmp_path: Path) -> None:
    found = exported(run, tmp_path / "out")
    assert sorted(found) == [
        "activations/batch-0.jsonl.gz", "explanations/batch-0.jsonl.gz", "features/batch-0.jsonl.gz", "model.jsonl",
        "release.jsonl", "scores/batch-0.jsonl.gz", "source.jsonl", "sourceset.jsonl",
    ]  # fmt: skip
    (model,), (release,) = found["model.jsonl"], found["release.jsonl"]
    (source,), (group,) = found["source.jsonl"], found["sourceset.jsonl"]
    assert model["id"] == source["modelId"] == group["modelId"] == "fake-protein"
    assert source["id"] == "1-autointerp"
    assert source["setName"] == group["name"] == "autointerp"
    assert group["releaseName"] == release["name"] == "autointerp"
    assert (source["num_prompts"], source["num_tokens_in_prompt"], source["dataset"]) == (2, 4, "corpus")
    assert {row["createdAt"] for rows in found.values() for row in rows if "createdAt" in row} == {SMALL.created}


def test_activations_by_hand(run: Path, tmp_path: Path) -> None:
    rows = exported(run, tmp_path / "out")["activations/batch-0.jsonl.gz"]
    ids = [row.pop("id") for row in rows]
    assert len(set(ids)) == 3
    assert all(re.fullmatch(r"c[0-9a-f]{24}", one) for one in ids)
    shared = {
        "modelId": "fake-protein", "layer": "1-autointerp", "minValue": 0.0, "dfaValues": [], "dfaTargetIndex": None,
        "dfaMaxValue": None, "lossValues": [], "creatorId": "autointerp", "createdAt": "2026-01-31T00:00:00+00:00",
    }  # fmt: skip
    top = {"binMin": -1.0, "binContains": -1.0}
    assert rows == [
        shared | top | {"index": "0", "tokens": ["M", "K", "V", "L"], "values": [0.0, 0.0, 4.0, 2.0], "maxValue": 4.0,
                        "maxValueTokenIndex": 2, "qualifyingTokenIndex": 2, "binMax": 4.0, "dataIndex": "0:0",
                        "dataSource": "s0"},
        # of three activations two are in 0 … 2, and of the two sites there one is left
        shared | {"index": "0", "tokens": ["G", "G", "H", "I"], "values": [0.0, 0.0, 1.0, 0.0], "maxValue": 1.0,
                  "maxValueTokenIndex": 2, "qualifyingTokenIndex": 2, "binMin": 0.0, "binMax": 2.0,
                  "binContains": 0.6667, "dataIndex": "1:0", "dataSource": "s1"},
        shared | top | {"index": "2", "tokens": ["G", "G", "H", "I"], "values": [8.0, 0.0, 0.0, 0.0], "maxValue": 8.0,
                        "maxValueTokenIndex": 0, "qualifyingTokenIndex": 0, "binMax": 8.0, "dataIndex": "1:0",
                        "dataSource": "s1"},
    ]  # fmt: skip


def test_features_by_hand(run: Path, tmp_path: Path) -> None:
    with_analysis(run)
    first, second = exported(run, tmp_path / "out")["features/batch-0.jsonl.gz"]
    assert (first["index"], second["index"]) == ("0", "2")
    heights = [0.0] * 50
    heights[12], heights[25], heights[49] = 1.0, 1.0, 1.0  # 1, 2 and 4 of 4, in fiftieths
    expected = {
        "modelId": "fake-protein", "layer": "1-autointerp", "creatorId": "autointerp", "maxActApprox": 4.0,
        "hasVector": False, "vector": [], "hookName": "layer:1", "sourceSetName": "autointerp",
        "topkCosSimIndices": [2], "topkCosSimValues": [0.5], "pos_str": ["V", "K"], "pos_values": [1.5, 0.5],
        "neg_str": ["G"], "neg_values": [-2.0], "freq_hist_data_bar_heights": heights,
        "logits_hist_data_bar_heights": [3.0, 1.0], "logits_hist_data_bar_values": [-1.0, 1.0],
        "decoder_weights_dist": [], "correlated_features_indices": [], "neuron_alignment_indices": [],
    }  # fmt: skip
    assert {name: first[name] for name in expected} == expected
    assert first["frac_nonzero"] == pytest.approx(3 / 14)
    assert first["freq_hist_data_bar_values"][:2] == [0.04, 0.12]
    assert second["pos_str"] == []


def test_explanations_and_scores_by_hand(run: Path, tmp_path: Path) -> None:
    found = exported(run, tmp_path / "out")
    rows = found["explanations/batch-0.jsonl.gz"]
    told = [(row["index"], row["description"], row["typeName"], row["explanationModelName"]) for row in rows]
    assert told == [
        ("0", SAID, "default@2", "c"), ("0", "another", "residue@1", "c"), ("2", "fires at G", "default@2", "c")
    ]  # fmt: skip
    detection, fuzzing = found["scores/batch-0.jsonl.gz"]
    assert detection["explanationId"] == fuzzing["explanationId"] == rows[0]["id"]
    assert (detection["explanationScoreTypeName"], detection["explanationScoreModelName"]) == ("detection@2", "j")
    assert detection["value"] == 0.75  # one of two positives, the one judged negative
    details = json.loads(detection["jsonDetails"])
    assert (details["n"], details["n_failed"], details["null"]) == (4, 1, 0.5)
    assert details["ci_low"] < 0.75 < details["ci_high"]
    assert json.loads(fuzzing["jsonDetails"]) == {"ci_low": 0.5, "ci_high": 0.875, "n": 3, "n_failed": 0, "null": None}


def test_every_row_passes_the_check_and_the_bytes_are_the_same_again(run: Path, tmp_path: Path) -> None:
    with_analysis(run)
    settings = Settings(batch=2, created="2026-01-31")
    found = exported(run, tmp_path / "out", settings, [0, 1, 2])
    kinds = {"features": "feature", "activations": "activation", "explanations": "explanation", "scores": "score"}
    assert {name for name in found if name.endswith("gz")} == {f"{k}/batch-{n}.jsonl.gz" for k in kinds for n in (0, 1)}
    for name, rows in found.items():
        kind = kinds.get(name.partition("/")[0], name.partition(".")[0])
        assert [problem(kind, row) for row in rows] == [None] * len(rows)
    exported(run, tmp_path / "again", settings, [0, 1, 2])
    for path in sorted((tmp_path / "out").rglob("*.jsonl*")):
        assert path.read_bytes() == (tmp_path / "again" / path.relative_to(tmp_path / "out")).read_bytes()


def row_of(kind: str) -> dict[str, Any]:
    sample = {"str": "1", "bool": True, "int": 1, "float": 1.5, "strs": ["a"], "ints": [1], "floats": [1.5]}
    row = {name: sample[wanted.rstrip("?")] for name, wanted in FIELDS[kind].items()}
    return row | ({"maxValue": 1.5} if kind == "activation" else {})


@pytest.mark.parametrize("kind", sorted(FIELDS))
def test_a_row_with_one_thing_wrong_is_refused(kind: str) -> None:
    row = row_of(kind)
    assert problem(kind, row) is None
    for name, wanted in FIELDS[kind].items():
        less = {key: value for key, value in row.items() if key != name}
        assert f"no field {name!r}" in str(problem(kind, less))
        wrong: Any = 7 if wanted.startswith("str") else "text"
        assert name in str(problem(kind, row | {name: wrong}))
        nothing = problem(kind, row | {name: None})
        assert (nothing is None) == wanted.endswith("?")
    assert "unknown field 'more'" in str(problem(kind, row | {"more": 1}))
    if kind in NEEDED:
        assert problem(kind, {name: row[name] for name in NEEDED[kind]}, NEEDED[kind]) is None


def test_rows_that_contradict_themselves() -> None:
    row = row_of("activation")
    assert "2 tokens, 1 values" in str(problem("activation", row | {"tokens": ["a", "b"]}))
    assert "maxValue 9" in str(problem("activation", row | {"maxValue": 9.0}))
    assert "no feature's number" in str(problem("feature", row_of("feature") | {"index": "x"}))
    assert "pos_str and pos_values" in str(problem("feature", row_of("feature") | {"pos_values": []}))


def test_groups_against_every_context(study: Path) -> None:
    from autointerp.cache import ActivationCache
    from autointerp.corpus import Corpus

    cache, corpus = ActivationCache.open(study / "cache"), Corpus.open(study / "corpus")
    contexts = Contexts(cache, corpus, 16)
    for feature in (0, 3, 10):
        tokens, values = cache[feature]
        strength = np.zeros(cache.n_tokens, np.float32)
        strength[tokens] = values
        groups = list(contexts.groups(feature, n_top=4, n_bins=4, per_bin=3))
        peaks = [[float(e.activations.max()) for e in group.examples] for group in groups]
        assert (groups[0].low, groups[0].high, groups[0].share) == (-1.0, values.max(), -1.0)
        assert len(peaks[0]) == 4
        assert min(peaks[0]) >= max(peaks[1])
        for group, own in zip(groups[1:], peaks[1:], strict=True):
            assert len(own) <= 3
            assert all(group.low < peak <= group.high for peak in own)
            assert group.share == pytest.approx(((values > group.low) & (values <= group.high)).mean())
        shown = [(e.sequence, e.start) for group in groups for e in group.examples]
        assert len(set(shown)) == len(shown)
        for example in (e for group in groups for e in group.examples):
            base = cache.offsets[example.sequence] + example.start
            assert np.array_equal(example.activations, strength[base : base + 16])


def test_what_an_export_needs_is_named(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"feature 9: the run knows features 0 … 2"):
        export_run(run, "neuronpedia", tmp_path / "out", features=[9])
    with pytest.raises(UsageError, match=r"unknown format 'neuronpedai'; .*neuronpedia"):
        export_run(run, "neuronpedai", tmp_path / "out")
    (run.parent / "corpus" / "corpus.json").unlink()
    with pytest.raises(UsageError, match=r"needs the contexts.*corpus that run.toml"):
        export_run(run, "neuronpedia", tmp_path / "out")
