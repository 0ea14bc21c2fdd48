"""What comes back of a request: a response, a failure, or what a model in this process computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias


@dataclass(frozen=True, slots=True)
class Computed:
    """The answer to a local request."""

    value: Any


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that a provider reported for one answer.

    ``cached_tokens`` is the part of the input read from a cache, ``written_tokens`` what was written to one at a price.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    written_tokens: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Response:
    """An answer.

    Attributes
    ----------
    text : the answer's text.
    usage : tokens, None when the provider did not say.
    cost_usd : dollars, None when neither the provider nor the price table says.
    finish : ``"stop"``, ``"length"``, ``"refusal"`` or the provider's own word.
    probabilities : of each of the request's ``choices`` (they sum to 1); None where none were asked for or came.
    at : for each placeholder of the request, in order, the probabilities of those ``choices`` that are among the
        likeliest tokens there, to five digits; the other tokens have the rest. None where none were asked for.
    cached : True when it came from the store and cost nothing now.
    """

    text: str
    usage: Usage | None = None
    cost_usd: float | None = None
    finish: str = "stop"
    model: str = ""
    probabilities: Mapping[str, float] | None = None
    at: tuple[Mapping[str, float], ...] | None = None
    cached: bool = field(default=False, compare=False)

    def at_cost(self, usd: float | None) -> Response:
        """The same answer at another cost."""
        # by hand: dataclasses.replace takes a hundredth of a request's CPU time
        return Response(
            self.text, self.usage, usd, self.finish, self.model, self.probabilities, self.at, cached=self.cached
        )

    def from_cache(self) -> Response:
        """The same answer, marked as read from the store."""
        return replace(self, cached=True)


@dataclass(frozen=True, slots=True)
class Failure:
    """No answer, as a value: ``kind`` says which trouble, ``message`` what happened (never a key).

    Kinds: ``rate_limit``, ``overloaded``, ``server``, ``connection``, ``timeout``, ``auth``, ``quota``,
    ``bad_request``, ``refusal``, ``context_length``, ``budget``, ``cancelled``, ``bad_answer``, ``internal``,
    ``unavailable`` (the circuit breaker is open), ``missing`` (``manual`` and ``replay`` have no answer to it yet).
    """

    kind: str
    message: str
    retryable: bool = False
    status: int | None = None
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class NotSent(Failure):
    """A failure before the request left this machine, so it cannot have been billed."""


TRANSIENT = frozenset(
    {"timeout", "connection", "server", "rate_limit", "overloaded", "bad_answer", "unavailable", "missing"}
)
"""Failures that say nothing of the request: a result that they spoilt is made again when the run is resumed."""

Outcome: TypeAlias = Response | Failure

BILLED = frozenset({"timeout", "cancelled", "connection", "server", "bad_answer", "internal"})
"""Kinds of failure for which a provider may charge, if the request was sent."""


def maybe_billed(outcome: Outcome) -> bool:
    """Whether a provider may charge for a failed attempt although it reported no usage."""
    return isinstance(outcome, Failure) and outcome.kind in BILLED and not isinstance(outcome, NotSent)
