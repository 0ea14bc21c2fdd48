"""The planted study, and a PostgreSQL server."""

from tests.databases import postgres, server
from tests.studies import study

__all__ = ["postgres", "server", "study"]
