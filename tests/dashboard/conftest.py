"""The run that readers' pages are tried on, a browser on it, and a database server."""

from tests.dashboard.planted import browser, planted, run
from tests.databases import postgres, server

__all__ = ["browser", "planted", "postgres", "run", "server"]
