"""The explainers beside the default one: what each shows, what it must not show, and what it makes of replies."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autointerp.errors import FormatError, UsageError
from autointerp.explainers import explainer
from autointerp.explainers.contrastive import ContrastiveExplainer
from autointerp.explainers.iterative import IterativeExplainer
from autointerp.explainers.output import OutputExplainer
from autointerp.explainers.protein_metadata import ProteinMetadataExplainer
from autointerp.explainers.residue import ResidueExplainer, annotated, tenths
from autointerp.explainers.saved import RandomExplainer, SavedExplainer
from autointerp.explainers.single_token import SingleTokenExplainer
from autointerp.explainers.statistical import StatisticalExplainer
from autointerp.records import (
    Computed,
    Explainer,
    Explanation,
    Failure,
    FeatureRecord,
    LogitRequest,
    Outcome,
    Request,
    Response,
    Side,
)
from tests.reading import read
from tests.studies import answers, example, record, truth_of

Answer = Callable[[Request], "str | Outcome"]


def run(e: Explainer, r: FeatureRecord, answer: Answer) -> tuple[Explanation, list[list[Request]]]:
    """The explanation and the requests of each round."""
    plan, rounds = e.explain(r), []
    outcomes: list[Outcome] | None = None
    while True:
        try:
            requests = next(plan) if outcomes is None else plan.send(outcomes)
        except StopIteration as end:
            return end.value, rounds
        rounds.append(list(requests))
        replies = [answer(q) for q in requests]
        outcomes = [Response(a, model="m") if isinstance(a, str) else a for a in replies]


def said(text: str) -> str:
    return json.dumps({"explanation": text})


def fences(request: Request) -> list[list[str]]:
    return read(request.messages[-1].content).fences


def test_every_explainer_is_found_by_name_and_takes_settings_as_text() -> None:
    assert set(explainer.names()) >= {
        "contrastive", "default", "iterative", "output", "protein-metadata", "random", "residue", "saved",
        "single-token", "statistical",
    }  # fmt: skip
    made = explainer.make("contrastive?silent=4&cot=true&threshold=0.5")
    assert made == ContrastiveExplainer(silent=4, cot=True, threshold=0.5)
    assert made.id == "contrastive@1?silent=4&cot=1&threshold=0.5"
    for text, message in [
        ("contrastive?silnt=4", "no setting 'silnt'.*silent"),
        ("contrastive?silent=many", "silent is 'many'; an int is needed"),
        ("contrastive?cot=maybe", "valid are true and false"),
    ]:
        with pytest.raises(UsageError, match=message):
            explainer.make(text)


# --------------------------------------------------------------------------------------------------------- contrastive


def test_contrastive_shows_both_kinds_and_marks_only_the_active() -> None:
    r = record(7, n_explain=12)
    found, ((request,),) = run(ContrastiveExplainer(silent=5), r, lambda q: said("zinc"))
    assert (found.text, found.explainer) == ("zinc", "contrastive@1?silent=5")
    active, silent = fences(request)
    assert (len(active), len(silent)) == (12, 5)
    assert all("<<" in line for line in active)
    assert not any("<<" in line for line in silent)
    texts = [e.text for e in r.explain.negatives]
    assert [line.split(": ")[1] for line in silent] == [texts[i] for i in (0, 2, 4, 7, 9)]  # from all over
    shown = {e.id for e in (*r.test.positives, *r.test.negatives)}
    assert request.task is not None
    assert not shown & {e.id for e in (*request.task.examples, *request.task.negatives)}


def test_contrastive_without_silent_contexts_shows_the_active_ones() -> None:
    r = dataclasses.replace(record(7), explain=Side(record(7).explain.positives))
    _, ((request,),) = run(ContrastiveExplainer(), r, lambda q: said("x"))
    assert len(fences(request)) == 1


# -------------------------------------------------------------------------------------------------------- single token


def test_single_token_shows_peaks_and_nothing_of_their_contexts() -> None:
    contexts = [
        example(tokens=["a", " cat", "sat"], activations=[0, 4, 1], sequence=0),
        example(tokens=["the", " cat"], activations=[0.5, 2], sequence=1),
        example(tokens=["dog", "\nran"], activations=[1, 0], sequence=2),
    ]
    r = dataclasses.replace(record(7), explain=Side(tuple(contexts)), modality="text")
    _, ((request,),) = run(SingleTokenExplainer(), r, lambda q: said("pets"))
    (lines,) = fences(request)
    assert lines == ["' cat': 2 times, up to 10", "'dog': 1 times, up to 3"]
    assert request.task is not None
    assert [e.tokens for e in request.task.examples] == [[" cat"], [" cat"], ["dog"]]
    assert not any(e.at_start or e.at_end for e in request.task.examples)
    with pytest.raises(UsageError, match="level token"):
        SingleTokenExplainer().explain(record(7, level="sequence"))


# ------------------------------------------------------------------------------------------------------------ proteins


class Known(Mapping[str, Any]):
    """Metadata with annotated regions, as a loader's."""

    def __init__(self, regions: list[tuple[int, int, str, str]], **columns: Any) -> None:
        self.columns = columns
        self.annotations = [{"start": a, "end": b, "type": t, "label": n} for a, b, t, n in regions]

    def __getitem__(self, key: str) -> Any:
        return self.columns[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __len__(self) -> int:
        return len(self.columns)


def protein(regions: list[tuple[int, int, str, str]], activations: list[float], row: int, **columns: Any) -> Any:
    e = example("ACDEFGHI", activations, sequence=row, start=9, length=200)
    return dataclasses.replace(e, metadata=Known(regions, **columns))


def test_residue_lists_positions_identities_regions_and_window() -> None:
    regions = [(9, 12, "Domain", "SH3"), (10, 11, "Active site", "any"), (40, 60, "Region", "Disordered")]
    strong = protein(regions, [0, 4, 3, 0, 0, 0, 1], 0, protein_names="Kinase\nX", keywords="Zinc")
    weak = protein([], [1, 0], 1, protein_names="")
    silent = protein([(9, 12, "Domain", "SH2")], [], 2, protein_names="Ligase")
    r = dataclasses.replace(record(7), explain=Side((weak, strong), (dataclasses.replace(silent, kind="random"),)))
    r = dataclasses.replace(r, statistics=dataclasses.replace(r.statistics, max=4.0))
    found, ((request,),) = run(ResidueExplainer(), r, lambda q: said("active sites"))
    assert found.text == "active sites"
    active, other = fences(request)
    assert active == [
        "Protein 1; 200 residues; protein names: Kinase ⏎ X; keywords: Zinc",
        "  largest activation 0.9–1.0, at C11, D12",
        "  annotated there: Domain (SH3) 10–12; Active site 11",
        "  window: A<<CD>>EFGHI",
        "Protein 2; 200 residues",
        "  largest activation 0.2–0.3, at A10",
        "  window: <<A>>CDEFGHI",
    ]
    assert other == ["Protein 1; protein names: Ligase"]  # no region of a silent protein: it has no place in it
    for wrong in (dataclasses.replace(r, modality="text"), dataclasses.replace(r, level="sequence")):
        with pytest.raises(UsageError, match="residue"):
            ResidueExplainer().explain(wrong)


def test_regions_by_brute_force() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        spans = [sorted(rng.choice(40, 2, replace=False).tolist()) for _ in range(5)]
        regions = [(a, b, "Region", f"r{i}") for i, (a, b) in enumerate(spans)]
        places = rng.choice(40, 3, replace=False).tolist()
        held = [n for a, b, _, n in regions if set(range(a, b)) & set(places)]
        assert [text.split("(")[1].split(")")[0] for text in annotated(Known(regions), places)] == held


@pytest.mark.parametrize(("share", "bin_"), [(1.0, "0.9–1.0"), (0.9, "0.9–1.0"), (0.05, "0.0–0.1"), (0.55, "0.5–0.6")])
def test_tenths(share: float, bin_: str) -> None:
    assert tenths(share) == bin_


def test_protein_metadata_shows_what_is_known_and_no_sequence_unless_asked() -> None:
    a = protein([], [3.0], 0, protein_names="Kinase", gene_names="K1", go_terms="GO:1")
    b = protein([], [4.0], 1, protein_names="Ligase", gene_names="")
    c = dataclasses.replace(protein([], [], 2, protein_names="Porin"), kind="random")
    r = dataclasses.replace(record(7, level="sequence"), explain=Side((a, b), (c,)))
    r = dataclasses.replace(r, statistics=dataclasses.replace(r.statistics, max=4.0))
    found, ((request,),) = run(ProteinMetadataExplainer(), r, lambda q: said("kinases"))
    active, silent = fences(request)
    assert active == [
        "Example 1: activation 1.00; protein names: Ligase",
        "Example 2: activation 0.75; protein names: Kinase; genes: K1; GO: GO:1",
    ]
    assert silent == ["Example 1: activation 0.00; protein names: Porin"]
    assert found.text == "kinases"
    _, ((request,),) = run(ProteinMetadataExplainer(include_sequence=True), r, lambda q: said("x"))
    assert fences(request)[0][0].endswith("; sequence ACDEFGHI")
    bare = dataclasses.replace(r, explain=Side((example("ACD", [1.0], organism="yeast"),)))
    with pytest.raises(UsageError, match=r"none of the columns protein_names.*it has: organism"):
        ProteinMetadataExplainer().explain(bare)
    with pytest.raises(UsageError, match="holds text"):
        ProteinMetadataExplainer().explain(dataclasses.replace(r, modality="text"))


# ----------------------------------------------------------------------------------------------------------- iterative


def with_validation(feature: int = 7) -> FeatureRecord:
    r, other = record(feature, n=12), record(feature, n=12, seed=1)

    def moved(e: Any) -> Any:
        return dataclasses.replace(e, sequence=e.sequence + 5000, group=e.group + 5000)

    return dataclasses.replace(
        r, validation=Side(tuple(map(moved, other.test.positives)), tuple(map(moved, other.test.negatives)))
    )


def test_iterative_keeps_what_judges_best_on_the_validation_side_and_never_sees_the_test_side() -> None:
    r = with_validation()
    table = truth_of([dataclasses.replace(r, test=r.validation, validation=Side())])
    skill = {"bad": 0.5, "good": 0.8, "better": 1.0}
    proposals = iter(["bad", "good", "bad"])
    rng = np.random.default_rng(0)

    def answer(request: Request) -> str:
        assert request.task is not None
        if request.tag == "explain":
            return said("better" if "was proposed" in request.messages[-1].content else next(proposals))
        text = request.task.explanation
        return answers(
            table[7, e.id] if rng.random() < skill[text] else not table[7, e.id] for e in request.task.examples
        )

    found, rounds = run(IterativeExplainer(), r, answer)
    assert found.text == "better"
    assert found.explainer == "iterative@1"
    values = {c["text"]: c["value"] for c in found.details["candidates"]}
    assert list(values) == ["bad", "good", "better"]  # the second "bad" is not tested again
    assert values["better"] == 1.0
    assert values["better"] > values["good"] > values["bad"]
    tests = {e.id for e in (*r.test.positives, *r.test.negatives)}
    seen = {e.id for requests in rounds for q in requests if q.task for e in (*q.task.examples, *q.task.negatives)}
    assert not seen & tests
    assert [q.temperature for q in rounds[0]] == [0.0, 1.0, 1.0]
    assert len({q.key("m") for q in rounds[0]}) == 3
    correction = rounds[2][0].messages[-1].content
    assert "good" in correction
    assert "<<" in correction.split("missed some")[1]


def test_iterative_survives_replies_without_an_explanation_and_needs_a_validation_side() -> None:
    r = with_validation()
    found, _ = run(IterativeExplainer(candidates=2), r, lambda q: "I can't help with that.")
    assert found.text == ""
    assert found.failure is not None
    with pytest.raises(UsageError, match="n_validation"):
        run(IterativeExplainer(), record(7), lambda q: said("x"))


def test_iterative_does_not_correct_what_is_right() -> None:
    r = with_validation()
    table = truth_of([dataclasses.replace(r, test=r.validation, validation=Side())])

    def answer(request: Request) -> str:
        assert request.task is not None
        if request.tag == "explain":
            return said("right")
        return answers(table[7, e.id] for e in request.task.examples)

    found, rounds = run(IterativeExplainer(candidates=1), r, answer)
    assert (found.text, len(rounds)) == ("right", 2)


# -------------------------------------------------------------------------------------------------------------- output


@pytest.mark.parametrize("inputs", [False, True])
def test_output_shows_what_the_feature_does_to_the_predictions(inputs: bool) -> None:
    r = record(7)
    effect = {"promoted": [("W", 1.25), ("\n", 0.5)], "suppressed": [("A", -2.0)]}

    def answer(q: Any) -> Any:
        if isinstance(q, LogitRequest):
            assert q.scale == r.statistics.mean
            assert set(q.texts) == {e.text for e in (*r.explain.positives, *r.explain.negatives)}
            return Computed(effect)
        shown = fences(q)
        assert shown[0] == ["raised: 'W' +1.25, ' ⏎ ' +0.50", "lowered: 'A' -2.00"]
        assert len(shown) == 1 + inputs
        return said("expects tryptophan")

    found, rounds = run(OutputExplainer(inputs=inputs), r, answer)
    assert (found.text, len(rounds)) == ("expects tryptophan", 2)
    assert found.details == {"promoted": ["W", "\n"], "suppressed": ["A"]}
    effect["suppressed"] = []
    shown = OutputExplainer()._request(r, effect, ()).messages[-1].content
    assert "lowered: none" in shown, "a short vocabulary may only rise"
    lost, _ = run(OutputExplainer(), r, lambda q: Failure("bad_request", "no head"))
    assert (lost.text, lost.failure) == ("", "bad_request: no head")


# ---------------------------------------------------------------------------------------------------- without an LLM


def test_statistical_says_what_baseline_says() -> None:
    from autointerp.clients.baseline import explain
    from autointerp.records import Task
    from tests.clients.test_baseline import planted

    r = planted()
    found, rounds = run(StatisticalExplainer(), r, lambda q: "")
    assert rounds == []
    assert found.text == explain(Task("explain", r.explain.positives, r.explain.negatives))
    assert "Pattern:" in found.text


def test_saved_reads_delphis_folders_texts_tables_and_says_what_is_missing(tmp_path: Path) -> None:
    texts = {7: "zinc fingers", 12: "naïve «quotes» 日本"}
    folder = tmp_path / "explanations"
    folder.mkdir()
    for feature, text in texts.items():
        (folder / f"layers.3.mlp_latent{feature}.txt").write_text(json.dumps(text))
    (folder / "notes.md").write_text("not one of them")
    plain = tmp_path / "plain"
    plain.mkdir()
    for feature, text in texts.items():
        (plain / f"{feature}.txt").write_text(text + "\n")
    rows = [{"neuron_idx": f, "interpretation": t, "correlation": 0.5} for f, t in texts.items()]
    (tmp_path / "seed.csv").write_text(
        "neuron_idx,correlation,interpretation\n" + "".join(f"{f},0.5,{t}\n" for f, t in texts.items())
    )
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"index": f, "description": t}) for f, t in texts.items()))
    (tmp_path / "a.json").write_text(json.dumps(rows))
    ids = set()
    for source in (folder, plain, tmp_path / "seed.csv", tmp_path / "a.jsonl", tmp_path / "a.json"):
        saved = SavedExplainer(str(source))
        assert dict(saved.texts) == texts
        assert run(saved, record(7), lambda q: "")[0].text == "zinc fingers"
        missing, _ = run(saved, record(8), lambda q: "")
        assert (missing.text, missing.failure) == ("", "no explanation saved")
        ids.add(saved.id.split("#")[1])
    assert len(ids) == 1  # the same texts, wherever they lie
    (tmp_path / "b.csv").write_text("a,b\n1,2\n")
    with pytest.raises(FormatError, match="columns a, b"):
        SavedExplainer(str(tmp_path / "b.csv")).texts  # noqa: B018
    with pytest.raises(UsageError, match="no such file"):
        SavedExplainer(str(tmp_path / "nothing")).texts  # noqa: B018
    (folder / "layers.4.mlp_latent7.txt").write_text('"another hook"')
    other = tmp_path / "two"
    folder.rename(other)
    with pytest.raises(FormatError, match="two of 7"):
        SavedExplainer(str(other)).texts  # noqa: B018


def test_random_gives_another_features_explanation_always_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({str(i): f"text {i}" for i in range(20)}))
    source = str(tmp_path / "a.json")
    found = [run(RandomExplainer(source), record(i), lambda q: "")[0] for i in range(20)]
    assert all(e.text == f"text {e.details['feature']}" and e.details["feature"] != i for i, e in enumerate(found))
    assert len({e.text for e in found}) > 8
    assert [run(RandomExplainer(source), record(i), lambda q: "")[0].text for i in range(20)] == [e.text for e in found]
    again = [run(RandomExplainer(source, seed=1), record(i), lambda q: "")[0].text for i in range(20)]
    assert again != [e.text for e in found]
    (tmp_path / "one.json").write_text('{"3": "x"}')
    with pytest.raises(UsageError, match="other than 3"):
        run(RandomExplainer(str(tmp_path / "one.json")), record(3), lambda q: "")
