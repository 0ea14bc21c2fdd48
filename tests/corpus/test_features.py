from __future__ import annotations

import pytest

from autointerp.corpus.features import feature_type, read_features


def read(type_: str, value: str, length: int = 100) -> tuple[list[tuple], list[str]]:
    skipped: list[str] = []
    return [tuple(a) for a in read_features(type_, value, length, 5, skipped)], skipped


def test_labels_come_from_notes_up_to_the_semicolon() -> None:
    value = 'ACT_SITE 29; ACT_SITE 88; /note="Schiff-base; via pyruvic acid"; /evidence="ECO:1"; ACT_SITE 100'
    rows, skipped = read("Active site", value)
    assert rows == [
        (28, 29, "Active site", "any", 5),
        (87, 88, "Active site", "Schiff-base", 6),
        (99, 100, "Active site", "any", 7),
    ]
    assert not skipped


def test_keys_and_quotes_inside_notes_are_text() -> None:
    value = 'DOMAIN 3..49; /note="like ""DOMAIN 5..6; x"", /note="; REGION'
    rows, skipped = read("Domain", value)
    assert rows == [(2, 49, "Domain", 'like "DOMAIN 5..6', 5)]
    assert skipped == ["unreadable feature text"]


def test_binding_sites_are_named_by_ligand() -> None:
    value = 'BINDING 7..9; /ligand="FAD"; /ligand_id="ChEBI:1"; /note="other"; BINDING 10; /note="Zinc; in chain A"'
    assert [r[3] for r in read("Binding site", value)[0]] == ["FAD", "Zinc"]


def test_linked_residues_share_an_instance() -> None:
    rows, _ = read("Disulfide bond", 'DISULFID 23..75; DISULFID 30; /note="Interchain"')
    assert [(r[0], r[1], r[4]) for r in rows] == [(22, 23, 5), (74, 75, 5), (29, 30, 6)]
    assert [(r[0], r[1]) for r in read("Cross-link", "CROSSLNK 4..8")[0]] == [(3, 4), (7, 8)]
    assert [(r[0], r[1]) for r in read("Helix", "HELIX 4..8")[0]] == [(3, 8)]


@pytest.mark.parametrize(
    ("position", "reason"),
    [
        ("<1..20", "fuzzy position (< or >)"),
        ("1..>20", "fuzzy position (< or >)"),
        ("?..20", "unknown position (?)"),
        ("?", "unknown position (?)"),
        ("P12345-2:3..10", "position on another isoform"),
        ("90..101", "past the end of the sequence"),
        ("0..3", "unreadable position"),
        ("9..3", "unreadable position"),
        ("about 3", "unreadable position"),
    ],
)
def test_positions_that_cannot_be_used_are_told(position: str, reason: str) -> None:
    rows, skipped = read("Region", f'REGION {position}; /note="x"; REGION 1..2')
    assert [r[:2] for r in rows] == [(0, 2)]
    assert skipped == [reason]


def test_chains_are_no_labels() -> None:
    assert read("Chain", 'CHAIN 1..9; /note="A; B"; CHAIN 10..20') == ([], ["not a label: Chain"] * 2)


def test_columns() -> None:
    assert [feature_type(c) for c in ("Domain [FT]", "Zinc finger", "beta strand", "Chain")] == [
        "Domain", "Zinc finger", "Beta strand", "Chain",
    ]  # fmt: skip
    assert [feature_type(c) for c in ("Domain [CC]", "Sequence", "Keywords")] == [None] * 3
