"""The archive that `make assets` unpacks: the pinned one or none."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import tarfile
from pathlib import Path
from types import ModuleType

import pytest

TOOL = Path(__file__).resolve().parents[2] / "tools" / "fetch_assets.py"


@pytest.fixture
def tool() -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("fetch_assets", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def archive_of(path: Path, names: list[str]) -> Path:
    """An archive whose members hold their own names."""
    with tarfile.open(path, "w:gz") as archive:
        for name in names:
            about = tarfile.TarInfo(name)
            about.size = len(name)
            archive.addfile(about, io.BytesIO(name.encode()))
    return path


def test_another_archive_is_refused(tool: ModuleType, tmp_path: Path) -> None:
    archive, folder = archive_of(tmp_path / "a.tgz", list(tool.FILES)), tmp_path / "vendor"
    folder.mkdir()
    with pytest.raises(SystemExit, match="SHA-512"):
        tool.unpack(archive, folder)
    assert list(folder.iterdir()) == []


def test_only_viewer_and_licence_are_unpacked(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = archive_of(tmp_path / "a.tgz", [*tool.FILES, "package/evil.js", "../../outside"])
    monkeypatch.setattr(tool, "SHA512", hashlib.sha512(archive.read_bytes()).hexdigest())
    folder = tmp_path / "vendor"
    folder.mkdir()
    tool.unpack(archive, folder)
    assert {p.name: p.read_text() for p in folder.iterdir()} == {name: member for member, name in tool.FILES.items()}


def test_nothing_fetched_is_committed() -> None:
    ignored = (TOOL.parents[1] / ".gitignore").read_text().splitlines()
    assert "autointerp/dashboard/assets/vendor/" in ignored
