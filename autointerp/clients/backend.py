"""What a backend is: a bare client registered under a provider's name, and the limits it works within.

A backend is a class with the :class:`~autointerp.records.Client` protocol, called as ``cls(spec, limits=…, api_key=…)``
and registered with ``@client("name")``. It sends a request once and says what came of it; caching, retries, limits,
budget and journal are put around it by :func:`~autointerp.clients.connect`. Class attributes, all optional:

``options`` : name → parser of each answer-changing option of its model strings (part of the cache key).
``transport`` : name → parser of each further option that cannot change an answer (stays outside the cache key).
``capabilities`` : what it can do at most; an instance may narrow it by its model string.
``attach``, ``recover`` : of an instance; see :class:`~autointerp.clients.batched.Batched`.
``own_pace`` : True when it queues and waits by itself: no limiter and no timeout of an attempt around it.
``needs_model`` : True when the string must name a model.
``takes_url`` : True when the string may name another host with ``@http://…``.
``key_variable`` : environment variable of the provider's key, sent to the provider's own host only, and required there.
``url_key_variable`` : environment variable of an optional key for a host named with ``@http://…``.
``observe`` : of an instance; called with the headers (names in lower case or in any) of every response, so that the
    limiter learns the provider's limits; :func:`~autointerp.clients.connect` sets it.
``version`` : what else can change its answers (the version of an algorithm); part of the cache key.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, fields
from typing import TypeAlias

from autointerp.errors import UsageError
from autointerp.records import Outcome, Request
from autointerp.registry import Registry

client = Registry(
    "client",
    {
        "anthropic": "autointerp.clients.anthropic",
        "baseline": "autointerp.clients.baseline",
        "batch+anthropic": "autointerp.clients.batch_anthropic",
        "batch+openai": "autointerp.clients.batch_openai",
        "manual": "autointerp.clients.manual",
        "openai": "autointerp.clients.openai",
        "openrouter": "autointerp.clients.compatible",
        "replay": "autointerp.clients.replay",
        "scripted": "autointerp.clients.scripted",
        "vllm": "autointerp.clients.vllm",
    },
)

Observe: TypeAlias = Callable[[Mapping[str, str]], None]
"""Looks at the headers of a response."""

Send: TypeAlias = Callable[[Request, str], Awaitable[Outcome]]
"""One layer of the stack: a request and its key to an outcome."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How hard a client may press its provider, and how long it goes on trying."""

    max_in_flight: int = 64
    """Requests in flight at once; the limiter works below this when the provider complains."""
    requests_per_minute: float | None = None
    """Requests started in any 60 seconds, at most."""
    timeout_s: float = 180.0
    """Seconds that one attempt may take; less than ``deadline_s``."""
    max_attempts: int = 8
    """Attempts for one request, the first included; those that the provider refused for its load, or that failed while
    it is known to be down, do not count."""
    deadline_s: float = 900.0
    """Seconds after its first failure during which a request may be tried again; the wait for a first turn is free."""
    backoff_s: float = 1.0
    """Bound of the first random wait; it doubles with every attempt."""
    backoff_cap_s: float = 60.0
    """Bound of any random wait."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and not value > 0:
                raise UsageError(f"limits.{field.name} must be positive, not {value!r}")
        if self.timeout_s > self.deadline_s:
            raise UsageError(f"limits.timeout_s {self.timeout_s:g} exceeds limits.deadline_s {self.deadline_s:g}")
