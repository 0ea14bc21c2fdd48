"""RunStore: everything that a run writes, by noun."""

from __future__ import annotations

from autointerp.store.browse import BrowseTables
from autointerp.store.claims import ClaimTables
from autointerp.store.jobs import JobTables
from autointerp.store.journal import JournalTables
from autointerp.store.notes import NoteTables
from autointerp.store.query import QueryTables
from autointerp.store.repair import RepairTables
from autointerp.store.results import ResultTables
from autointerp.store.spend import SpendTables


class RunStore(
    JournalTables,
    JobTables,
    ResultTables,
    SpendTables,
    ClaimTables,
    QueryTables,
    BrowseTables,
    RepairTables,
    NoteTables,
):
    """The journal and the results of studies; open one with :meth:`open`, close it with :meth:`close` (or ``with``)."""
