"""What the batch backends share: a desk in each event loop, and a journal that waits for jobs of earlier processes."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, cast

from autointerp.clients.backend import Limits
from autointerp.clients.batch import Wire
from autointerp.clients.batch_desk import Desk
from autointerp.clients.journal import Journal, MemoryJournal
from autointerp.clients.session import PerLoop
from autointerp.clients.spec import ModelSpec, positive
from autointerp.records import Capabilities, Outcome, Request, Response


def count(text: str) -> int:
    """Parse a positive whole number."""
    value = int(text)
    if value < 1:
        raise ValueError("not a positive number")
    return value


class Batched:
    """Turns an online backend into a batch backend: ``class Mine(Batched, Online)`` adds the methods of a ``Wire``.

    Parameters
    ----------
    timing : ``sleep`` and ``clock``, replaced in tests.
    """

    transport: Mapping[str, Callable[[str], Any]] = {"batch_size": count, "window": positive}
    """``batch_size``: requests in one job at most; ``window``: seconds for which requests are gathered at most."""
    own_pace = True
    capabilities = Capabilities(schema=True, batch=True)

    def __init__(self, spec: ModelSpec, *, limits: Limits, api_key: str | None, **timing: Any) -> None:
        super().__init__(spec, limits=limits, api_key=api_key)  # type: ignore[call-arg]
        # a job that is taken up after a kill knows the keys of its requests, not their choices
        self.capabilities = replace(self.capabilities, batch=True, logprobs=False)
        self._journal: Journal = MemoryJournal()
        self._before = time.time()
        self._make = lambda: Desk(
            cast("Wire", self),
            spec,
            limits,
            self._journal,
            free=self.capabilities.free,
            key=api_key,
            before=self._before,
            **timing,
        )
        self._desk = PerLoop(self._open_desk)

    async def _open_desk(self) -> AsyncGenerator[Desk, None]:
        desk = self._make()
        try:
            yield desk
        finally:
            await desk.aclose()

    def attach(self, journal: Journal) -> Journal:
        """Keep the jobs in ``journal``; the one returned waits for a job before it says that an answer is not there."""
        self._journal = journal
        return cast("Journal", Recovering(journal, self._wait_for))

    async def _wait_for(self, key: str) -> None:
        await (await self._desk.get()).recover(key)

    async def recover(self) -> None:
        """Take up what an earlier process left open."""
        await (await self._desk.get()).load()

    async def generate(self, request: Request) -> Outcome:
        """Put ``request`` into the next batch and wait for its answer."""
        return await (await self._desk.get()).ask(request)

    async def aclose(self) -> None:
        """Stop waiting and close the connections; batches that were submitted go on at the provider."""
        self._before = time.time()
        await self._desk.aclose()
        await super().aclose()  # type: ignore[misc]


class Recovering:
    """A journal whose ``lookup`` first waits for the batch job that the request is in, if any."""

    def __init__(self, journal: Journal, recover: Callable[[str], Awaitable[None]]) -> None:
        self._journal, self._recover = journal, recover

    async def lookup(self, key: str) -> Response | None:
        """See :class:`Journal`."""
        if (answer := await self._journal.lookup(key)) is not None:
            return answer
        await self._recover(key)
        return await self._journal.lookup(key)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)
