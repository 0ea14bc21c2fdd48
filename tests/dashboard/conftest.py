"""The run that readers' pages are tried on, and a browser on it."""

from tests.dashboard.planted import browser, planted, run

__all__ = ["browser", "planted", "run"]
