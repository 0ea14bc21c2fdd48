"""Every experiment runs at a tiny size and draws; figures are redrawn from the committed tables alone."""

from __future__ import annotations

import asyncio
import importlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autointerp.clients.backend import client
from autointerp.clients.spec import ModelSpec
from autointerp.features.contexts import Bins
from autointerp.records import Capabilities, Request, Response
from experiments.common import differences, read, summary, write
from experiments.common.materials import Material, coders, planted
from experiments.common.options import REPOSITORY, Options

pytest.importorskip("torch")
pytest.importorskip("matplotlib")
COMMITTED = sorted(p.parent for p in (REPOSITORY / "experiments").glob("*/results/*/conditions.json"))
COMMITTED = [folder for folder in COMMITTED if (folder.parents[1] / "figures.py").exists()]
OURS = ("samplers", "explainer_context", "random_explanations", "leak")
ON_DATA = ("scorer_correlations", "protein_level", "residue_level", "interplm_descriptions")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Material:
    """A small planted proteome with a coder of few features."""
    folder = tmp_path_factory.mktemp("tiny")
    size = {"n_features": 96, "k": 8, "tokens": 60_000, "batch_size": 512}
    return coders(folder, "planted-esm", planted(folder / "corpus", 300), "layer:3", {"coder": size})["coder"]


def run(name: str, work: Path, used: Material | None = None, **more: Any) -> Path:
    """Run an experiment; the folder of its tables."""
    module = importlib.import_module(f"experiments.{name}.run")
    if used is not None:
        assert used.coder
        more |= {"cache": used.cache.path, "corpus": used.corpus.path, "subject": used.subject, "coder": used.coder}
    config = module.Config(work=work, results=work / "results", quick=True, **more)
    asyncio.run(module.run(config))
    return work / "results"


@pytest.mark.parametrize("name", OURS)
def test_it_runs_draws_and_continues(name: str, tiny: Material, tmp_path: Path) -> None:
    results = run(name, tmp_path, tiny, n_features=3)
    rows = read(results, "scores")
    assert len({row["feature"] for row in rows}) == 3
    assert not any(row["n_failed"] for row in rows)
    assert (results / f"{name}.svg").read_text().startswith("<svg")
    before = {p.name: p.read_bytes() for p in results.iterdir()}
    run(name, tmp_path, tiny, n_features=3)  # nothing is asked again, and everything comes out the same
    assert {p.name: p.read_bytes() for p in results.iterdir()} == before


class Mumbling:
    """A backend of which nothing can be read."""

    capabilities = Capabilities(free=True)
    version = "1"
    needs_model = False

    def __init__(self, spec: ModelSpec, **_: object) -> None:
        self.spec = spec

    async def generate(self, request: Request) -> Response:
        return Response("hm", None, 0.0, "stop", "mumbling@1")

    async def aclose(self) -> None: ...


@pytest.mark.parametrize("name", OURS)
def test_where_nothing_can_be_read_everything_is_counted_as_attempted(
    name: str, tiny: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(client._known, "mumbling", Mumbling)
    results = run(name, tmp_path, tiny, n_features=2, client="mumbling")
    table = [row for row in read(results, "summary") if row.get("judge", "mumbling") == "mumbling"]
    assert {(row["n_attempted"], row["n_features"]) for row in table} == {(2, 0)}
    assert (results / f"{name}.svg").read_text().startswith("<svg")


def test_what_was_seen_falls_from_split_to_split_and_memory_earns_nothing_between_groups(
    tiny: Material, tmp_path: Path
) -> None:
    results = run("leak", tmp_path, tiny, n_features=6)
    seen = read(results, "shared")
    share = {c: {k: np.mean([r[k] for r in seen if r["condition"] == c]) for k in ("context", "sequence", "group")}
             for c in ("one list", "contexts", "sequences", "groups")}  # fmt: skip
    assert 0.15 < share["one list"]["context"] < 0.45  # delphi: .235 measured over features of all sizes
    assert share["contexts"]["context"] == share["sequences"]["sequence"] == share["groups"]["group"] == 0
    assert share["sequences"]["group"] > 0
    rows = [row for row in read(results, "scores") if row["judge"] == "memory"]
    value = {c: np.mean([r["value"] for r in rows if r["condition"] == c]) for c in share}
    assert value["one list"] == pytest.approx(0.5 + share["one list"]["context"] / 2, abs=0.06)
    assert value["groups"] == pytest.approx(0.5, abs=0.02)


def test_leaky_records_are_drawn_as_the_fields_tool_draws(tiny: Material) -> None:
    from experiments.leak.splits import PooledLoader

    loader = PooledLoader(tiny.cache, tiny.corpus, "one list")
    record = loader[next(f for f in range(len(loader)) if len(tiny.cache[f][0]) > 1000)]
    assert [len(record.explain.positives), len(record.test.positives)] == [40, 50]
    for side, n in ((record.explain, 4), (record.test, 5)):
        assert np.bincount([e.quantile for e in side.positives]).tolist() == [n] * 10
        peaks = [np.mean([e.peak for e in side.positives if e.quantile == q]) for q in range(10)]
        assert peaks == sorted(peaks)


@pytest.mark.parametrize("folder", COMMITTED, ids=lambda f: f"{f.parents[1].name}-{f.name}")
def test_figures_are_redrawn_from_the_committed_tables(folder: Path, tmp_path: Path) -> None:
    drawn = [p.name for p in folder.glob("*.svg")]
    assert drawn
    for path in folder.iterdir():
        if path.suffix in (".csv", ".json"):
            shutil.copy(path, tmp_path)
    importlib.import_module(f"experiments.{folder.parents[1].name}.figures").draw(tmp_path)
    for name in drawn:
        assert (tmp_path / name).read_text().startswith("<svg")


@pytest.mark.full
@pytest.mark.parametrize("name", ON_DATA)
def test_it_runs_on_real_data(name: str, data: Path, tmp_path: Path) -> None:
    results = run(name, tmp_path, data=data, n_features=4)
    assert read(results, "scores")
    assert list(results.glob("*.svg"))


def test_a_protein_gives_one_context_around_its_strongest_residue() -> None:
    from experiments.interplm_descriptions.run import protein_peaks

    rng = np.random.default_rng(0)
    bins = Bins(np.array([0, 70, 71, 200, 260]), 32, centred=True)
    tokens = np.sort(rng.choice(200, 40, replace=False))
    values = rng.random(40).astype(np.float32)
    expected = []
    for a, b in ((0, 70), (70, 71), (71, 200)):
        inside = (tokens >= a) & (tokens < b)
        if inside.any():
            expected.append(tokens[inside][values[inside].argmax()])
    assert sorted(protein_peaks(tokens, values, bins).tolist()) == expected


def test_summaries_and_differences_are_numpys(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [
        {"condition": c, "scorer": "detection", "feature": f, "value": rng.random(), "n": 10, "n_failed": int(f == 3)}
        for c in ("a", "b")
        for f in range(9)
    ]
    rows[4]["value"] = None
    write(tmp_path, "scores", rows)
    again = read(tmp_path, "scores")
    assert np.isnan(again[4]["value"])
    x, y = (np.array([np.nan if r["value"] is None else r["value"] for r in rows if r["condition"] == c]) for c in "ab")
    first = summary(rows)[0]
    assert first["median"] == pytest.approx(np.nanmedian(x))
    assert (first["n_attempted"], first["n_features"], first["n_trials"], first["n_failed"]) == (9, 8, 90, 1)
    (change,) = differences(rows, "a", ["detection"])
    assert change["mean"] == pytest.approx(np.nanmean(y - x))
    assert change["n"] == 8


def test_runs_of_different_clients_lie_apart() -> None:
    pairs = [("baseline", None), ("openai/a@http://h:1/v1", None), ("openai/a@http://h:2/v1", None), ("baseline", "x")]
    folders = {Options(client=one, score_client=other).runs("samplers", "planted") for one, other in pairs}
    assert len(folders) == 4
    assert {folder.parent for folder in folders} == {Options().work / "samplers-planted"}


def test_an_own_cache_needs_its_corpus() -> None:
    from autointerp.errors import UsageError
    from experiments.common import material

    with pytest.raises(UsageError, match="--corpus"):
        material(Options(cache=Path("x")), "planted")
