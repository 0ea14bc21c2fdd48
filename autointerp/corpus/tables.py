"""Entries to Arrow tables, a chunk at a time, so that a corpus of millions never stands in Python objects."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any

from autointerp.corpus.corpus import annotation_schema
from autointerp.corpus.entries import Entry, Tally

if TYPE_CHECKING:
    import pyarrow as pa

_CHUNK = 4096  # entries held as Python objects before they become Arrow columns


def entry_tables(entries: Iterable[Entry], tally: Tally) -> tuple[pa.Table, pa.Table]:
    """Tables of sequences (without groups) and of annotations; instances are numbered through the corpus.

    A metadata column holds one type: where entries disagree, their values become words.
    """
    import pyarrow as pa

    sequences: list[pa.Table] = []
    annotations: list[pa.Table] = []
    row = instance = 0
    entries = iter(entries)
    while (chunk := list(islice(entries, _CHUNK))) or not sequences:
        sequences.append(_sequence_table(chunk))
        table, instance = _annotation_table(chunk, row, instance)
        annotations.append(table)
        row += len(chunk)
        for entry in chunk:
            tally.annotations.update(entry.skipped)
    return _concatenated(sequences), pa.concat_tables(annotations)


def _annotation_table(entries: list[Entry], row: int, instance: int) -> tuple[pa.Table, int]:
    """Annotations of the entries from ``row`` on, and the next free instance."""
    import pyarrow as pa

    rows = []
    for i, entry in enumerate(entries, row):
        rows += [(i, a.start, a.end, a.type, a.label, instance + a.instance) for a in entry.annotations]
        instance += 1 + max((a.instance for a in entry.annotations), default=-1)
    schema = annotation_schema()
    columns = zip(*rows, strict=True) if rows else ((),) * len(schema)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.table(arrays, schema=schema), instance


def _sequence_table(entries: list[Entry]) -> pa.Table:
    import pyarrow as pa

    names = dict.fromkeys(name for entry in entries for name in entry.metadata)
    columns: dict[str, Any] = {
        "id": pa.array([e.id for e in entries], pa.string()),
        "text": pa.array([e.text for e in entries], pa.large_string()),
    }
    for name in names:
        values = [e.metadata.get(name) for e in entries]
        try:
            columns[name] = pa.array(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):  # values of several types: as words
            columns[name] = pa.array([None if v is None else str(v) for v in values], pa.string())
    return pa.table(columns)


def _concatenated(tables: list[pa.Table]) -> pa.Table:
    """Chunks one below the other; a column whose chunks differ in type becomes words."""
    import pyarrow as pa

    kinds: dict[str, set[pa.DataType]] = {}
    for field in (field for table in tables for field in table.schema):
        kinds.setdefault(field.name, set()).add(field.type)
    schema = pa.schema(
        [(name, _common({t for t in types if not pa.types.is_null(t)})) for name, types in kinds.items()]
    )
    filled = []
    for table in tables:
        columns = [
            table[f.name].cast(f.type, safe=False) if f.name in table.column_names else pa.nulls(table.num_rows, f.type)
            for f in schema
        ]
        filled.append(pa.table(columns, schema=schema))
    return pa.concat_tables(filled)


def _common(types: set[pa.DataType]) -> pa.DataType:
    import pyarrow as pa

    if len(types) == 1:
        return next(iter(types))
    return pa.float64() if types and types <= {pa.int64(), pa.float64()} else pa.string()
