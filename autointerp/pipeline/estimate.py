"""What a run will ask for, from the real prompts, without asking."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from autointerp.clients.prices import estimate_tokens
from autointerp.records import Explanation, Request

if TYPE_CHECKING:
    from autointerp.clients import ConnectedClient
    from autointerp.store import RunStore

PLACEHOLDER = (
    "The feature responds to a particular motif or meaning that the marked tokens share, "
    "described here in one sentence. "
) * 2
FEW_TOKENS = 0.5
"""Share of the upper estimate of input tokens that no tokenizer goes below; the low end of the price."""
SHORT_OUTPUT = 0.05
"""Share of ``max_tokens`` that the shortest good answers use (a sentence; a bit for each example); the low end too."""


@dataclass(frozen=True)
class Estimate:
    """Requests, tokens and dollars of a run that has not been made; re-asks after unreadable answers are not in it.

    ``low_usd`` assumes short answers, ``high_usd`` answers as long as allowed; both None if a price is unknown.
    """

    features: int
    """Features that would be explained (extrapolated from ``sampled`` ones)."""
    sampled: int
    """Eligible features whose prompts were really built."""
    requests: int
    stored: int
    """Requests among the sampled ones whose answers the store has; not counted in ``requests``."""
    input_tokens: int
    """Upper estimate."""
    max_output_tokens: int
    low_usd: float | None
    high_usd: float | None
    expected_usd: float | None = None
    """From what answers of each kind in the store have cost on average; None where there are none yet."""

    def __str__(self) -> str:
        price = (
            "price unknown"
            if self.high_usd is None
            else "free"
            if self.high_usd == 0
            else f"${self.low_usd:.2f} to ${self.high_usd:.2f}"
        )
        if self.expected_usd:
            price += f", ${self.expected_usd:.2f} by what such answers have cost so far"
        return (
            f"{self.features:,} features, {self.requests:,} requests, at most {self.input_tokens:,} input and "
            f"{self.max_output_tokens:,} output tokens: {price} "
            f"(prompts built for {self.sampled} features; {self.stored} answers stored)"
        )


@dataclass
class Tally:
    """Sums over the requests of sampled features."""

    requests: int = 0
    stored: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    low: float | None = 0.0
    high: float | None = 0.0
    kinds: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Requests by model string and tag."""

    def add(self, requests: Sequence[Request], client: ConnectedClient, store: RunStore) -> None:
        """Count ``requests`` through ``client``; what ``store`` has is free."""
        for request in requests:
            if store.get_response(client.key(request)) is not None:
                self.stored += 1
                continue
            tokens = sum(estimate_tokens(m.content) for m in request.messages)
            self.requests += 1
            self.kinds[client.spec.text, request.tag] += 1
            self.input_tokens += tokens
            self.output_tokens += request.max_tokens
            if client.capabilities.free and client.price is None:
                continue
            if client.price is None or self.low is None or self.high is None:
                self.low = self.high = None
                continue
            answer = SHORT_OUTPUT * request.max_tokens * client.price.output
            self.low += (FEW_TOKENS * tokens * client.price.input + answer) / 1e6
            self.high += client.price.worst(request)

    def expected(self, store: RunStore) -> float | None:
        """Dollars at the mean price of the answers in ``store``, None where one of a kind is missing or unpriced."""
        total = 0.0
        for spec in {spec for spec, _ in self.kinds}:
            learned = store.usage_by_tag(spec)
            for (of, tag), n in self.kinds.items():
                if of == spec:
                    if tag not in learned or (usd := learned[tag].cost_usd) is None:
                        return None
                    total += n * usd
        return total

    def scaled(self, features: int, sampled: int, store: RunStore) -> Estimate:
        """The estimate for ``features`` features."""
        expected = self.expected(store)
        factor = features / sampled if sampled else 0.0

        def scale(value: float) -> int:
            return round(value * factor)

        return Estimate(
            features,
            sampled,
            scale(self.requests),
            self.stored,
            scale(self.input_tokens),
            scale(self.output_tokens),
            None if self.low is None else self.low * factor,
            None if self.high is None else self.high * factor,
            None if expected is None else expected * factor,
        )


def placeholder(feature: int, explainer: str) -> Explanation:
    """An explanation of typical length, to build scoring prompts with."""
    return Explanation(feature, PLACEHOLDER, explainer)
