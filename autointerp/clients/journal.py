"""The write-ahead journal of attempts, and the cache of answers that it makes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from autointerp.records import Outcome, Response


class Journal(Protocol):
    """Where attempts and answers are written; the run store is one."""

    async def lookup(self, key: str) -> Response | None:
        """The stored answer to a request key, None when there is none."""
        ...

    async def begin(self, key: str, *, spec: str, tag: str, reserved_usd: float | None) -> int:
        """Note an attempt before its first byte is sent; durable when it returns its number."""
        ...

    async def finish(self, attempt: int, outcome: Outcome) -> None:
        """Note what came of an attempt, durable before it returns; a response becomes the answer to its key."""
        ...


@dataclass(slots=True)
class Attempt:
    """One row of a :class:`MemoryJournal`; ``outcome`` is None while it is in flight."""

    key: str
    spec: str
    tag: str
    reserved_usd: float | None
    outcome: Outcome | None = None


class MemoryJournal:
    """A journal that lasts as long as the process."""

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []
        self.answers: dict[str, Response] = {}

    async def lookup(self, key: str) -> Response | None:
        """See :class:`Journal`."""
        return self.answers.get(key)

    async def begin(self, key: str, *, spec: str, tag: str, reserved_usd: float | None) -> int:
        """See :class:`Journal`."""
        self.attempts.append(Attempt(key, spec, tag, reserved_usd))
        return len(self.attempts) - 1

    async def finish(self, attempt: int, outcome: Outcome) -> None:
        """See :class:`Journal`."""
        row = self.attempts[attempt]
        row.outcome = outcome
        if isinstance(outcome, Response):
            self.answers[row.key] = outcome
