"""The run store: attempts, responses, explanations, scores; SQLite in a folder, or PostgreSQL (ARCHITECTURE §4.3)."""

from autointerp.store.run import RunStore
from autointerp.store.spend import Spend

__all__ = ["RunStore", "Spend"]
