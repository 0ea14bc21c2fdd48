"""JSON lines: one object a line, one of its keys the text; the others become metadata."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from autointerp.corpus.entries import Entry, Source, Tally, metadata_name, open_text
from autointerp.errors import FormatError, UsageError


def read_jsonl(source: Source, tally: Tally) -> Iterator[Entry]:
    """Yield one entry a line; a string or integer under ``id`` is its identifier, else its number.

    Raises
    ------
    FormatError : a line is not a JSON object (the message says which).
    UsageError : the first object has no key ``source.column``.
    """
    import orjson

    with open_text(source.location) as handle:
        for number, line in enumerate(handle, 1):
            if not line.strip():
                continue
            try:
                row = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                raise FormatError(source.location, "a JSON object on every line", f"line {number}: {error}") from None
            if not isinstance(row, dict):
                raise FormatError(source.location, "a JSON object on every line", f"line {number}: {line[:40].strip()}")
            if not tally.read:
                check_column(source, row)
            yield row_entry(row, source.column, tally)


def check_column(source: Source, columns: Mapping[str, Any] | list[str]) -> None:
    """Raise :class:`UsageError` unless ``source.column`` is one of ``columns``."""
    if source.column not in columns:
        raise UsageError(
            f"{source.location} has no column {source.column!r}; --column takes one of: {', '.join(columns)}"
        )


def row_entry(row: Mapping[str, Any], column: str, tally: Tally) -> Entry:
    """An entry from a row of named values; a text that is not a string counts as none."""
    tally.read += 1
    text, id_ = row.get(column), row.get("id")
    own_id = column != "id" and isinstance(id_, str | int)
    metadata = {metadata_name(k): _scalar(v) for k, v in row.items() if k != column and not (own_id and k == "id")}
    return Entry(str(id_) if own_id else str(tally.read - 1), text if isinstance(text, str) else "", metadata)


def _scalar(value: Any) -> Any:
    """A value that an Arrow column can hold: lists of words joined with ``"; "``, other structures as JSON."""
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, list) and all(isinstance(v, str | int | float) for v in value):
        return "; ".join(map(str, value))
    import orjson

    return orjson.dumps(value, default=str).decode()
