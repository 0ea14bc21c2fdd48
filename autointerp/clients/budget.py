"""A hard spending limit: money is set aside before a request is sent and settled when its cost is known."""

from __future__ import annotations

import asyncio

from autointerp.errors import UsageError

SLACK = 1e-9
"""Dollars by which sums of floats may miss."""


class Budget:
    """Dollars that may be spent, with what is set aside for requests in flight.

    Parameters
    ----------
    limit_usd : the most that may ever be spent.
    spent_usd : what was spent before, e.g. by an earlier process on the same run.
    """

    def __init__(self, limit_usd: float, spent_usd: float = 0.0) -> None:
        if not 0 <= limit_usd < float("inf"):
            raise UsageError(f"a budget is a finite number of dollars, not {limit_usd!r}")
        self.limit = limit_usd
        self.spent = spent_usd
        self._pending = 0.0
        self._kept = 0.0
        self._waiters: list[asyncio.Future[None]] = []

    @property
    def reserved(self) -> float:
        """Dollars set aside: for requests in flight, and for those whose cost never became known."""
        return self._pending + self._kept

    @property
    def left(self) -> float:
        """Dollars that can still be set aside."""
        return max(0.0, self.limit - self.spent - self.reserved)

    def reserve(self, usd: float) -> bool:
        """Set ``usd`` aside; False when that could exceed the limit."""
        if self.spent + self.reserved + usd > self.limit + SLACK:
            return False
        self._pending += usd
        return True

    async def acquire(self, usd: float) -> bool:
        """Set ``usd`` aside, waiting for requests in flight to be settled where that can help; False when it cannot."""
        while not self.reserve(usd):
            if self.spent + self._kept + usd > self.limit + SLACK:
                return False
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter
        return True

    def settle(self, reserved: float, actual: float | None) -> None:
        """Replace a reservation by the actual cost; None means that it never became known: the reservation stays."""
        self._pending = max(0.0, self._pending - reserved)
        if actual is None:
            self._kept += reserved
        else:
            self.spent += actual
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def __repr__(self) -> str:
        return f"Budget(limit={self.limit:.4f}, spent={self.spent:.4f}, reserved={self.reserved:.4f})"
