"""Shared fixtures: the trial data, and a quiet environment."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

REPOSITORY = Path(__file__).resolve().parent.parent
# a busy machine is no failure; and in CI the examples are the same each time: new ones are looked for where somebody is
# there to see what they find
CI = bool(os.environ.get("CI"))
settings.register_profile("ours", deadline=None, derandomize=CI)
settings.load_profile("ours")


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real data and models (``AUTOINTERP_DATA`` names it); tests that need it skip when it is absent."""
    folder = Path(os.environ.get("AUTOINTERP_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no trial data at {folder}; set AUTOINTERP_DATA")
    return folder


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test may find a real key."""
    for name in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "OPENROUTER_API_KEY", "OPENAI_COMPAT_API_KEY"):
        monkeypatch.delenv(name, raising=False)
