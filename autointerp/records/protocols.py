"""What other rooms implement: clients with their capabilities, explainers, scorers, and plans."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar, runtime_checkable

from autointerp.records.features import FeatureRecord
from autointerp.records.outcomes import Outcome
from autointerp.records.requests import LocalRequest, Request
from autointerp.records.results import Explanation, Score

T = TypeVar("T")

Plan: TypeAlias = Generator[Sequence[Request | LocalRequest], Sequence[Outcome], T]
"""One yield is one round of requests; what comes back are their outcomes, in order. A plan does no I/O.

The outcome of a :data:`LocalRequest` is a :class:`Computed` or a :class:`Failure`.
"""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a backend can do beyond plain chat."""

    schema: bool = False
    logprobs: bool = False
    prompt_logprobs: bool = False
    """Gives the probabilities of tokens within a prompt, as ``Request.placeholder`` wants them."""
    tasks: bool = False
    """Answers from ``Request.task`` rather than from the text."""
    free: bool = False
    """Costs nothing, so a budget needs no price."""
    batch: bool = False
    """Gathers requests into jobs that take minutes to hours: worth having thousands of requests in flight."""
    prefix_cache: bool = False
    """A prompt that begins as an earlier one did is cheaper or faster, at the lengths of our prompts."""
    context_length: int | None = None
    cache_min_tokens: int | None = None
    """Tokens from which on a shared beginning is marked for the provider's cache; None where that is not done."""


@runtime_checkable
class Client(Protocol):
    """An LLM backend. Provider trouble comes back as a :class:`Failure`, never as an exception."""

    spec: Any
    capabilities: Capabilities

    async def generate(self, request: Request) -> Outcome:
        """Answer one request."""
        ...

    async def aclose(self) -> None:
        """Close connections."""
        ...


@runtime_checkable
class Explainer(Protocol):
    """Proposes what a feature means. ``id`` is ``name@version`` and part of every result's key."""

    id: str

    def explain(self, record: FeatureRecord) -> Plan[Explanation]:
        """Plan the requests whose answers give an explanation."""
        ...


@runtime_checkable
class Scorer(Protocol):
    """Judges an explanation on held-out examples. ``needs`` names capabilities checked before money is spent."""

    id: str
    needs: frozenset[str]

    def score(self, record: FeatureRecord, explanation: Explanation) -> Plan[Score]:
        """Plan the requests whose answers give a score."""
        ...
