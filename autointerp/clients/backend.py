"""What a backend is: a bare client registered under a provider's name, and the limits it works within.

A backend is a class with the :class:`~autointerp.records.Client` protocol, called as ``cls(spec, limits=…, api_key=…)``
and registered with ``@client("name")``. It sends a request once and says what came of it; caching, retries, limits,
budget and journal are put around it by :func:`~autointerp.clients.connect`. Class attributes, all optional:

``options`` : name → parser of each answer-changing option of its model strings (part of the cache key).
``needs_model`` : True when the string must name a model.
``takes_url`` : True when the string may name another host with ``@http://…``.
``key_variable`` : environment variable of the provider's key, sent to the provider's own host only, and required there.
``url_key_variable`` : environment variable of an optional key for a host named with ``@http://…``.
``version`` : what else can change its answers (the version of an algorithm); part of the cache key.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
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
        "openai": "autointerp.clients.openai",
        "openrouter": "autointerp.clients.compatible",
        "scripted": "autointerp.clients.scripted",
    },
)

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
    """Seconds that one attempt may take."""
    max_attempts: int = 8
    """Attempts for one request, the first included."""
    retry_for_s: float = 900.0
    """Seconds after its first failure during which a request may be tried again."""
    backoff_s: float = 1.0
    """Bound of the first random wait; it doubles with every attempt."""
    backoff_cap_s: float = 60.0
    """Bound of any random wait."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and not value > 0:
                raise UsageError(f"limits.{field.name} must be positive, not {value!r}")
