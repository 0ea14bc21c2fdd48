"""The write-ahead journal of attempts, and the cache of answers that it makes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from autointerp.records import Failure, NotSent, Outcome, Response
from autointerp.store.jobs import OPEN, Job


class Journal(Protocol):
    """Where attempts and answers are written; the run store is one."""

    async def lookup(self, key: str) -> Response | None:
        """The stored answer to a request key, None when there is none."""
        ...

    async def begin(self, key: str, *, spec: str, tag: str, reserved_usd: float | None) -> int:
        """Note an attempt before its first byte is sent; durable when it returns its number."""
        ...

    async def finish(self, attempt: int, outcome: Outcome) -> None:
        """Note what came of an attempt, durable before it returns; a response becomes the answer to its key.

        To say the same twice changes nothing.
        """
        ...

    async def begin_job(self, spec: str, keys: Sequence[str]) -> int:
        """Note a batch job before it is submitted; durable when it returns its number."""
        ...

    async def submitted_job(self, job: int, external: str) -> None:
        """Note the provider's id of a job, durable on return."""
        ...

    async def settle_job(self, job: int, state: str) -> None:
        """Close a job once all its answers are journalled, or none will come; ``state`` says how it ended.

        Attempts at its requests that a dead process left open were paid with it and are closed at no cost.
        """
        ...

    async def open_attempts(self, spec: str, before: float | None = None) -> dict[str, int]:
        """Request key to the newest attempt of ``spec`` whose end nobody saw, begun ``before`` (Unix seconds).

        That is no outcome yet, or cancelled in flight; of this process, or of one that is dead.
        """
        ...

    async def open_jobs(self, spec: str) -> list[Job]:
        """Jobs of ``spec`` that are not settled, oldest first; those of another living process are left out."""
        ...


@dataclass(slots=True)
class Attempt:
    """One row of a :class:`MemoryJournal`; ``outcome`` is None while it is in flight."""

    key: str
    spec: str
    tag: str
    reserved_usd: float | None
    outcome: Outcome | None = None
    started: float = field(default_factory=time.time)

    @property
    def open(self) -> bool:
        """Whether nobody saw its end: no outcome yet, or cancelled in flight."""
        seen = self.outcome
        cancelled = isinstance(seen, Failure) and seen.kind == "cancelled" and not isinstance(seen, NotSent)
        return seen is None or cancelled


class MemoryJournal:
    """A journal that lasts as long as the process."""

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []
        self.answers: dict[str, Response] = {}
        self.jobs: list[Job] = []

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
        if not isinstance(row.outcome, Response):
            row.outcome = outcome
        if isinstance(outcome, Response):
            self.answers[row.key] = outcome

    async def begin_job(self, spec: str, keys: Sequence[str]) -> int:
        """See :class:`Journal`."""
        self.jobs.append(Job(len(self.jobs), spec, None, "begun", time.time(), tuple(keys)))
        return len(self.jobs) - 1

    async def submitted_job(self, job: int, external: str) -> None:
        """See :class:`Journal`."""
        self.jobs[job] = replace(self.jobs[job], external=external, state="submitted")

    async def settle_job(self, job: int, state: str) -> None:
        """See :class:`Journal`."""
        self.jobs[job] = replace(self.jobs[job], state=state)

    async def open_attempts(self, spec: str, before: float | None = None) -> dict[str, int]:
        """See :class:`Journal`."""
        until = time.time() + 1 if before is None else before
        return {a.key: i for i, a in enumerate(self.attempts) if a.spec == spec and a.open and a.started < until}

    async def open_jobs(self, spec: str) -> list[Job]:
        """See :class:`Journal`."""
        return [job for job in self.jobs if job.spec == spec and job.state in OPEN]
