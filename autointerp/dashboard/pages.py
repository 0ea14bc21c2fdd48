"""The pages of the dashboard, in the order in which their scripts are loaded."""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec

from autointerp.dashboard.page import Page

PAGES = ("overview", "feature", "live", "protein", "trying", "steering", "rating", "notes")
"""Modules of this package, each with a ``PAGE``."""


@lru_cache(maxsize=1)
def pages() -> dict[str, Page]:
    """Every page by the name of its module."""
    home = __package__
    return {name: import_module(f"{home}.{name}").PAGE for name in PAGES if find_spec(f"{home}.{name}")}
