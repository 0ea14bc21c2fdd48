"""Plain text: documents between separators or blank lines."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TextIO

from autointerp.corpus.entries import Entry, Source, Tally, open_text

_log = logging.getLogger(__name__)
END_OF_TEXT = "<|endoftext|>"
BLANK = "blank"
_CHUNK = 1 << 20


def read_text(source: Source, tally: Tally) -> Iterator[Entry]:
    """Yield one entry a document, without the white space around it; its number is its identifier.

    Without ``source.separator``, documents end at ``<|endoftext|>`` if the first MiB holds one, else at blank lines.
    """
    with open_text(source.location) as handle:
        head = handle.read(_CHUNK)
        separator = source.separator or (END_OF_TEXT if END_OF_TEXT in head else BLANK)
        if not source.separator:
            _log.info("%s: documents end at %s", source.location, "blank lines" if separator == BLANK else separator)
        tally.facts["separator"] = separator
        chunks = _chunks(head, handle)
        documents = _paragraphs(chunks) if separator == BLANK else _split(chunks, separator)
        for document in documents:
            if document := document.strip():
                tally.read += 1
                yield Entry(str(tally.read - 1), document)


def _chunks(head: str, handle: TextIO) -> Iterator[str]:
    while head:
        yield head
        head = handle.read(_CHUNK)


def _split(chunks: Iterator[str], separator: str) -> Iterator[str]:
    rest = ""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(separator)
        yield from whole
    yield rest


def _paragraphs(chunks: Iterator[str]) -> Iterator[str]:
    lines: list[str] = []
    for line in _split(chunks, "\n"):
        if line.strip():
            lines.append(line)
        elif lines:
            yield "\n".join(lines)
            lines = []
    yield "\n".join(lines)
