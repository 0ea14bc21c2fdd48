"""No leak: homologues on one side, what explains never judges, and what is known of a protein is no part of a test."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from autointerp.cache import ActivationCache
from autointerp.corpus import Corpus, Source, import_corpus
from autointerp.errors import UsageError
from autointerp.explainers import explainer
from autointerp.features import FeatureLoader
from autointerp.records import Example, Explanation, FeatureRecord, Side
from autointerp.scorers import scorer
from tests.answering import answered, driven, garbled, said
from tests.doubles import write_cache
from tests.studies import RESIDUES, record

LENGTH, FAMILIES, MEMBERS = 90, 40, 4
WIDE, CANARY = "superfamily", "CANARYMETADATA"
EXPLAINED, TESTED = "WCWCWCWCWCWC", "HMHMHMHMHMHM"
SCORERS = [*scorer.names(), "prediction?examples_per_prompt=3", "detection?answers=graded"]
EXPLAINERS = [name for name in explainer.names() if name not in ("saved", "random")]


def suited(registry: Any, names: list[str]) -> list[tuple[str, str]]:
    """(name, level) of every plan and the levels that it is for; the pipeline refuses the others."""
    levels = ("token", "sequence")
    return [
        (name, level) for name in names for level in levels if level in getattr(registry.make(name), "levels", levels)
    ]


# ------------------------------------------------------------------------------------------------ sides and homologues


@pytest.fixture(scope="module")
def homologues(tmp_path_factory: pytest.TempPathFactory) -> tuple[ActivationCache, Corpus]:
    """Families of copies with three in ten residues changed, exact duplicates among them, two families a superfamily.

    The feature fires on one residue in ten. Superfamilies share no sequence: only a column says that they belong
    together.
    """
    folder = tmp_path_factory.mktemp("homologues")
    rng = np.random.default_rng(0)
    rows = []
    for family in range(FAMILIES):
        ancestor = rng.choice(list(RESIDUES), LENGTH)
        for member in range(MEMBERS):
            own = ancestor.copy()
            places = rng.choice(LENGTH, 27 if member else 0, replace=False)
            own[places] = rng.choice(list(RESIDUES), len(places))
            name = f"super{family // 2}" if member != 2 else ""  # of some it is not known
            rows += [{"id": f"{family}-{member}-{copy}", "text": "".join(own), WIDE: name} for copy in range(2)]
    source = folder / "proteins.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    import_corpus(Source(str(source)), folder / "corpus", kind="protein")
    corpus = Corpus.open(folder / "corpus")
    tokens = int(corpus.lengths.sum())
    dense = ((rng.random((tokens, 1)) < 0.1) * rng.integers(8, 64, (tokens, 1)) / 8).astype(np.float32)
    return write_cache(folder / "cache", dense, corpus, n_shards=1), corpus


def loader_of(made: tuple[ActivationCache, Corpus], **how: Any) -> FeatureLoader:
    return FeatureLoader(*made, n_explain=60, n_test=60, n_non_activating=60, context=8, min_examples=10, **how)


def across(r: FeatureRecord, related: Callable[[Example, Example], bool]) -> int:
    """Pairs of an explaining and a judged example that are related."""
    explain, test = ([*side.positives, *side.negatives] for side in (r.explain, r.test))
    return sum(related(a, b) for a in explain for b in test)


def identity(corpus: Corpus) -> Callable[[Example, Example], bool]:
    texts = [np.array(list(corpus.text(i))) for i in range(len(corpus))]
    return lambda a, b: bool(np.mean(texts[a.sequence] == texts[b.sequence]) > 0.5)  # unrelated ones: 5 %


def test_duplicates_are_left_out_and_homologues_never_stand_on_two_sides(
    homologues: tuple[ActivationCache, Corpus],
) -> None:
    _, corpus = homologues
    assert len(corpus) == len(set(corpus.texts(range(len(corpus))))) == FAMILIES * MEMBERS
    for seed in range(3):
        assert across(loader_of(homologues, seed=seed)[0], identity(corpus)) == 0


def test_the_three_splits_side_by_side(homologues: tuple[ActivationCache, Corpus]) -> None:
    _, corpus = homologues
    alike = identity(corpus)
    names = corpus.column(WIDE).to_pylist()

    def wide(a: Example, b: Example) -> bool:
        return bool(names[a.sequence]) and names[a.sequence] == names[b.sequence]

    by = {name: loader_of(homologues, split_by=name) for name in ("sequence", "group", WIDE)}
    leaks = {name: (across(loader[0], alike), across(loader[0], wide)) for name, loader in by.items()}
    assert min(leaks["sequence"]) > 100  # the field's way: the same protein's relatives explain and judge
    assert leaks["group"][0] == 0 < leaks["group"][1]
    assert leaks[WIDE] == (0, 0)  # nor the relatives whose family is not known
    assert [loader.settings.get("split_by") for loader in by.values()] == ["sequence", None, WIDE]
    assert {loader[0].statistics for loader in by.values()} == {by["group"][0].statistics}
    with pytest.raises(UsageError, match="no metadata column 'clan'"):
        loader_of(homologues, split_by="clan")


def test_a_record_with_a_homologue_forced_onto_the_other_side_cannot_be_made(
    homologues: tuple[ActivationCache, Corpus],
) -> None:
    _, corpus = homologues
    r = loader_of(homologues)[0]
    taken = r.explain.positives[0]
    alike = identity(corpus)
    sister = next(e for e in r.explain.positives if e.sequence != taken.sequence and alike(e, taken))
    for other in ("validation", "test"):
        side = getattr(r, other)
        with pytest.raises(UsageError, match=f"stands on both the explain and the {other} side"):
            replace(r, **{other: Side((*side.positives, sister), side.negatives)})


# ---------------------------------------------------------------------------------------- what reaches whom in a prompt


def marked(level: str) -> FeatureRecord:
    """A record with a canary in every example's metadata, and another in the texts of either side."""

    def with_canary(e: Example, text: str) -> Example:
        facts = {"protein_names": CANARY, "go_terms": CANARY, "keywords": CANARY}
        return replace(e, text=text[: len(e.ends)], metadata=facts)

    def side(of: Side, text: str) -> Side:
        return Side(*(tuple(with_canary(e, text) for e in part) for part in (of.positives, of.negatives)))

    r = record(7, n=10, level=level)
    held = record(7, n=8, n_explain=1, level=level, seed=1).test
    apart = Side(*(tuple(replace(e, group=e.group + 5000) for e in part) for part in (held.positives, held.negatives)))
    return replace(r, explain=side(r.explain, EXPLAINED), validation=side(apart, "A" * 12), test=side(r.test, TESTED))


@pytest.mark.parametrize("answer", [answered, garbled], ids=["answered", "garbled"])
@pytest.mark.parametrize(("name", "level"), suited(scorer, SCORERS))
def test_no_scorer_is_shown_metadata_or_what_the_explainer_saw(name: str, level: str, answer: Any) -> None:
    _, asked = driven(scorer.make(name).score(marked(level), Explanation(7, "Fires on HM.", "default@2")), answer)
    whole = "\n".join(map(said, asked))
    assert asked
    assert CANARY not in whole
    assert EXPLAINED not in whole
    assert TESTED[:8] in whole or name == "generation"  # so it would have been seen


@pytest.mark.parametrize("level", ["token", "sequence"])
def test_metadata_reach_a_judge_where_the_protocol_says_so_and_it_is_recorded(level: str) -> None:
    made = scorer.make("prediction?metadata_at_test=true")
    score, asked = driven(made.score(marked(level), Explanation(7, "Fires on HM.", "default@2")))
    assert all(CANARY in said(request) for request in asked)
    assert not any(TESTED[:4] in said(request) or EXPLAINED in said(request) for request in asked)
    assert score.metrics["metadata_at_test"] is True
    assert "metadata_at_test" in score.scorer


@pytest.mark.parametrize("answer", [answered, garbled], ids=["answered", "garbled"])
@pytest.mark.parametrize(("name", "level"), suited(explainer, EXPLAINERS))
def test_no_explainer_is_shown_the_test_side(name: str, level: str, answer: Any) -> None:
    _, asked = driven(explainer.make(name).explain(marked(level)), answer)
    assert bool(asked) == (name != "statistical")
    assert not any(TESTED[:6] in said(request) for request in asked)
