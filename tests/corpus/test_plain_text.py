from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest

from autointerp.corpus.entries import Source, Tally
from autointerp.corpus.plain_text import read_text
from autointerp.errors import FormatError, UsageError


def read(path: Path, separator: str | None = None) -> tuple[list[str], Tally]:
    tally = Tally()
    return [e.text for e in read_text(Source(str(path), separator=separator), tally)], tally


@pytest.mark.parametrize("chunk", [1, 3, 1 << 20])
def test_separators_across_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr("autointerp.corpus.plain_text._CHUNK", chunk)
    path = tmp_path / "a.txt"
    path.write_text("one\ntwo<|endoftext|>\n  \n<|endoftext|>three\n\nfour")
    assert read(path, "<|endoftext|>")[0] == ["one\ntwo", "three\n\nfour"]
    assert read(path, "blank")[0] == ["one\ntwo<|endoftext|>", "<|endoftext|>three", "four"]
    assert read(path, "t")[0][:2] == ["one", "wo<|endof"]


def test_the_separator_is_found_and_told(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one\n\ntwo")
    assert read(path)[0] == ["one", "two"]
    assert read(path)[1].facts == {"separator": "blank"}
    path.write_text("one\n\ntwo<|endoftext|>three")
    assert read(path)[0] == ["one\n\ntwo", "three"]


def test_real_text(data: Path) -> None:
    path = data / "text" / "tinystories_2MiB.txt"
    texts, tally = read(path)
    assert texts == [t.strip() for t in path.read_text().split("<|endoftext|>") if t.strip()]
    assert len(texts) == tally.read == 2317
    path = data / "text" / "wikitext2_valid.txt"
    assert read(path)[0] == [t.strip() for t in re.split(r"\n\s*\n", path.read_text()) if t.strip()]


def test_damaged_files(tmp_path: Path) -> None:
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(b"one\n\ntwo" * 1000)[:-12])
    with pytest.raises(FormatError, match="truncated or damaged"):
        read(path)
    path.write_bytes(b"caf\xe9")
    with pytest.raises(FormatError, match="UTF-8 text; found byte 0xe9"):
        read(path)
    with pytest.raises(UsageError, match="no such file"):
        read(tmp_path / "absent")
    with pytest.raises(UsageError, match="is a folder"):
        read(tmp_path)
