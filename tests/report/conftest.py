"""The planted study."""

from tests.studies import study

__all__ = ["study"]
