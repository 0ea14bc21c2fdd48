"""What a batch API is to us: a wire that jobs are sent over, jobs under way, and the trouble with them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from autointerp.clients.journal import Job
from autointerp.records import Failure, Outcome, Request


class Trouble(Exception):
    """What a provider answered instead of carrying out a step of a job."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Refused(Trouble):
    """A job that the provider accepted and then refused as a whole: nothing of it was carried out."""


class Wire(Protocol):
    """One provider's batch API; every method raises :class:`Trouble`, and nothing else, for the provider's trouble."""

    max_requests: int
    max_bytes: int

    def item(self, custom_id: str, request: Request) -> tuple[str, bytes]:
        """What may not be mixed in one job (``""`` for nothing), and the request as one line of JSON."""
        ...

    async def submit(self, label: str, group: str, items: Sequence[bytes]) -> str:
        """Begin a job; its id at the provider."""
        ...

    async def find(self, label: str, n: int, created: float) -> list[str]:
        """Ids of the jobs that one begun about ``created`` (Unix seconds), whose id was not heard, may be."""
        ...

    async def ended(self, external: str) -> bool:
        """Whether all answers of a job are there."""
        ...

    def results(self, external: str) -> AsyncIterator[tuple[str, Outcome]]:
        """(custom id, outcome) of each request, in any order."""
        ...


@dataclass(slots=True, eq=False)
class Waiting:
    """A request that waits for its batch, or for its answer."""

    key: str
    group: str
    request: Request
    answer: asyncio.Future[Outcome]


@dataclass(slots=True, eq=False)
class Order:
    """A job under way.

    Attributes
    ----------
    externals : its id at the provider; several where its id was not heard and these may be it.
    trouble : why this process gave up on one that may still be alive at the provider.
    """

    keys: tuple[str, ...]
    number: int | None = None
    externals: tuple[str, ...] = ()
    created: float = 0.0
    waiting: dict[str, Waiting] = field(default_factory=dict)
    task: asyncio.Task[None] | None = None
    trouble: Failure | None = None

    @classmethod
    def of(cls, job: Job) -> Order:
        """A job that an earlier process began."""
        return cls(job.keys, job.id, tuple(job.external.split(",")) if job.external else (), job.created)

    @property
    def label(self) -> str:
        """A name that says which requests are in it."""
        return custom_id(self.keys[0]) + f"-{len(self.keys)}"

    @property
    def name(self) -> str:
        """Its id as it is written down."""
        return ",".join(self.externals)


def custom_id(key: str) -> str:
    """A request's id inside a job."""
    return key[:32]
