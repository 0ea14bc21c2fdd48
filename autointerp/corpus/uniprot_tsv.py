"""UniProtKB tables (``.tsv[.gz]``): metadata and feature columns."""

from __future__ import annotations

from collections.abc import Iterator

from autointerp.corpus.entries import Entry, Source, Tally, metadata_name, open_text
from autointerp.corpus.features import feature_type, read_features
from autointerp.errors import FormatError

_GO = ("biological_process", "molecular_function", "cellular_component")
_ALIASES = {
    "gene_ontology_ids": "go_ids",
    "gene_ontology_go": "go_terms",
    **{f"gene_ontology_{n}": f"go_{n}" for n in _GO},
}
# Made of their parts where a table holds only those.
_JOINED = {"go_terms": [f"go_{n}" for n in _GO], "go_ids": [f"go_ids_{n}" for n in _GO]}
ID_COLUMNS = ("entry", "accession", "source_id")


def read_tsv(source: Source, tally: Tally) -> Iterator[Entry]:
    """Yield the entries of a UniProt table.

    Metadata keeps UniProt's text under snake-case names; an empty cell is None. ``Length`` is not kept: the corpus
    counts. Cells may be quoted, with doubled quotes inside.

    Raises
    ------
    FormatError : no sequence column; the message says which columns there are.
    """
    with open_text(source.location) as handle:
        header = cells_of(handle.readline())
        names = [_name(column) for column in header]
        if "sequence" not in names:
            found = f"columns {', '.join(header)}" if any(header) else "an empty file"
            raise FormatError(source.location, "a UniProt table with a column Sequence", found)
        text_at = names.index("sequence")
        id_at = next((names.index(n) for n in ID_COLUMNS if n in names), None)
        types = {i: t for i, column in enumerate(header) if (t := feature_type(column))}
        kept = {i: n for i, n in enumerate(names) if i not in {text_at, id_at, *types} and n != "source_length"}
        joined = {n: parts for n, parts in _JOINED.items() if n not in names and any(p in names for p in parts)}
        for number, line in enumerate(handle):
            if not line.strip():
                continue
            tally.read += 1
            cells = cells_of(line)
            if len(cells) != len(header):
                tally.skipped["row with too few or too many cells"] += 1
                continue
            entry = Entry(cells[id_at] if id_at is not None else str(number), cells[text_at].strip())
            entry.metadata = {name: cells[i].strip() or None for i, name in kept.items()}
            for name, parts in joined.items():
                values = (entry.metadata.get(p) for p in parts)
                entry.metadata[name] = "; ".join(v for v in values if v) or None
            if entry.text:
                _annotate(entry, [(t, cells[i]) for i, t in types.items() if cells[i]])
            yield entry


def _annotate(entry: Entry, features: list[tuple[str, str]]) -> None:
    length = len(entry.text.rstrip("*"))
    for type_, value in features:
        first = entry.annotations[-1].instance + 1 if entry.annotations else 0
        entry.annotations += read_features(type_, value, length, first, entry.skipped)


def _name(column: str) -> str:
    name = metadata_name(column)
    return _ALIASES.get(name, name)


def cells_of(line: str) -> list[str]:
    """Cells of a line. UniProt's content holds neither tabs nor line breaks, so quotes never span cells."""
    cells = line.rstrip("\n").split("\t")
    return [c[1:-1].replace('""', '"') if len(c) > 1 and c[0] == c[-1] == '"' else c for c in cells]
