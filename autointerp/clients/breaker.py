"""A circuit breaker: while a provider is down, nothing is sent but one probe now and then (Nygard, *Release It!*)."""

from __future__ import annotations

from collections.abc import Callable

from autointerp.clients.backend import Send
from autointerp.records import Failure, NotSent, Outcome, Request, Response

DOWN = frozenset({"server", "connection", "timeout", "overloaded"})
"""Failures that are the provider's; any other outcome shows that it is there."""
ASIDE = frozenset({"cancelled", "budget", "internal", "bad_answer", "unavailable", "rate_limit"})
"""Outcomes that show neither."""
FAILURES, REQUESTS, STRETCH_S = 10, 3, 10.0
"""It opens after this many failures in a row, of this many different requests, over this long."""
PAUSE_S, LONGEST_PAUSE_S = 15.0, 120.0
"""How long it stays open; twice as long after every probe that fails."""


class Breaker:
    """The state of one provider's circuit; requests pass through :meth:`send`.

    Parameters
    ----------
    name : of the model, for messages.
    clock : replaced in tests.
    """

    def __init__(self, name: str, clock: Callable[[], float]) -> None:
        self._name, self._clock = name, clock
        self._close()

    def _close(self) -> None:
        self._failures, self._keys, self._since = 0, set[str](), 0.0
        self._pause, self._open_until, self._probing, self._last = 0.0, float("-inf"), False, ""

    @property
    def is_open(self) -> bool:
        """Whether requests are held back."""
        return self._pause > 0.0

    async def send(self, inner: Send, request: Request, key: str) -> Outcome:
        """Pass ``request`` to ``inner``, or say at once that the provider is down and when to try again."""
        probe = self.is_open
        if probe:
            wait = self._open_until - self._clock()
            if wait > 0 or self._probing:
                return self._refusal(max(wait, 1.0))
            self._probing = True
        try:
            outcome = await inner(request, key)
        finally:
            if probe:
                self._probing = False
        self._note(outcome, key, probe)
        return outcome

    def _note(self, outcome: Outcome, key: str, probe: bool) -> None:
        now = self._clock()
        if not (isinstance(outcome, Failure) and outcome.kind in DOWN):
            if isinstance(outcome, Response) or outcome.kind not in ASIDE:
                self._close()
            return
        self._last = outcome.message
        if self.is_open:
            if probe:
                self._open(now, 2 * self._pause)
            return
        if not self._failures:
            self._since = now
        self._failures += 1
        if len(self._keys) < REQUESTS:
            self._keys.add(key)
        if self._failures >= FAILURES and len(self._keys) >= REQUESTS and now - self._since >= STRETCH_S:
            self._open(now, PAUSE_S)

    def _open(self, now: float, pause: float) -> None:
        self._pause = min(LONGEST_PAUSE_S, pause)
        self._open_until = now + self._pause

    def _refusal(self, wait: float) -> Failure:
        message = f"{self._name} has been failing ({self._last[:200]}); not sent, tried again in {wait:.0f} s"
        return NotSent("unavailable", message, True, None, wait)
