"""The comparisons of concepts and of GO terms at a tiny size; figures of committed tables: test_reproductions.py."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from autointerp.report.go import boxes_by_depth
from experiments.common import read

pytest.importorskip("torch")
pytest.importorskip("matplotlib")
SMALL = {"sample": 100, "n_features": 48, "tokens": 8_192}


def test_concepts_of_coders_and_controls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from experiments.concepts import material, run

    monkeypatch.setattr(material, "QUICK", replace(material.QUICK, min_instances=2, ks=(4,)))
    config = run.Config(quick=True, work=tmp_path / "work", results=tmp_path / "results", **SMALL)
    run.main(config)
    rows = {row["case"]: row for row in read(tmp_path / "results", "summary")}
    assert list(rows) == [
        f"{c}{s}" for s in ("", ", random subject") for c in ("SAE, k 4", "random coder, k 4", "neurons")
    ]
    assert rows["neurons"]["features"] == 192  # both signs of 96
    for row in rows.values():
        assert row["features_0.5"] <= row["features_0.2"] <= row["features"]
    curve = read(tmp_path / "results", "curve")
    for name, row in rows.items():
        at = {r["above"]: r["features"] for r in curve if r["case"] == name}
        assert (at[0.2], at[0.5]) == (row["features_0.2"], row["features_0.5"])
        here = [r for r in read(tmp_path / "results", "rates") if r["case"] == name]
        assert sum(r["features"] for r in here) == row["features"] - row["silent"]
        assert sum(r["found"] for r in here) == row["features_0.2"]
        found = [r for r in read(tmp_path / "results", "finders") if r["case"] == name]
        assert sum(r["features_0.2"] for r in found) == row["features_0.2"]
    assert {p.name for p in (tmp_path / "results").glob("*.svg")} == {"curve.svg", "rates.svg", "concepts.svg"}
    before = {p.name: p.read_bytes() for p in (tmp_path / "results").iterdir()}
    run.main(config)  # everything is there, and comes out the same
    assert {p.name: p.read_bytes() for p in (tmp_path / "results").iterdir()} == before


@pytest.mark.full
def test_go_terms_on_real_data(data: Path, tmp_path: Path) -> None:
    from experiments.go import run

    run.main(run.Config(quick=True, data=data, work=tmp_path / "work", results=tmp_path / "results", **SMALL))
    rows = read(tmp_path / "results", "summary")
    assert {row["namespace"] for row in rows} == {"biological_process", "cellular_component", "molecular_function"}
    assert {row["threshold"] for row in rows} == {0.0, 0.5}
    assert len(read(tmp_path / "results", "seed")) == 6
    assert (tmp_path / "results" / "findings.svg").exists()


def test_boxes_are_numpys_quartiles() -> None:
    rng = np.random.default_rng(0)
    kinds = rng.choice(["feature", "constrained", "whole"], 300)
    pairs = {"kind": kinds, "feature": rng.integers(0, 20, 300), "lca_depth": rng.integers(0, 3, 300).astype(float)}
    pairs["path"] = rng.integers(2, 12, 300) + (kinds == "whole") * 9.0
    pairs["lca_depth"][:10] = np.nan
    boxes = {(box["depth"], box["kind"]): box for box in boxes_by_depth(pairs, "whole")}
    assert set(boxes) == {(d, k) for d in range(3) for k in ("feature", "whole")}
    for (depth, kind), box in boxes.items():
        mine = pairs["path"][(pairs["lca_depth"] == depth) & (kinds == kind)]
        assert [box["q1"], box["med"], box["q3"]] == np.percentile(mine, [25, 50, 75]).tolist()
        assert box["n"] == len(mine)
        assert box["stars"] == ("***" if kind == "feature" else "")
