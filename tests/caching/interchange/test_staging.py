from __future__ import annotations

from pathlib import Path

import pytest

from autointerp.errors import UsageError
from caching.interchange.staging import staged


def test_what_a_killed_process_left_is_not_taken_over(tmp_path: Path) -> None:
    (tmp_path / ".new.partial").mkdir()
    (tmp_path / ".new.partial" / "old").touch()
    with staged(tmp_path / "new") as folder:
        (folder / "file").touch()
        assert not (tmp_path / "new").exists()
    assert [p.name for p in tmp_path.rglob("*")] == ["new", "file"]


def test_nothing_is_left_of_what_failed(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), staged(tmp_path / "deep" / "new") as folder:
        (folder / "file").rename(tmp_path / "nowhere" / "file")
    assert list((tmp_path / "deep").iterdir()) == []


def test_an_empty_folder_may_be_there(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    with staged(tmp_path / "new") as folder:
        (folder / "file").touch()
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["file"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_is_there_stays(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "new"
    if kind == "folder":
        place.mkdir()
    (place / "mine" if kind == "folder" else place).write_text("mine")
    with pytest.raises(UsageError, match="not empty"), staged(place):
        pass
    assert next(p for p in tmp_path.rglob("*") if p.is_file()).read_text() == "mine"
