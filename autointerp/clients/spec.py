"""Model strings: ``[batch+]provider/model[@http(s)://host/v1][?option=value&…]``, or a bare name: ``baseline``."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

from autointerp.clients.backend import client
from autointerp.errors import UsageError, nearest

BATCH = "batch+"
PLAIN = " !$'()*,/:;=?@|"
"""Characters that stand for themselves in the value of an option."""
SECRET_NAME = re.compile(r"(?i)^(.*[-_.])?(key|api_?key|token|secret|password|passwd|authorization|auth|bearer)$")
SECRET_VALUE = re.compile(r"(?<![A-Za-z0-9])sk-[A-Za-z0-9_-]{4,}")


def positive(text: str) -> float:
    """Parse a finite positive number."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError("not a positive number")
    return value


def price(text: str) -> tuple[float, float]:
    """Parse ``IN,OUT``: dollars per million input and output tokens."""
    low, high = (float(part) for part in text.split(","))
    if not (0 <= low < float("inf") and 0 <= high < float("inf")):
        raise ValueError("not two prices")
    return low, high


TRANSPORT_OPTIONS: Mapping[str, Callable[[str], Any]] = {
    "identity": str,
    "in_flight": int,
    "price": price,
    "rpm": positive,
    "timeout": positive,
}
"""Options of every backend that cannot change an answer, so they stay outside the cache key (but for ``identity``)."""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A parsed model string.

    Attributes
    ----------
    provider : name of a registered backend.
    model : the provider's name of the model, empty for backends without one.
    url : address of another server that speaks the provider's protocol, None for the provider's own host.
    options : (name, value) pairs as written, sorted by name.
    batch : whether the provider's batch API carries the requests: the same answers, later and cheaper.
    """

    provider: str
    model: str = ""
    url: str | None = None
    options: tuple[tuple[str, str], ...] = ()
    batch: bool = False

    @classmethod
    def parse(cls, text: str) -> ModelSpec:
        """Parse a model string.

        Raises
        ------
        UsageError : unknown provider or option, a missing model, a credential (which is not repeated in the message).
        """
        _refuse_secrets(text)
        head, _, query = text.strip().partition("?")
        if match := re.search(r"@(?=https?://)", head):
            head, url = head[: match.start()], head[match.end() :].rstrip("/")
        else:
            url = None
        batch = head.startswith(BATCH)
        provider, _, model = head.removeprefix(BATCH).partition("/")
        pairs = parse_qsl(query, keep_blank_values=True)
        if len({name for name, _ in pairs}) < len(pairs):
            raise UsageError(f"{text!r}: an option is given twice")
        spec = cls(provider, model, url, tuple(sorted(pairs)), batch)
        spec._check()
        return spec

    def _check(self) -> None:
        backend = self.backend
        if not self.model and getattr(backend, "needs_model", False):
            raise UsageError(f"{self.text!r} names no model: write {self.provider}/MODEL")
        if self.url is not None:
            if not getattr(backend, "takes_url", False):
                raise UsageError(f"{self.text!r}: {self.provider} takes no @URL")
            if not urlsplit(self.url).hostname:
                raise UsageError(f"{self.text!r}: no host in {self.url!r}; write @http://HOST:PORT/v1")
        parsers = {**self._answer_options(), **self._transport_options()}
        for name, value in self.options:
            if name not in parsers:
                raise UsageError(f"unknown option {name!r} of {self.provider}; {nearest(name, parsers)}")
            try:
                parsers[name](value)
            except (ValueError, UsageError) as error:
                raise UsageError(f"option {name}={value!r} of {self.provider} is not valid ({error})") from None

    @property
    def backend(self) -> Any:
        """The class that serves this string.

        Raises
        ------
        UsageError : unknown provider; the message lists the known ones and the nearest.
        """
        if self.batch:
            try:
                return client.get(BATCH + self.provider)
            except UsageError:
                client.get(self.provider)  # an unknown provider is the greater mistake
                known = ", ".join(name for name in client.names() if name.startswith(BATCH))
                raise UsageError(f"{self.provider} has no batch API; {known} have one: leave {BATCH} away") from None
        if self.provider == "openai" and self.url is not None:
            from autointerp.clients.compatible import Compatible

            return Compatible
        return client.get(self.provider)

    def _answer_options(self) -> Mapping[str, Callable[[str], Any]]:
        return getattr(self.backend, "options", {})

    def _transport_options(self) -> Mapping[str, Callable[[str], Any]]:
        return {**TRANSPORT_OPTIONS, **getattr(self.backend, "transport", {})}

    def answer_options(self) -> dict[str, Any]:
        """The parsed options that can change an answer."""
        parsers = self._answer_options()
        return {name: parsers[name](value) for name, value in self.options if name in parsers}

    def transport_options(self) -> dict[str, Any]:
        """The parsed options that cannot change an answer."""
        parsers = self._transport_options()
        return {name: parsers[name](value) for name, value in self.options if name in parsers}

    @property
    def name(self) -> str:
        """``provider/model`` without transport, address and options."""
        return f"{self.provider}/{self.model}" if self.model else self.provider

    @property
    def identity(self) -> str:
        """What the cache key holds: provider, model and everything in the string that can change an answer.

        The address, prices, timeouts and ``batch+`` are outside it; ``?identity=NAME`` sets two deployments apart.
        """
        if stands_for := getattr(self.backend, "stands_for", None):
            return stands_for(self).identity
        options = self.answer_options()
        if name := dict(self.options).get("identity"):
            options["identity"] = name
        text = json.dumps(options, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return self.name + (f"?{text}" if options else "")

    @property
    def is_free(self) -> bool:
        """Whether it names a server on this machine or a private network, and no price."""
        if self.url is None or "price" in dict(self.options):
            return False
        host = urlsplit(self.url).hostname or ""
        try:
            return ipaddress.ip_address(host).is_private
        except ValueError:
            return "." not in host or host.endswith((".local", ".localhost", ".internal"))

    @property
    def text(self) -> str:
        """The string in canonical form; it never holds a credential, for :meth:`parse` refuses those."""
        query = "&".join(f"{name}={quote(value, safe=PLAIN)}" for name, value in self.options)
        transport = BATCH if self.batch else ""
        return transport + self.name + (f"@{self.url}" if self.url else "") + (f"?{query}" if query else "")

    def __str__(self) -> str:
        return self.text


def _refuse_secrets(text: str) -> None:
    """Refuse a string that holds something like a key or a password, without repeating it."""
    head, _, query = text.partition("?")
    _, at, url = head.partition("://")
    if (
        SECRET_VALUE.search(text)
        or (at and "@" in url)
        or any(SECRET_NAME.match(name) for name, _ in parse_qsl(query, keep_blank_values=True))
    ):
        raise UsageError(
            "the model string holds a credential; keys come from the environment (ANTHROPIC_API_KEY, OPENAI_API_KEY, "
            "OPENROUTER_API_KEY, OPENAI_COMPAT_API_KEY) or from connect(api_key=…)"
        )
