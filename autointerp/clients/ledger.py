"""One attempt, accounted for: money set aside, a row in the journal, the request sent, both settled."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from autointerp.clients.budget import Budget
from autointerp.clients.journal import Journal
from autointerp.clients.keys import redacted
from autointerp.clients.prices import Price
from autointerp.errors import AutointerpError
from autointerp.records import Client, Failure, NotSent, Outcome, Request, Response, maybe_billed

log = logging.getLogger(__name__)
CANCELLED = Failure("cancelled", "cancelled while in flight")


class Ledger:
    """Sends an attempt through a bare client and writes down what it may cost before, and what it did cost after.

    Parameters
    ----------
    client : the bare client.
    journal : where attempts are written.
    price : None for a free backend, or for an unpriced one without a budget.
    timeout_s : seconds that an attempt may take, None for as long as it takes.
    key : the API key, to cut out of messages.
    """

    def __init__(
        self, client: Client, journal: Journal, price: Price | None, timeout_s: float | None, key: str | None = None
    ) -> None:
        self._client, self._journal, self._price, self._timeout, self._key = client, journal, price, timeout_s, key
        self._spec = client.spec.text
        self.budgets: list[Budget] = []
        self.sent = 0

    async def __call__(
        self, request: Request, key: str, over: Callable[[Outcome], None] = lambda outcome: None
    ) -> Outcome:
        """Send ``request`` once; every budget must have room for its worst case, or it is not sent.

        ``over`` is called with what came of it before that is written down. A request that is let go then is journalled
        after it: of one journal, those that are sent and not yet written down as answered never exceed the limit.
        """
        reserved = self._price.worst(request) if self._price is not None else None
        held: list[Budget] = []
        try:
            for budget in tuple(self.budgets):
                if not await budget.acquire(reserved or 0.0):
                    _settle(held, reserved, 0.0)
                    return NotSent("budget", f"the budget of ${budget.limit:g} has ${budget.left:.4f} left; not sent")
                held.append(budget)
            attempt = await self._journal.begin(key, spec=self._spec, tag=request.tag, reserved_usd=reserved)
        except BaseException:
            _settle(held, reserved, 0.0)
            raise
        outcome: Outcome = CANCELLED
        try:
            self.sent += 1
            outcome = await self._send(request)
        except AutointerpError as error:
            outcome = NotSent("internal", str(error))
            raise
        finally:
            _settle(held, reserved, _cost(outcome))
            over(outcome)
            await self._finish(attempt, outcome)
        return outcome

    async def _finish(self, attempt: int, outcome: Outcome) -> None:
        """Write the end of an attempt, to the end even if this task is cancelled meanwhile."""
        try:
            await self._journal.finish(attempt, outcome)
        except asyncio.CancelledError:
            await asyncio.wait([asyncio.ensure_future(self._journal.finish(attempt, outcome))])  # twice is once
            raise

    async def _send(self, request: Request) -> Outcome:
        try:
            async with asyncio.timeout(self._timeout):
                outcome = await self._client.generate(request)
        except TimeoutError:
            return Failure("timeout", f"no answer within {self._timeout:g} s", retryable=True)
        except AutointerpError:
            raise
        except Exception as error:  # noqa: BLE001 - a defect of one backend must not end the run of all features
            log.debug("%s raised %s", type(self._client).__name__, type(error).__name__)
            return redacted(Failure("internal", f"{type(error).__name__}: {error}"[:400]), self._key)
        if isinstance(outcome, Failure):
            return redacted(outcome, self._key)
        return outcome.at_cost(self._dollars(outcome))

    def _dollars(self, answer: Response) -> float | None:
        if answer.cost_usd is not None:
            return answer.cost_usd
        if self._price is None:
            return 0.0 if self._client.capabilities.free else None
        return self._price.cost(answer.usage) if answer.usage is not None else None


def _cost(outcome: Outcome) -> float | None:
    """Dollars that an attempt cost, None when it may have cost something that never became known."""
    if isinstance(outcome, Response):
        return outcome.cost_usd
    return None if maybe_billed(outcome) else 0.0


def _settle(budgets: list[Budget], reserved: float | None, actual: float | None) -> None:
    for budget in budgets:
        budget.settle(reserved or 0.0, actual)
