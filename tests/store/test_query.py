"""Questions across studies, against the same question asked of rows in memory."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from autointerp.errors import UsageError
from autointerp.records import Explanation, FeatureStatistics, Score
from tests.databases import Place

STATISTICS = FeatureStatistics(20, 4.0, 2.0, 0.01, 18, 9)
TEXTS = ["Zinc finger Cys2His2", "50% of helices", "a_b pattern", "ÜBER zinc", "signal peptide"]
WORDS = {"e@1": "{}", "e@1?cot=1": "in short, {}"}


@pytest.fixture
def filled(place: Place) -> tuple[Place, list[dict[str, Any]]]:
    """Three studies of a series of coders, and what a query should find, row by row."""
    rows = []
    for layer in (4, 12, 20):
        with place.open(study=f"layer {layer}") as store:
            about = {"coder": f"topk-{layer}", "series": "esm topk" if layer < 20 else "esm relu", "subject": "esm2"}
            store.bind({"seed": 0}, about={**about, "hook": f"encoder.layer.{layer}.output"})

            async def fill(layer: int = layer, store: Any = store, about: dict[str, str] = about) -> None:
                for feature, text in enumerate(TEXTS):
                    for explainer, form in WORDS.items():
                        e = Explanation(feature, form.format(text), explainer)
                        await store.put_explanation(e, "c", STATISTICS)
                        value = feature / 5 + layer / 100
                        for scorer in ("detection@1", "fuzzing@2"):
                            if (feature, scorer) == (2, "fuzzing@2"):
                                continue
                            for null in (False, True):
                                v = 0.5 if null else value
                                s = Score(
                                    feature, explainer, scorer, v, 0.1, 0.9, 10, 0, null=null, partner=int(null) or None
                                )
                                await store.put_score(s, "c", "j")
                            rows.append({"layer": layer, "feature": feature, "explanation": e.text, "scorer": scorer,
                                         "explainer": explainer, "value": value, **about})  # fmt: skip
                await store.put_explanation(Explanation(9, "", "e@1", failure="refusal: no"), "c", STATISTICS)

            asyncio.run(fill())
    return place, rows


CASES: list[tuple[dict[str, Any], Any]] = [
    ({"coder": "topk-12"}, lambda r: r["layer"] == 12),
    ({"series": "esm topk", "scorer": "detection"}, lambda r: r["layer"] < 20 and r["scorer"] == "detection@1"),
    ({"layer": [4, 20], "feature": 3}, lambda r: r["layer"] != 12 and r["feature"] == 3),
    ({"min_score": 0.5, "max_score": 0.9}, lambda r: 0.5 <= r["value"] <= 0.9),
    ({"text": "ZINC"}, lambda r: "zinc" in r["explanation"].lower()),
    ({"text": ["über", "zinc"]}, lambda r: r["feature"] == 3),
    ({"text": "50%"}, lambda r: "50%" in r["explanation"]),
    ({"text": "a_b"}, lambda r: "a_b" in r["explanation"]),
    ({"text": "a!b"}, lambda r: False),
    ({"explainer": "e@1"}, lambda r: r["explainer"] == "e@1"),
    ({"explainer": "e"}, lambda r: True),
    ({"subject": "esm1"}, lambda r: False),
    ({"study": [], "scorer": "fuzzing"}, lambda r: False),
    ({"hook": "encoder.layer.4.output", "judge": "j", "client": "c"}, lambda r: r["layer"] == 4),
]


def test_queries_agree_with_the_rows(filled: tuple[Place, list[dict[str, Any]]]) -> None:
    place, rows = filled
    names = ("coder", "series", "subject", "layer", "feature", "explanation", "explainer", "scorer", "value")

    def key(row: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(row[name] for name in names)

    with place.open(readonly=True) as store:
        for question, fits in CASES:
            found = [r for r in store.query(**question).to_pylist() if r["scorer"]]
            assert sorted(map(key, found)) == sorted(key(r) for r in rows if fits(r)), question
            assert {r["null_value"] for r in found} <= {0.5}
        unscored = [
            r for r in store.query(feature=2, layer=4, explainer="e@1").to_pylist() if r["scorer"] != "detection@1"
        ]
        assert unscored == []  # it has one score: no row without
        best = store.query(order="score", limit=3).to_pylist()
        assert [r["value"] for r in best] == sorted((r["value"] for r in rows), reverse=True)[:3]
        assert store.studies().to_pylist()[0] == {
            "name": "layer 12", "coder": "topk-12", "series": "esm topk", "subject": "esm2",
            "hook": "encoder.layer.12.output", "layer": 12, "explanations": 11, "scores": 18, "skipped": 0,
        }  # fmt: skip


def test_what_cannot_be_asked_is_said(place: Place) -> None:
    with place.open() as store:
        with pytest.raises(UsageError, match="query by colour: valid are study, coder"):
            store.query(colour="red")
        with pytest.raises(UsageError, match="order 'best': valid are feature, score"):
            store.query(order="best")
        with pytest.raises(UsageError, match="a study has no depth"):
            store.describe(depth=3)


def test_of_several_studies_one_must_be_named(filled: tuple[Place, list[dict[str, Any]]]) -> None:
    place, _ = filled
    for readonly in (True, False):
        said = pytest.raises(UsageError, match="several studies, name one of them: layer 12, layer 20, layer 4")
        with said, place.open(readonly=readonly) as store:
            store.scores()
    with place.open(readonly=True, study="layer 4") as store:
        assert store.progress().explained == 10
        assert (store.progress().failed, store.progress().scores, store.progress().nulls) == (1, 18, 18)
    said = pytest.raises(UsageError, match="no study 'layer 5'; it has layer 12")
    with said, place.open(readonly=True, study="layer 5") as store:
        store.scores()
