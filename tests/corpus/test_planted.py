"""The planted proteome against hand-written regular expressions, brute-force alignment and its own bookkeeping."""

from __future__ import annotations

import re
from collections import defaultdict
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pytest

from autointerp.corpus.planted import IDENTITIES, Planted, planted_proteome
from autointerp.corpus.planted_elements import ARCHITECTURES, ELEMENTS, read_pattern, regexes
from autointerp.errors import UsageError

# Written by hand, not derived from the catalogue, with variable counts spelled out so that no match hides another.
# The first seven are PROSITE PS00017, PS00028, PS00001, PS00029, PS00018, PS00016 and PS00014 (KDEL only).
BY_HAND = {
    "P-loop": ["[AG].{4}GK[ST]"],
    "C2H2 zinc finger": [f"C.{{{a}}}C.{{3}}[LIVMFYWC].{{8}}H.{{{b}}}H" for a in (2, 3, 4) for b in (3, 4, 5)],
    "N-glycosylation": ["N[^P][ST][^P]"],
    "leucine zipper": ["L.{6}L.{6}L.{6}L"],
    "EF-hand": ["D[^W][DNS][^ILVFYW][DENSTG][DNQGHRK][^GP][LIVMC][DENQSTAGC].{2}[DE][LIVMFYW]"],
    "RGD": ["RGD"],
    "KDEL": ["KDEL$"],
    "signal peptide": [
        f"^M[KRNQST]{{{n}}}[AVLIF]{{{h}}}[GSTQ]{{{c}}}A[GSTQ]A"
        for n in range(2, 6)
        for h in range(8, 13)
        for c in (2, 3)
    ],
    "transmembrane helix": ["(?<![AFGILMVW])[AFGILMVW]{17,}(?![AFGILMVW])"],
    "polyQ": ["(?<!Q)Q{7,}(?!Q)"],
    "polyS": ["(?<!S)S{7,}(?!S)"],
    "acidic run": ["(?<![DE])[DE]{9,}(?![DE])"],
}


@pytest.fixture(scope="module")
def planted() -> Planted:
    return planted_proteome(800, seed=0)


@pytest.fixture(scope="module")
def texts(planted: Planted) -> list[str]:
    return planted.sequences["text"].to_pylist()


def of(table: Any, label: str) -> list[dict[str, Any]]:
    return [row for row in table.to_pylist() if row["label"] == label]


@pytest.mark.parametrize("label", BY_HAND)
def test_the_annotations_are_exactly_the_matches(planted: Planted, texts: list[str], label: str) -> None:
    found = set()
    for expression in BY_HAND[label]:
        overlapping = re.compile(f"(?=({expression}))")
        for row, text in enumerate(texts):
            found |= {(row, m.start(), m.start() + len(m[1])) for m in overlapping.finditer(text)}
    annotated = {(a["sequence"], a["start"], a["end"]) for a in of(planted.annotations, label)}
    assert annotated == found
    assert len({a["instance"] for a in of(planted.annotations, label)}) == len(annotated) >= 40


def test_every_element_is_defined_by_hand_or_tested_by_itself() -> None:
    assert {e.name for e in ELEMENTS} - {*BY_HAND} == {"coiled coil", "disulfide bond"}
    assert {e.name for e in ELEMENTS if e.exact} == {*BY_HAND}
    assert {p[0] for a in ARCHITECTURES for p in a.parts} == {e.name for e in ELEMENTS}


def test_coiled_coils_are_heptads_with_a_hydrophobic_core(planted: Planted, texts: list[str]) -> None:
    rows = of(planted.annotations, "coiled coil")
    assert len(rows) >= 40
    for a in rows:
        assert re.fullmatch(
            "([AILV][AEKQRS]{2}[AILM][EK][ADEKNQRS][EKQR]){4,7}", texts[a["sequence"]][a["start"] : a["end"]]
        )


def test_disulfide_bonds_join_two_cysteines_at_variable_distance(planted: Planted, texts: list[str]) -> None:
    bonds = defaultdict(list)
    for a in of(planted.annotations, "disulfide bond"):
        assert a["end"] == a["start"] + 1
        assert texts[a["sequence"]][a["start"]] == "C"
        bonds[a["instance"]].append((a["sequence"], a["start"]))
    assert all(len(ends) == 2 and ends[0][0] == ends[1][0] for ends in bonds.values())
    distances = [ends[1][1] - ends[0][1] for ends in bonds.values()]
    assert min(distances) >= 6
    assert max(distances) <= 41
    assert len(set(distances)) > 20


def test_terminal_elements_stand_at_their_terminus(planted: Planted, texts: list[str]) -> None:
    assert {a["start"] for a in of(planted.annotations, "signal peptide")} == {0}
    assert {len(texts[a["sequence"]]) - a["end"] for a in of(planted.annotations, "KDEL")} == {0}


def test_decoys_are_not_annotated(planted: Planted, texts: list[str]) -> None:
    decoys, kinds = planted.decoys.to_pylist(), defaultdict(set)
    covered = [np.zeros(len(t), bool) for t in texts]
    for a in planted.annotations.to_pylist():
        covered[a["sequence"]][a["start"] : a["end"]] = True
    for d in decoys:
        assert not covered[d["sequence"]][d["start"] : d["end"]].any()
        kinds[d["label"]].add(d["kind"])
    assert {e.name for e in ELEMENTS} == set(kinds)
    assert kinds["KDEL"] == kinds["signal peptide"] == {"shuffled", "near-miss", "misplaced"}
    inside = [d for d in decoys if (d["label"], d["kind"]) == ("KDEL", "misplaced")]
    assert inside
    assert all(texts[d["sequence"]][d["start"] : d["end"]] == "KDEL" for d in inside)


def test_near_misses_differ_from_the_pattern_in_one_place(planted: Planted, texts: list[str]) -> None:
    wrong = {"RGD": "RG[^D]|[^R]GD", "P-loop": "[AG].{4}(G[^K]|[^G]K)[ST]", "KDEL": "K(D[^E]|[^D]E)L"}
    for d in planted.decoys.to_pylist():
        if d["kind"] == "near-miss" and d["label"] in wrong:
            assert re.fullmatch(wrong[d["label"]], texts[d["sequence"]][d["start"] : d["end"]])


def test_tables_keep_the_corpus_contract(planted: Planted, texts: list[str]) -> None:
    sequences, names = planted.sequences, planted.sequences.column_names
    assert names[:4] == ["id", "text", "length", "group"]
    assert {"entry_name", "protein_names", "gene_names", "organism", "protein_families"} < {*names}
    assert {"go_ids", "go_terms", "keywords", "function", "family_identity"} < {*names}
    assert planted.annotations.column_names == ["sequence", "start", "end", "type", "label", "instance"]
    assert [len(t) for t in texts] == sequences["length"].to_pylist()
    assert all(60 <= len(t) <= 300 and t[0] == "M" and not set(t) - set("ACDEFGHIKLMNPQRSTVWY") for t in texts)
    for column in ("id", "entry_name", "gene_names", "text"):
        assert len(set(sequences[column].to_pylist())) == len(texts)
    rows = planted.annotations.to_pylist()
    assert all(0 <= a["start"] < a["end"] <= len(texts[a["sequence"]]) for a in rows)
    assert [a["sequence"] for a in rows] == sorted(a["sequence"] for a in rows)


def test_instances_do_not_overlap(planted: Planted) -> None:
    spans = defaultdict(list)
    for a in planted.annotations.to_pylist():
        spans[a["sequence"]].append((a["start"], a["end"]))
    for places in spans.values():
        ordered = sorted(places)
        assert all(left[1] < right[0] for left, right in pairwise(ordered))


def test_metadata_follow_from_what_was_planted(planted: Planted) -> None:
    labels = defaultdict(set)
    for a in planted.annotations.to_pylist():
        labels[a["sequence"]].add(a["label"])
    terms = {
        "GO:0005524": "P-loop", "GO:0008270": "C2H2 zinc finger", "GO:0005509": "EF-hand",
        "GO:0016020": "transmembrane helix", "GO:0005178": "RGD",
        "GO:0005788": "KDEL", "GO:0005576": "signal peptide", "GO:0046983": "leucine zipper",
    }  # fmt: skip
    for row, protein in enumerate(planted.sequences.to_pylist()):
        ids = set(filter(None, protein["go_ids"].split("; ")))
        assert {label for term, label in terms.items() if term in ids} == labels[row] & {*terms.values()}
        assert [t[-11:-1] for t in protein["go_terms"].split("; ")] == (protein["go_ids"].split("; ") if ids else [""])
        assert bool(protein["keywords"]) == bool(protein["function"]) == bool(labels[row])


def test_homologues_share_a_group_and_their_elements(planted: Planted) -> None:
    labels, families = defaultdict(list), defaultdict(list)
    for a in planted.annotations.to_pylist():
        labels[a["sequence"]].append(a["label"])
    for row, protein in enumerate(planted.sequences.to_pylist()):
        families[protein["group"]].append((protein["family_identity"], tuple(labels[row]), protein["protein_families"]))
    sizes = [len(f) for f in families.values()]
    assert max(sizes) == 8
    assert sum(s for s in sizes if s > 1) > 0.5 * sum(sizes)
    for family in families.values():
        assert len(set(family)) == 1
        assert len(family) == 1 or family[0][0] in IDENTITIES


def identity(a: str, b: str) -> float:
    """Identical residues of the best global alignment (match 2, mismatch -1, gap -2) over its columns."""
    unit = 1000  # one number holds the score and, as remainder, the count of identical residues
    row = [-2 * unit * j for j in range(len(b) + 1)]
    for i, x in enumerate(a, 1):
        last, row[0] = row[0], -2 * unit * i
        for j, y in enumerate(b, 1):
            diagonal = last + (2 * unit + 1 if x == y else -unit)
            last = row[j]
            row[j] = max(diagonal, last - 2 * unit, row[j - 1] - 2 * unit)
    score, same = divmod(row[-1], unit)
    paired = (score - 3 * same + 2 * (len(a) + len(b))) / 3  # score = 2 same - (paired - same) - 2 gaps
    return same / (len(a) + len(b) - paired)


def test_identity_counts_what_two_hand_aligned_sequences_share() -> None:
    assert identity("ACDEFGHIKL", "ACDEFGHIKL") == 1
    assert identity("ACDEFGHIKL", "ACDEYGHIKL") == 0.9
    assert identity("ACDEFGHIKL", "ACDEGHIKL") == 0.9  # one deleted
    assert identity("ACDE", "FGHI") == 0


@pytest.mark.parametrize("design", IDENTITIES)
def test_families_have_their_design_identity(planted: Planted, design: float) -> None:
    families = defaultdict(list)
    for protein in planted.sequences.to_pylist():
        if protein["family_identity"] == design:
            families[protein["group"]].append(protein["text"])
    pairs = [next(combinations(f, 2)) for f in families.values() if len(f) > 1][:16]
    measured = [identity(a, b) for a, b in pairs]
    assert len(measured) == 16
    assert np.mean(measured) == pytest.approx(design, abs=0.05)


def test_unrelated_proteins_share_little(planted: Planted, texts: list[str]) -> None:
    groups = planted.sequences["group"].to_pylist()
    pairs = [(i, i + 1) for i in range(0, 24, 2) if groups[i] != groups[i + 1]]
    assert np.mean([identity(texts[i], texts[j]) for i, j in pairs]) < 0.28


def test_the_seed_decides_everything() -> None:
    first, again, other = planted_proteome(60, 3), planted_proteome(60, 3), planted_proteome(60, 4)
    assert first.sequences.equals(again.sequences)
    assert first.annotations.equals(again.annotations)
    assert first.decoys.equals(again.decoys)
    assert not {*first.sequences["text"].to_pylist()} & {*other.sequences["text"].to_pylist()}


@pytest.mark.parametrize("n", [1, 7])
def test_as_many_proteins_as_asked(n: int) -> None:
    assert planted_proteome(n, 0).sequences.num_rows == n


def test_no_proteins_is_an_error() -> None:
    with pytest.raises(UsageError, match="n_sequences is 0"):
        planted_proteome(0)


def test_reading_a_pattern() -> None:
    assert read_pattern("<M-[ST](2,5)-A(3)>") == [("M", 1, 1), ("ST", 2, 5), ("A", 3, 3)]
    assert read_pattern("{ACDEFGHIKLMNPQRS}-Q(7,)") == [("TVWY", 1, 1), ("Q", 7, None)]
    with pytest.raises(AssertionError, match="not PROSITE"):
        read_pattern("A-[st]")


def test_regexes_find_matches_that_hide_behind_another() -> None:
    ends = {m.end() for r in regexes("C-x(1,2)-H") if (m := r.match(b"CHHH"))}
    assert ends == {3, 4}
    assert [bool(r.search(b"AQQQ")) for p in ("Q(3,)", "Q(2,)", "Q(4,)") for r in regexes(p)] == [True, True, False]
