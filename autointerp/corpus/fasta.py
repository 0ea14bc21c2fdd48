"""FASTA, gzipped or not; UniProt and UniRef headers give metadata."""

from __future__ import annotations

import re
from collections.abc import Iterator

from autointerp.corpus.entries import Entry, Source, Tally, open_text
from autointerp.errors import FormatError

_UNIPROT = re.compile(r"(sp|tr)\|([^|\s]+)\|(\S*)\s*(.*)")
# The fields of UniProt and UniRef headers, each up to the next field or the end.
_FIELD = re.compile(r"\s(OS|OX|GN|PE|SV|n|Tax|TaxID|RepID)=(.*?)(?=\s(?:OS|OX|GN|PE|SV|n|Tax|TaxID|RepID)=|$)")
_NAMES = {"OS": "organism", "OX": "organism_id", "GN": "gene_names", "Tax": "organism", "TaxID": "organism_id"}
_REVIEWED = {"sp": "reviewed", "tr": "unreviewed"}


def read_fasta(source: Source, tally: Tally) -> Iterator[Entry]:
    """Yield the records of a FASTA file.

    Raises
    ------
    FormatError : text before the first ``>``.
    """
    header: str | None = None
    lines: list[str] = []
    with open_text(source.location) as handle:
        for line in handle:
            if line.startswith(">"):
                if header is not None:
                    yield _entry(header, lines, tally)
                header, lines = line[1:].strip(), []
            elif header is not None:
                lines.append(line)
            elif line.strip():
                raise FormatError(source.location, "FASTA, beginning with '>'", repr(line[:40].strip()))
    if header is not None:
        yield _entry(header, lines, tally)


def _entry(header: str, lines: list[str], tally: Tally) -> Entry:
    tally.read += 1
    text = "".join("".join(lines).split())
    id_, metadata = parse_header(header, tally.read - 1)
    return Entry(id_, text, metadata)


def parse_header(header: str, number: int) -> tuple[str, dict[str, str | None]]:
    """Identifier and metadata of a FASTA header (without ``>``); ``number`` names a record without identifier."""
    fields = {_NAMES[k]: v.strip() for k, v in _FIELD.findall(header) if k in _NAMES}
    name = _FIELD.sub("", header).strip()
    if match := _UNIPROT.match(name):
        kind, id_, entry_name, protein = match.groups()
        return id_, {"entry_name": entry_name, "protein_names": protein, "reviewed": _REVIEWED[kind]} | fields
    id_, _, description = name.partition(" ")
    if id_.startswith("UniRef"):
        return id_, {"protein_names": description or None} | fields
    return id_ or str(number), {"description": header.partition(" ")[2].strip() or None}
