from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from autointerp.corpus.entries import Entry, Source, Tally
from autointerp.corpus.fasta import parse_header, read_fasta
from autointerp.errors import FormatError


def read(path: Path) -> list[Entry]:
    return list(read_fasta(Source(str(path)), Tally()))


def test_uniprot_header() -> None:
    header = "sp|P13445-2|RPOS_ECOLI RNA polymerase OS=Escherichia coli (strain K12) OX=83333 GN=rpoS PE=1 SV=3"
    assert parse_header(header, 0) == ("P13445-2", {
        "entry_name": "RPOS_ECOLI", "protein_names": "RNA polymerase", "reviewed": "reviewed",
        "organism": "Escherichia coli (strain K12)", "organism_id": "83333", "gene_names": "rpoS",
    })  # fmt: skip
    no_gene = parse_header("tr|A0A|A0A_X Thing OS=X y OX=1 PE=4 SV=1", 0)[1]
    assert (no_gene["organism"], no_gene["reviewed"], "gene_names" in no_gene) == ("X y", "unreviewed", False)


def test_other_headers() -> None:
    uniref = "UniRef50_A0A5 peptidylprolyl isomerase n=1 Tax=Tri tibet TaxID=157 RepID=A0A5_9TELE"
    assert parse_header(uniref, 0) == (
        "UniRef50_A0A5", {"protein_names": "peptidylprolyl isomerase", "organism": "Tri tibet", "organism_id": "157"},
    )  # fmt: skip
    assert parse_header("seq7 some words, GN=1", 0) == ("seq7", {"description": "some words, GN=1"})
    assert parse_header("alone", 0) == ("alone", {"description": None})
    assert parse_header("", 4) == ("4", {"description": None})


def test_records(tmp_path: Path) -> None:
    path = tmp_path / "a.fasta"
    path.write_bytes(b"\n>a x\r\nMK V\r\n\r\nAC\r\n>b\n>c\nW")
    assert [(e.id, e.text) for e in read(path)] == [("a", "MKVAC"), ("b", ""), ("c", "W")]
    path.write_text("MKV\n>a\nMK\n")
    with pytest.raises(FormatError, match="beginning with '>'; found 'MKV'"):
        read(path)


def test_ecoli_against_splitting_the_file(data: Path) -> None:
    path = data / "proteins" / "ecoli_uniprot.fasta.gz"
    with gzip.open(path, "rt") as handle:
        records = [r.partition("\n") for r in handle.read().split("\n>")]
    entries = read(path)
    assert len(entries) == 9448
    assert [e.text for e in entries] == [body.replace("\n", "") for _, _, body in records]
    assert [e.id for e in entries] == [head.split("|")[1] for head, _, _ in records]
    assert [e.metadata.get("gene_names") for e in entries] == [
        head.partition(" GN=")[2].partition(" PE=")[0] or None for head, _, _ in records
    ]
