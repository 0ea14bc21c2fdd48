from __future__ import annotations

import csv
import gzip
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from autointerp.corpus.entries import Entry, Source, Tally
from autointerp.corpus.uniprot_tsv import read_tsv
from autointerp.errors import FormatError


def read(path: Path) -> tuple[list[Entry], Tally]:
    tally = Tally()
    return list(read_tsv(Source(str(path)), tally)), tally


def rows(path: Path) -> Iterator[dict[str, str]]:
    csv.field_size_limit(1 << 30)
    with gzip.open(path, "rt", newline="") as handle:
        yield from csv.DictReader(handle, delimiter="\t")


def test_a_small_table(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text(
        "Entry\tGene Names\tLength\tSequence\tDomain [FT]\tDomain [CC]\tFunction [CC]\tGene Ontology IDs"
        "\tOrganism (ID)\n"
        'P1\tX Y\t4\tMKVC\t"DOMAIN 1..3; /note=""F-box"""\t\t"FUNCTION: ""q""."\tGO:1; GO:2\t9606\n'
        "P2\t\t2\tMK\tDOMAIN 1..9\tDOMAIN: yes\t\t\t\n"
        "\n"
        "P3\tshort\n"
    )
    (one, two), tally = read(path)
    assert (one.id, one.text) == ("P1", "MKVC")
    assert one.metadata == {
        "gene_names": "X Y",
        "domain": None,
        "function": 'FUNCTION: "q".',
        "go_ids": "GO:1; GO:2",
        "organism_id": "9606",
    }
    assert [tuple(a) for a in one.annotations] == [(0, 3, "Domain", "F-box", 0)]
    assert (two.annotations, two.skipped) == ([], ["past the end of the sequence"])
    assert (tally.read, tally.skipped) == (3, {"row with too few or too many cells": 1})


def test_no_sequence_column(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("Entry\tGene Names\nP1\tX\n")
    with pytest.raises(FormatError, match="column Sequence; found columns Entry, Gene Names"):
        read(path)
    path.write_text("")
    with pytest.raises(FormatError, match="an empty file"):
        read(path)


def test_yeast_cells_are_what_the_csv_module_reads(data: Path) -> None:
    path = data / "proteins" / "yeast_swissprot.tsv.gz"
    entries, tally = read(path)
    assert tally.read == len(entries) == 6750
    for entry, row in zip(entries, rows(path), strict=True):
        assert (entry.id, entry.text) == (row["Entry"], row["Sequence"])
        expected = [row["Protein names"], row["Gene Names"], row["Gene Ontology IDs"], row["EC number"]]
        assert [entry.metadata[n] or "" for n in ("protein_names", "gene_names", "go_ids", "ec_number")] == expected
        aspects = [
            row[f"Gene Ontology ({n})"] for n in ("biological process", "molecular function", "cellular component")
        ]
        assert (entry.metadata["go_terms"] or "") == "; ".join(a for a in aspects if a)


def test_yeast_features_are_complete(data: Path) -> None:
    """Each feature is read or counted as skipped: against counting keys outside quotes, column by column."""
    path = data / "proteins" / "yeast_swissprot.tsv.gz"
    entries, _ = read(path)
    read_, skipped = Counter(), Counter()
    for entry in entries:
        read_.update(type_ for type_, _ in {(a.type, a.instance) for a in entry.annotations})
        skipped.update(entry.skipped)
    counted: Counter[str] = Counter()
    table = list(rows(path))
    for column in table[0]:
        cells = [re.sub(r'"[^"]*"', "", row[column]) for row in table if row[column]]
        if all(re.match(r"[A-Z][A-Z_]+ [\d?<>]", cell) for cell in cells):
            n = sum(len(re.findall(r"(?:^|; )[A-Z][A-Z_]+ ", cell)) for cell in cells)
            counted[column.removesuffix(" [FT]")] = n
    assert read_ + Counter({k.removeprefix("not a label: "): n for k, n in skipped.items()}) == counted
    # 85,419 in the data's README counts four words of other columns, such as "RNA 3'-terminal …", as keys.
    assert counted.total() == 85_415
    assert {k.removeprefix("not a label: ") for k in skipped} == {"Chain", "Peptide", "Initiator methionine"}


def test_yeast_features_sit_on_their_residues(data: Path) -> None:
    entries, _ = read(data / "proteins" / "yeast_swissprot.tsv.gz")
    residues = {
        "Phosphoserine": "S", "Phosphothreonine": "T", "Phosphotyrosine": "Y",
        "N-linked (GlcNAc...) asparagine": "N", "GPI-anchor amidated glycine": "G",
    }  # fmt: skip
    types = ("Modified residue", "Glycosylation", "Lipidation")
    seen: Counter[str] = Counter()
    for entry in entries:
        for a in entry.annotations:
            residue = "C" if a.type == "Disulfide bond" else residues.get(a.label if a.type in types else "")
            if residue:
                assert entry.text[a.start : a.end] == residue
                seen[residue] += 1
    assert set(seen) == set("STYNGC")
    assert seen["S"] > 3000
