"""What is exported comes back, and what others export is read."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autointerp.analysis.reading import Analysis
from autointerp.cache import ActivationCache
from autointerp.corpus import Corpus
from autointerp.errors import FormatError, UsageError
from autointerp.export import export_run
from autointerp.export.contexts import Contexts
from autointerp.export.importing import import_run
from autointerp.export.settings import Settings
from autointerp.report import write_report
from autointerp.store import RunStore
from tests.export.conftest import SAID, with_analysis


def results(run: Path) -> tuple[list[dict[str, Any]], dict[tuple[Any, ...], tuple[Any, ...]]]:
    with RunStore.open(run, readonly=True) as store:
        told = [
            (row["feature"], row["explainer"], row["text"]) for row in store.explanations().to_pylist() if row["text"]
        ]
        scores = {
            (s["feature"], s["explainer"], s["scorer"], s["client"], bool(s["is_null"])): (
                s["value"], s["ci_low"], s["ci_high"], s["n"], s["n_failed"]
            )
            for s in store.scores().to_pylist()
        }  # fmt: skip
    return sorted(told), scores  # type: ignore[return-value]


def contexts(run: Path) -> dict[int, set[tuple[str, tuple[float, ...]]]]:
    """By feature, the texts in which it fires and its activations there."""
    cache, corpus = ActivationCache.open(run / "cache"), Corpus.open(run / "corpus")
    assert cache.verify() == []
    found: dict[int, set[tuple[str, tuple[float, ...]]]] = {}
    for feature, tokens, values in cache.features():
        dense = np.zeros(cache.n_tokens, np.float32)
        dense[tokens] = values
        for row, text in enumerate(corpus.texts(range(len(corpus)))):
            own = dense[cache.offsets[row] : cache.offsets[row + 1]]
            if own.any():
                found.setdefault(feature, set()).add((text, tuple(own.tolist())))
    return found


def test_neuronpedia_and_back(run: Path, tmp_path: Path) -> None:
    with_analysis(run)
    export_run(run, "neuronpedia", tmp_path / "out", Settings(context=4, n_top=1, n_bins=2))
    landed = import_run(tmp_path / "out", tmp_path / "back")
    assert (landed.explanations, landed.scores, landed.contexts, landed.features) == (3, 2, 3, 3)
    told, scores = results(run)
    assert results(tmp_path / "back")[0] == told
    back = results(tmp_path / "back")[1]
    null = (0, "default@2", "detection@2", "j", True)
    assert back.keys() == scores.keys()
    assert back[null][0] == scores[null][0]
    assert {k: v for k, v in back.items() if k != null} == {k: v for k, v in scores.items() if k != null}
    assert contexts(tmp_path / "back") == {
        0: {("MKVL", (0.0, 0.0, 4.0, 2.0)), ("GGHI", (0.0, 0.0, 1.0, 0.0))},
        2: {("GGHI", (8.0, 0.0, 0.0, 0.0))},
    }
    corpus = Corpus.open(tmp_path / "back" / "corpus")
    assert (corpus.kind, len(corpus)) == ("protein", 2)
    analysis = Analysis.open(tmp_path / "back")
    assert analysis is not None
    assert analysis.logits(0) == {"promoted": [("V", 1.5), ("K", 0.5)], "suppressed": [("G", -2.0)]}
    assert analysis.neighbours(0) == {"decoder": [(2, 0.5)]}
    assert analysis.features["feature"].to_pylist() == [0, 1, 2]
    assert analysis.features["max"].to_pylist() == [4.0, None, 8.0]
    assert analysis.features["frequency"].to_pylist()[0] == pytest.approx(3 / 14)


def test_an_imported_run_is_reported_exported_and_shown(run: Path, tmp_path: Path) -> None:
    export_run(run, "neuronpedia", tmp_path / "out", Settings(context=4, n_top=1, n_bins=2))
    import_run(tmp_path / "out", tmp_path / "back")
    with RunStore.open(tmp_path / "back", readonly=True) as store:
        assert SAID.replace("<b>", "&lt;b&gt;")[:10] in write_report(store).read_text()
    again = export_run(tmp_path / "back", "neuronpedia", tmp_path / "again", Settings(context=4, layer=1, n_top=5))
    assert again["activation"] == 3
    cache, corpus = ActivationCache.open(tmp_path / "back/cache"), Corpus.open(tmp_path / "back/corpus")
    (group, *_) = Contexts(cache, corpus, 4).groups(0, n_top=5, n_bins=1, per_bin=1)
    assert [example.text for example in group.examples] == ["MKVL", "GGHI"]


def test_delphi_and_back(run: Path, tmp_path: Path) -> None:
    export_run(run, "delphi", tmp_path / "out")
    landed = import_run(tmp_path / "out", tmp_path / "back")
    assert (landed.explanations, landed.scores, landed.contexts, landed.left_out) == (2, 2, 7, {})
    told, _ = results(tmp_path / "back")
    assert told == [(0, "delphi@1", SAID), (2, "delphi@1", "fires at G")]
    with RunStore.open(run, readonly=True) as old, RunStore.open(tmp_path / "back", readonly=True) as new:
        theirs = old.get_score(0, "default@2", "c", "detection@2", "j")
        ours = new.get_score(0, "delphi@1", "unknown", "detection@delphi", "unknown", spoilt=True)
    assert theirs is not None
    assert ours is not None
    assert ours.value == theirs.value == 0.75
    facts = [(t.truth, t.predicted, t.probability) for t in theirs.trials]
    assert [(t.truth, t.predicted, t.probability) for t in ours.trials] == facts
    assert [t.quantile for t in ours.trials] == [1, 0, -1, -1]
    cache, corpus = ActivationCache.open(tmp_path / "back/cache"), Corpus.open(tmp_path / "back/corpus")
    shown = Contexts(cache, corpus, 4).at(0, [t.example for t in ours.trials])
    assert ["".join(tokens) for tokens, _ in shown] == ["MKVL", "VLAC", "GHIK", "HIKL"]
    assert [values.tolist() for _, values in shown][:2] == [[0.0, 0.0, 4.0, 2.0], [4.0, 2.0, 0.0, 0.0]]


def delphi(folder: Path, hook: str, latent: int, samples: list[Any] | None, text: str = "x") -> None:
    for name, value in (("explanations", text), ("scores/detection", samples)):
        if value is not None:
            (folder / name).mkdir(parents=True, exist_ok=True)
            (folder / name / f"{hook}_latent{latent}.txt").write_text(json.dumps(value))


def test_a_delphi_run_as_delphi_writes_it(tmp_path: Path) -> None:
    words = [" the", " cat", "!"]
    yes = {"str_tokens": words, "activations": [0.0, 1.5, 0.0], "distance": 3, "activating": True, "prediction": 1,
           "probability": None, "correct": True}  # fmt: skip
    no = {"str_tokens": ["\n", "über", "日本"], "activations": [0.0, 0.0, 0.0], "distance": -1.0, "activating": False,
          "prediction": None, "probability": None, "correct": False}  # fmt: skip
    old = {"str_tokens": words, "activations": [0.0, 1.5, 0.0], "distance": 1, "ground_truth": True, "prediction": -1}
    delphi(tmp_path / "in", "layers.2", 7, [yes, no, old, {"error": 1}])
    delphi(tmp_path / "in", "layers.2", 4, None, "Explanation could not be parsed.")
    delphi(tmp_path / "in", "layers.12", 1, [yes])
    (tmp_path / "in/scores/simulation").mkdir()
    (tmp_path / "in/scores/simulation/layers.2_latent7.txt").write_text("[]")
    config = {"model": "org/lm", "explainer_model": "org/judge", "hookpoints": ["layers.2", "layers.12"]}
    (tmp_path / "in/run_config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match=r"several hookpoints.*layers\.12, layers\.2"):
        import_run(tmp_path / "in", tmp_path / "out")
    with pytest.raises(UsageError, match=r"no hookpoint 'layers\.1'"):
        import_run(tmp_path / "in", tmp_path / "out", hook="layers.1")
    landed = import_run(tmp_path / "in", tmp_path / "out", hook="layers.2")
    assert (landed.explanations, landed.scores, landed.contexts, landed.features) == (1, 1, 3, 8)
    assert landed.left_out == {
        "explanations: delphi could not read the reply": 1, "files of scorer simulation": 1,
        "samples without tokens, activations and truth": 1,
    }  # fmt: skip
    corpus, cache = Corpus.open(tmp_path / "out/corpus"), ActivationCache.open(tmp_path / "out/cache")
    assert (corpus.kind, corpus.texts(range(2))) == ("text", [" the cat!", "\nüber日本"])
    assert len(corpus) == 2  # the older sample has the same tokens
    assert (cache.manifest["subject"]["name"], cache.manifest["subject"]["hook"]) == ("org/lm", "layers.2")
    assert [array.tolist() for array in cache[7]] == [[1], [1.5]]
    with RunStore.open(tmp_path / "out", readonly=True) as store:
        rows = {row["feature"]: row for row in store.explanations().to_pylist()}
        score = store.get_score(7, "delphi@1", "org/judge", "detection@delphi", "org/judge", spoilt=True)
    assert (rows[7]["text"], rows[4]["failure"]) == ("x", "delphi could not read the reply")
    assert score is not None
    assert [(t.truth, t.predicted, t.failure) for t in score.trials] == [
        (True, True, None), (False, None, "unparsed"), (True, None, "unparsed")
    ]  # fmt: skip


def lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))


def test_others_exports_may_have_fewer_fields(tmp_path: Path) -> None:
    folder = tmp_path / "gpt2-small" / "6-res-jb"
    lines(folder / "explanations/batch-0.jsonl.gz", [
        {"modelId": "gpt2-small", "layer": "6-res-jb", "index": "12", "description": "dogs", "typeName": "np_max-act",
         "explanationModelName": "gpt-4o", "scores": [{"value": 0.5, "explanationScoreTypeName": "recall_alt"}]},
        {"modelId": "gpt2-small", "layer": "6-res-jb", "index": "12", "description": "pets", "typeName": "np_max-act",
         "explanationModelName": "gpt-4o"},
        {"modelId": "gpt2-small", "layer": "6-res-jb", "index": "3", "description": " "},
    ])  # fmt: skip
    lines(folder / "activations/batch-0.jsonl.gz", [
        {"index": "12", "tokens": ["A", " dog", " barks"], "values": [0, 3.5, -1.0]},
        {"index": "3", "tokens": ["A", " dog", " barks"], "values": [1.0, 0, 0]},
    ])  # fmt: skip
    landed = import_run(tmp_path, tmp_path / "run")
    assert (landed.explanations, landed.scores, landed.features) == (2, 1, 13)
    assert landed.left_out == {"empty explanations": 1}
    told, scores = results(tmp_path / "run")
    assert told == [(12, "np_max-act", "dogs"), (12, "np_max-act#2", "pets")]
    assert scores == {(12, "np_max-act", "recall_alt", "unknown", False): (0.5, None, None, 0, 0)}
    cache = ActivationCache.open(tmp_path / "run/cache")
    assert [array.tolist() for array in cache[12]] == [[1], [3.5]]
    assert [array.tolist() for array in cache[3]] == [[0], [1.0]]
    assert Corpus.open(tmp_path / "run/corpus").texts([0]) == ["A dog barks"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"index": "1"}', "no field 'tokens'"),
        ('{"index": "1", "tokens": ["a"], "values": [1, 2]}', "1 tokens, 2 values"),
        ('{"index": "one", "tokens": ["a"], "values": [1]}', "no feature's number"),
        ("{", "lines of JSON"),
    ],
)
def test_a_damaged_row_is_named_and_nothing_is_left(tmp_path: Path, row: str, message: str) -> None:
    path = tmp_path / "in/activations/batch-0.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text('{"index": "1", "tokens": ["a"], "values": [1]}\n' + row + "\n")
    with pytest.raises(FormatError, match=rf"batch-0\.jsonl:\d.*{message}"):
        import_run(tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_no_export_is_said(run: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(FormatError, match=r"expected a Neuronpedia export .* or a delphi run"):
        import_run(tmp_path / "empty", tmp_path / "out")
    with pytest.raises(FormatError, match="no such folder"):
        import_run(tmp_path / "nowhere", tmp_path / "out")
    export_run(run, "neuronpedia", tmp_path / "np")
    with pytest.raises(UsageError, match="is not empty"):
        import_run(tmp_path / "np", run)
    shutil.copytree(tmp_path / "np/fake-protein/1-autointerp", tmp_path / "np/fake-protein/2-autointerp")
    with pytest.raises(UsageError, match="2 sources"):
        import_run(tmp_path / "np", tmp_path / "out")
    with pytest.raises(UsageError, match="--hook"):
        import_run(tmp_path / "np/fake-protein/1-autointerp", tmp_path / "out", hook="x")
