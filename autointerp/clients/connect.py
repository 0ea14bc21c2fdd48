"""From a model string to a client: the stack of cache, retries, limits, budget and journal around a bare backend."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from threading import get_ident
from typing import Any

from autointerp.clients.backend import Limits, Send
from autointerp.clients.budget import Budget
from autointerp.clients.cache import Cache
from autointerp.clients.journal import Journal, MemoryJournal
from autointerp.clients.keys import account_of, find_key
from autointerp.clients.ledger import Ledger
from autointerp.clients.limiter import Flow, Limiter, shared
from autointerp.clients.prefix import Leader
from autointerp.clients.prices import Price, price_of
from autointerp.clients.retry import Retry
from autointerp.clients.spec import ModelSpec
from autointerp.errors import ClientError
from autointerp.records import Client, Failure, Outcome, Request


@dataclass(frozen=True, slots=True)
class Statistics:
    """What a client has done so far.

    Attributes
    ----------
    sent : attempts sent.
    cached : answers from the store, or shared with a request already under way.
    retries : attempts after the first.
    failures : requests that ended without an answer, by kind.
    """

    sent: int
    cached: int
    retries: int
    failures: Mapping[str, int]


class ConnectedClient:
    """A backend with everything around it; made by :func:`connect`.

    Attributes
    ----------
    spec, capabilities : of the backend.
    price : dollars per million tokens, None when free or unknown.
    budget : of this client, None without one.

    Parameters
    ----------
    account : whose limits its requests count against; clients with the same share one queue. None for a queue of its
        own.
    """

    def __init__(
        self,
        backend: Client,
        *,
        journal: Journal,
        limits: Limits,
        price: Price | None,
        key: str | None = None,
        budget: Budget | None = None,
        timing: Mapping[str, Any] | None = None,
        account: Hashable = None,
    ) -> None:
        self.spec, self.capabilities, self.price, self.budget = backend.spec, backend.capabilities, price, budget
        timing = dict(timing or {})
        self._backend, self._retries, self._failures = backend, 0, Counter[str]()
        self._limits, self._account, self._flows = limits, account, dict[int, Flow]()
        self._pace = {name: timing[name] for name in ("sleep", "clock") if name in timing}
        if hasattr(backend, "observe"):
            backend.observe = lambda headers: self.flow.observe(headers)
        if hasattr(backend, "attach"):
            journal = backend.attach(journal)
        own_pace = getattr(backend, "own_pace", False)
        self._ledger = Ledger(backend, journal, price, None if own_pace else limits.timeout_s, key)
        paced = self._ledger if own_pace else self._guarded(Limiter(self._ledger, lambda: self.flow))
        retry = Retry(paced, limits, on_retry=self._count_retry, down=self._is_down, **timing)
        version = getattr(backend, "version", "")
        identity = self.spec.identity + (f"#{version}" if version else "")
        least, clock = self.capabilities.cache_min_tokens, timing.get("clock", time.monotonic)
        sender = retry if least is None or own_pace else Leader(retry, least, clock=clock)
        self._cache = Cache(sender, journal, identity, with_task=self.capabilities.tasks)
        if budget is not None:
            self._ledger.budgets += self._bound(budget)

    async def generate(self, request: Request) -> Outcome:
        """Answer one request: from the store, or by asking the backend as often as its failures are worth it."""
        return (await self.generate_all([request]))[0]

    async def generate_all(self, requests: Sequence[Request]) -> list[Outcome]:
        """:meth:`generate` for several requests side by side, which costs less than a task for each of them."""
        outcomes = await self._cache.generate_all(requests)
        self._failures.update(outcome.kind for outcome in outcomes if isinstance(outcome, Failure))
        return outcomes

    async def recover(self) -> None:
        """Take up the batch jobs that an earlier process left open; nothing for other backends."""
        if hasattr(self._backend, "recover"):
            await self._backend.recover()

    def key(self, request: Request) -> str:
        """The key under which the store holds the answer to ``request``."""
        return self._cache.key(request)

    @contextmanager
    def capped(self, budget: Budget) -> Iterator[None]:
        """Hold every attempt inside the block to ``budget`` as well; the smaller binds.

        Raises
        ------
        ClientError : the price of the model is not known.
        """
        bound = self._bound(budget)
        self._ledger.budgets += bound
        try:
            yield
        finally:
            for item in bound:
                self._ledger.budgets.remove(item)

    def _bound(self, budget: Budget) -> list[Budget]:
        if self.price is not None:
            return [budget]
        if self.capabilities.free:
            return []
        raise ClientError(
            f"a budget needs the price of {self.spec.name}, which no table knows: add ?price=IN,OUT to the model "
            "string (dollars per million input and output tokens)"
        )

    def _count_retry(self) -> None:
        self._retries += 1

    def _is_down(self) -> bool:
        return self.flow.breaker.is_open

    def _guarded(self, inner: Send) -> Send:
        return lambda request, key: self.flow.breaker.send(inner, request, key)

    @property
    def flow(self) -> Flow:
        """The queue in front of the model, shared with the other clients of this thread for the same account."""
        thread = get_ident()
        flow = self._flows.get(thread)
        if flow is None:
            make = partial(Flow, self._limits, name=self.spec.name, slow=not self.capabilities.free, **self._pace)
            flow = make() if self._account is None else shared((thread, self._account), make, self._limits)
            self._flows[thread] = flow
        return flow

    @property
    def statistics(self) -> Statistics:
        """What was done so far."""
        return Statistics(self._ledger.sent, self._cache.hits, self._retries, dict(self._failures))

    async def aclose(self) -> None:
        """Cancel what is in flight, write it down, close connections. The client may be used again afterwards."""
        await self._cache.aclose()
        await self._backend.aclose()

    async def __aenter__(self) -> ConnectedClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<client {self.spec.text}>"


def connect(
    spec: str | ModelSpec | Client,
    *,
    store: Journal | None = None,
    limits: Limits | None = None,
    budget_usd: float | None = None,
    api_key: str | None = None,
) -> ConnectedClient:
    """Make a client from a model string.

    Parameters
    ----------
    spec : a model string (``"anthropic/claude-haiku-4-5"``), its parsed form, or a bare client such as ``Scripted``.
    store : where attempts and answers are written; by default they last as long as the client.
    limits : how hard to press the provider; options of the string override it.
    budget_usd : dollars that this client may spend.
    api_key : the key to send to the host that ``spec`` names, instead of the environment's.

    Raises
    ------
    UsageError : the string is wrong.
    ClientError : a key is missing, or a budget is given for a model without a known price.
    MissingDependency : the provider's SDK is not installed.
    """
    limits, key, account = limits or Limits(), None, None
    if isinstance(spec, str):
        spec = ModelSpec.parse(spec)
    if isinstance(spec, ModelSpec):
        options = spec.transport_options()
        names = {"in_flight": "max_in_flight", "rpm": "requests_per_minute", "timeout": "timeout_s"}
        given = {field: options[name] for name, field in names.items() if name in options}
        limits = replace(limits, deadline_s=max(limits.deadline_s, given.get("timeout_s", 0.0)), **given)
        key = find_key(spec, api_key)
        if getattr(spec.backend, "takes_url", False):
            account = account_of(spec, key)
        backend: Client = spec.backend(spec, limits=limits, api_key=key)
    else:
        backend = spec
    return ConnectedClient(
        backend,
        journal=store if store is not None else MemoryJournal(),
        limits=limits,
        price=price_of(backend.spec),
        key=key,
        budget=None if budget_usd is None else Budget(budget_usd),
        account=account,
    )
