"""Fixtures of the corpus tests."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def no_mmseqs(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PATH on which MMseqs2 is not; the folder on it, for those who bring their own."""
    folder = tmp_path_factory.mktemp("bin")
    monkeypatch.setenv("PATH", str(folder))
    return folder
