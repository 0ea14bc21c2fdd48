from __future__ import annotations

import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from autointerp.corpus.entries import Entry, Source, Tally
from autointerp.corpus.huggingface import read_huggingface
from autointerp.errors import MissingDependency, UsageError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set of 200 rows in a folder, and a cache that is thrown away."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "set").mkdir()
    rows = pa.table({"story": [f"story {i}" for i in range(200)], "id": range(200), "rating": [0.5] * 200})
    pq.write_table(rows, tmp_path / "set" / "train-00000-of-00001.parquet")
    return tmp_path / "set"


def read(folder: Path, **options: str) -> list[Entry]:
    return list(read_huggingface(Source(f"hf:{folder}", **options), Tally()))


def test_rows_of_a_split(folder: Path) -> None:
    entries = read(folder, column="story", split="train[:2%]")
    assert [(e.id, e.text, e.metadata) for e in entries] == [
        (str(i), f"story {i}", {"rating": 0.5}) for i in range(4)
    ]  # fmt: skip


def test_wrong_names(folder: Path) -> None:
    with pytest.raises(UsageError, match="no column 'text'; --column takes one of: story, id, rating"):
        read(folder)
    with pytest.raises(UsageError, match="split 'test'"):
        read(folder, column="story", split="test")
    with pytest.raises(UsageError, match="absent"):
        read(folder / "absent")


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingDependency, match=r"autointerp\[hf\]"):
        read(tmp_path)
