from __future__ import annotations

from pathlib import Path

import pytest

from autointerp.corpus.entries import Entry, Source, Tally
from autointerp.corpus.jsonl import read_jsonl
from autointerp.errors import FormatError, UsageError


def read(path: Path, column: str = "text") -> list[Entry]:
    return list(read_jsonl(Source(str(path), column=column), Tally()))


def test_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(
        '{"body": "one", "id": "x", "Group": 3, "tags": ["a", 1], "nested": {"k": [1]}}\n\n'
        '{"body": "two", "n": 2.5}\n{"body": 7, "id": 12}\n'
    )
    one, two, three = read(path, "body")
    assert (one.id, one.text) == ("x", "one")
    assert one.metadata == {"source_group": 3, "tags": "a; 1", "nested": '{"k":[1]}'}
    assert (two.id, two.metadata) == ("1", {"n": 2.5})
    assert (three.id, three.text) == ("12", "")


def test_bad_files(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"body": "x", "tag": 1}\n')
    with pytest.raises(UsageError, match="no column 'text'; --column takes one of: body, tag"):
        read(path)
    path.write_text('{"text": "x"}\n{"text": \n')
    with pytest.raises(FormatError, match="line 2"):
        read(path)
    path.write_text("[1]\n")
    with pytest.raises(FormatError, match="a JSON object on every line; found line 1"):
        read(path)
