"""Trying again: full jitter, the server's own wish, a bound on attempts and on time.

"Full jitter" is a wait drawn evenly between 0 and an exponentially growing bound (Brooker, *Exponential backoff and
jitter*, AWS Architecture Blog, 2015).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

from autointerp.clients.backend import Limits, Send
from autointerp.records import Failure, Outcome, Request

UNCOUNTED = frozenset({"rate_limit", "overloaded", "unavailable"})
"""Refusals that cost nothing and say nothing of the request: only the deadline ends them."""


class Retry:
    """Sends the same request again while its failures are worth it; holds no place in the limiter while it waits.

    Parameters
    ----------
    inner : the layer below.
    limits : attempts, waits and the time after which to give up.
    on_retry : called before each further attempt.
    down : whether the provider is known to be down for everyone: a failure then says nothing of the request, and is not
        counted against its attempts.
    sleep, clock, uniform : replaced in tests.
    """

    def __init__(
        self,
        inner: Send,
        limits: Limits,
        *,
        on_retry: Callable[[], None] = lambda: None,
        down: Callable[[], bool] = lambda: False,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._inner, self._limits, self._on_retry, self._down = inner, limits, on_retry, down
        self._sleep, self._clock, self._uniform = sleep, clock, uniform

    async def __call__(self, request: Request, key: str) -> Outcome:
        """The first answer, or the last failure."""
        give_up = None
        attempt, counted = 1, 0
        while True:
            outcome = await self._inner(request, key)
            if not isinstance(outcome, Failure) or not outcome.retryable:
                return outcome
            counted += outcome.kind not in UNCOUNTED and not self._down()
            now = self._clock()
            give_up = now + self._limits.deadline_s if give_up is None else give_up
            wait = self._wait(attempt, outcome)
            if counted >= self._limits.max_attempts or now + wait > give_up:
                return outcome
            await self._sleep(wait)
            self._on_retry()
            attempt += 1

    def _wait(self, attempt: int, failure: Failure) -> float:
        """Seconds before the next attempt: never less than the server asked for."""
        bound = min(self._limits.backoff_cap_s, self._limits.backoff_s * 2.0 ** min(attempt - 1, 60))
        if failure.retry_after is not None:
            return failure.retry_after + self._uniform(0.0, min(bound, 1.0 + 0.1 * failure.retry_after))
        return self._uniform(0.0, bound)
