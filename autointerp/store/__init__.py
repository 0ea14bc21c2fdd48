"""The run store: attempts, responses, explanations, scores, in one SQLite file (ARCHITECTURE §4.3)."""

from autointerp.store.run import RunStore, Spend

__all__ = ["RunStore", "Spend"]
