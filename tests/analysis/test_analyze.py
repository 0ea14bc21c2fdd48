"""The command and the reader: what is made, what is left out and why, and what other readers rely on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from autointerp.analysis import Analysis
from autointerp.analysis.tables import COLUMNS, ROWS, schema, table_of, write
from autointerp.commands import main
from autointerp.corpus import Corpus
from autointerp.errors import FormatError, UsageError
from autointerp.report import analysis as figures
from autointerp.report.analysis import namespaces, same_namespace, write_figures
from tests.analysis.test_effects import study
from tests.doubles import make_corpus, random_proteins, write_cache
from tests.studies import planted_study


@pytest.fixture(autouse=True)
def _few_logos(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "SHOWN", 1)  # letters take their time


def test_without_models_what_needs_none_is_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache, corpus = planted_study(tmp_path)
    out = tmp_path / "run"
    assert main(["analyze", str(cache.path), "--corpus", str(corpus.path), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "1 dead, 0 dense" in said
    assert "left out      logits: no --subject and no --coder given" in said
    analysis = Analysis.open(out)
    assert analysis is not None
    assert set(analysis.manifest["tables"]) == {"features", "logo", "neighbours"}
    assert analysis.manifest["left_out"]["map"] == "no --coder given"
    assert analysis.logits(0) is analysis.moments(0) is analysis.table("token_sets") is None
    features = analysis.features
    assert features.schema.equals(schema("features"))
    assert features["feature"].to_pylist() == list(range(13))
    assert features["pattern"].to_pylist() == ["point"] * 12 + ["dead"]
    assert features["x"].null_count == features["cluster"].null_count == 13
    np.testing.assert_array_equal(features["n_activations"], cache.statistics["count"])
    np.testing.assert_array_equal(features["n_sequences"], cache.statistics["n_sequences"])
    np.testing.assert_allclose(features["frequency"], cache.statistics["count"] / cache.n_tokens, rtol=1e-6)
    logo = analysis.logo(0)
    assert logo is not None
    assert logo[0][0][0] == "H"
    assert analysis.logo(12) == {}
    near = analysis.neighbours(0)
    assert near is not None
    assert set(near) <= {"co-activation"}
    assert (out / "analysis" / "figures" / "overview.png").stat().st_size > 1000


@pytest.fixture
def whole(tmp_path: Path) -> list[str]:
    """The command's arguments for a study with a coder on the planted subject."""
    from autointerp.coders import save_coder
    from autointerp.subjects import load_subject

    corpus = make_corpus(tmp_path / "corpus", random_proteins(9, (10, 40)))
    coder, cache, _ = study(tmp_path / "cache", load_subject("planted-esm"), corpus, "layer:2")
    save_coder(coder, tmp_path / "coder")
    models = ["--coder", str(tmp_path / "coder"), "--subject", "planted-esm"]
    return ["analyze", str(cache.path), "--corpus", str(corpus.path), *models, "--out", str(tmp_path / "run")]


def test_with_models_everything_is_made(tmp_path: Path, whole: list[str]) -> None:
    assert main([*whole, "--no-umap", "--neighbours", "3"]) == 0
    analysis = Analysis.open(tmp_path / "run")
    assert analysis is not None
    assert set(analysis.manifest["tables"]) == set(COLUMNS)
    assert analysis.manifest["left_out"] == {"map": "--no-umap"}
    assert [len(v) for v in (analysis.neighbours(4) or {}).values()] == [3, 3]
    logits = analysis.logits(4)
    assert logits is not None
    rises, falls = ([value for _, value in logits[side]] for side in ("promoted", "suppressed"))
    assert rises == sorted(rises, reverse=True)
    assert falls == sorted(falls)
    assert rises[-1] > 0 > falls[-1]
    assert max(len(rises), len(falls)) == 10, "of 20 letters, half rise or half fall"
    moments = analysis.moments(4)
    assert moments is not None
    assert sum(moments["histogram"]) == 20
    assert moments["high"] == pytest.approx(logits["promoted"][0][1], rel=1e-5)
    assert analysis.moments(0) is None  # it never fires
    # a second run without models takes away what the first made
    assert main([*whole[:4], *whole[-2:]]) == 0
    again = Analysis.open(tmp_path / "run")
    assert again is not None
    assert again.logits(4) is None
    assert not (tmp_path / "run" / "analysis" / "logits.parquet").exists()


def test_models_of_another_cache_are_refused(
    tmp_path: Path, whole: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    other = make_corpus(tmp_path / "other", random_proteins(5, (5, 9), 7))
    for change, message in (
        (["--coder", "random?n_features=30"], "the cache was made with coder"),
        (["--subject", "planted-esm?random=1"], "the cache was made with subject"),
        (["--corpus", str(other.path)], "the cache was made from corpus"),
    ):
        at = whole.index(change[0])
        assert main([*whole[:at], *change, *whole[at + 2 :]]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--neighbours", "0"], "neighbours 0: at least 1"),
        (["--above", "1.5"], "above 1.5: a share"),
        (["--token-sets", "none.json"], "a JSON object of names"),
    ],
)
def test_wrong_settings_are_named(
    tmp_path: Path, option: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cache, corpus = planted_study(tmp_path, n_sequences=12)
    command = ["analyze", str(cache.path), "--corpus", str(corpus.path), "--out", str(tmp_path / "run"), *option]
    assert main(command) in (1, 2)
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_one_feature_has_no_neighbours(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "corpus", random_proteins(20))
    n = sum(len(corpus.text(i)) for i in range(20))
    cache = write_cache(tmp_path / "cache", np.zeros((n, 1), np.float32), corpus, n_shards=1)
    assert main(["analyze", str(cache.path), "--corpus", str(corpus.path), "--out", str(tmp_path / "run")]) == 0
    analysis = Analysis.open(tmp_path / "run")
    assert analysis is not None
    assert analysis.manifest["left_out"]["neighbours"] == "there is one feature"
    assert analysis.features["pattern"].to_pylist() == ["dead"]
    assert analysis.logo(0) == {}


def test_a_cache_of_level_sequence_has_no_positions(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "corpus", random_proteins(20))
    dense = (np.random.default_rng(0).random((20, 4)) < 0.5).astype(np.float32)
    cache = write_cache(tmp_path / "cache", dense, corpus, level="sequence")
    assert main(["analyze", str(cache.path), "--corpus", str(corpus.path), "--out", str(tmp_path / "run")]) == 0
    analysis = Analysis.open(tmp_path / "run")
    assert analysis is not None
    assert set(analysis.manifest["tables"]) == {"features", "neighbours"}
    assert analysis.features["pattern"].null_count == 4
    np.testing.assert_allclose(analysis.features["frequency"], dense.mean(0), rtol=1e-6)


def test_the_reader_reads_only_what_it_is_asked_for(tmp_path: Path) -> None:
    assert Analysis.open(tmp_path) is None
    folder, feature = tmp_path / "analysis", np.repeat(np.arange(0, 40000, 2), 3)
    columns = {"feature": feature, "side": ["promoted"] * len(feature), "rank": np.tile(range(3), 20000)}
    table = table_of("logits", {**columns, "token": [str(f) for f in feature], "value": feature + 0.5})
    cut = 3 * ROWS + 1  # inside a feature, which then lies in two row groups
    assert write(folder, "logits", [table.slice(0, cut), table.slice(cut)]) == 60000
    manifest = {"format": "autointerp-analysis", "version": 1, "tables": {"logits": {}, "logo": {}}}
    (folder / "analysis.json").write_text(json.dumps(manifest))
    analysis = Analysis.open(tmp_path)
    assert analysis is not None
    assert not analysis.has("logo")
    for wanted in (0, 38, int(feature[cut]), 39998):
        rows = analysis.rows("logits", wanted)
        assert rows is not None
        assert rows["token"].to_pylist() == [str(wanted)] * 3
    for absent in (7, 40000):
        assert analysis.logits(absent) == {"promoted": [], "suppressed": []}
    with pytest.raises(UsageError, match="did you mean 'logits'"):
        analysis.rows("logit", 1)
    with pytest.raises(FormatError, match=r"features\.parquet"):
        _ = analysis.features
    (folder / "analysis.json").write_text(json.dumps({**manifest, "version": 2}))
    with pytest.raises(FormatError, match="version 2"):
        Analysis.open(tmp_path)


def test_the_strongest_term_of_a_feature_gives_its_namespace(tmp_path: Path) -> None:
    assert namespaces(tmp_path, 3) is None
    rows = {
        "feature": [0, 0, 0, 2],
        "namespace": ["molecular_function", "biological_process", "cellular_component", "cellular_component"],
        "fold": [2.0, 3.0, 0.1, 0.5],
        "p": [1e-3, 1e-5, 1e-9, 1e-4],  # the smallest are of terms that are rarer than elsewhere
    }
    (tmp_path / "go").mkdir()
    pq.write_table(pa.table(rows), tmp_path / "go" / "enrichment.parquet")
    found = namespaces(tmp_path, 3)
    assert found is not None
    assert found.tolist() == ["biological_process", "", ""]


def test_pairs_of_a_cluster_share_a_namespace() -> None:
    cluster = np.array([0, 0, 0, 1, 1, -1, 1])
    namespace = np.array(["a", "a", "b", "b", "b", "b", ""], object)
    own, shuffled = same_namespace(cluster, namespace, draws=3000)
    assert own == 2 / 4  # of 3 + 1 pairs, (a, a) and (b, b)
    assert shuffled == pytest.approx((1 + 3) / 10, abs=0.02)  # of the 10 pairs of five, 1 of two and 3 of three
    assert np.isnan(same_namespace(cluster, np.full(7, "", object))[0])


def test_figures_are_drawn_of_what_there_is(tmp_path: Path) -> None:
    cache, corpus = planted_study(tmp_path)
    assert write_figures(tmp_path) == []
    from autointerp.analysis.build import Builder

    builder = Builder(cache, Corpus.open(corpus.path), tmp_path)
    builder.build()
    assert write_figures(tmp_path) == ["figures/overview", "figures/logos"]
    rng = np.random.default_rng(0)
    features = pq.read_table(tmp_path / "analysis" / "features.parquet").to_pydict()
    features |= {"x": rng.random(13), "y": rng.random(13), "cluster": [0] * 6 + [1] * 6 + [None]}
    write(tmp_path / "analysis", "features", [table_of("features", features)])
    (tmp_path / "go").mkdir()
    terms = {"feature": [3], "namespace": ["molecular_function"], "fold": [2.0], "p": [0.01]}
    pq.write_table(pa.table(terms), tmp_path / "go" / "enrichment.parquet")
    assert write_figures(tmp_path) == [f"figures/{name}" for name in ("overview", "map", "logos", "map_go")]
    assert "molecular function, 1" in (tmp_path / "analysis" / "figures" / "map_go.svg").read_text()
