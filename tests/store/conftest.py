"""Both databases."""

from tests.databases import place, postgres, server

__all__ = ["place", "postgres", "server"]
