"""What a request can cost at most, and what an answer did cost."""

from __future__ import annotations

import json
import os
import re
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from autointerp.clients.spec import ModelSpec
from autointerp.errors import FormatError, UsageError
from autointerp.records import Request, Usage

CHEAP = b"abcdefghijklmnopqrstuvwxyz "
WRITTEN = 1.25
"""What Anthropic asks for a token written to its cache for 5 minutes, as a share of a fresh one's price."""
LEAST_CACHED = 512
"""Tokens of a beginning below which no provider writes it to its cache."""
BATCH_RATE = 0.5
"""Share of the online price that Anthropic and OpenAI ask through their batch APIs, cached input included."""
DATED = re.compile(r"-(\d{8}|\d{4}-\d{2}-\d{2})$")


@dataclass(frozen=True, slots=True)
class Price:
    """Dollars per million tokens.

    Attributes
    ----------
    input, output : price of fresh input and of output.
    cached : price of an input token read from the provider's cache, as a share of ``input``.
    written : the same of a token written to it.
    """

    input: float
    output: float
    cached: float = 1.0
    written: float = 1.0

    def cost(self, usage: Usage) -> float:
        """Dollars for what a provider reported."""
        fresh = usage.input_tokens - usage.cached_tokens - usage.written_tokens
        taken = fresh + usage.cached_tokens * self.cached + usage.written_tokens * self.written
        return (taken * self.input + usage.output_tokens * self.output) / 1e6

    def worst(self, request: Request) -> float:
        """Dollars that ``request`` can cost at most, by :func:`input_estimate` and its ``max_tokens``."""
        taken: float = input_estimate(request)
        if self.written > 1 and (shared := estimate_tokens(request.beginning)) >= LEAST_CACHED:
            taken += shared * (self.written - 1)
        return (taken * self.input + request.max_tokens * self.output) / 1e6


def input_estimate(request: Request) -> int:
    """An upper estimate of the input tokens of ``request``, its schema and what a provider adds included."""
    tokens = 64 + sum(8 + estimate_tokens(message.content) for message in request.messages)
    if request.schema is not None:
        tokens += estimate_tokens(json.dumps(dict(request.schema)))
    return tokens


def estimate_tokens(text: str) -> int:
    """An upper estimate of the tokens in ``text``, without a tokenizer.

    Small letters and spaces count a third of a token each (English has about four to a token); every other byte counts
    one, for sequences of residues, numbers and markup split into tokens of one or two characters.
    """
    data = text.encode("utf-8", "surrogatepass")
    dear = len(data.translate(None, CHEAP))
    return dear + -(-(len(data) - dear) // 3)


def price_of(spec: ModelSpec) -> Price | None:
    """The price of a model: ``?price=`` of its string, else the file ``AUTOINTERP_PRICES``, else the shipped table.

    None when none of them knows it. The tables speak of the providers' own hosts only, and of their online APIs: half
    of that is paid through ``batch+``. A price in the string is taken as it is.

    Raises
    ------
    UsageError, FormatError : ``AUTOINTERP_PRICES`` names no readable file, or one of another form.
    """
    if given := spec.transport_options().get("price"):
        price = Price(*given)
        return replace(price, written=WRITTEN) if spec.provider == "anthropic" and spec.url is None else price
    if spec.url is not None or not spec.model:
        return None
    paths = [Path(__file__).with_name("prices.toml")]
    if override := os.environ.get("AUTOINTERP_PRICES"):
        paths.insert(0, Path(override))
    for path in paths:
        models = _table(path).get(spec.provider, {})
        entry = models.get(spec.model) or models.get(DATED.sub("", spec.model))
        if entry is not None:
            try:
                price = Price(**{name: float(value) for name, value in entry.items()})
            except (TypeError, ValueError, AttributeError):
                raise FormatError(path, "{ input = 1.0, output = 5.0, cached = 0.1 }", f"{entry!r}") from None
            rate = BATCH_RATE if spec.batch else 1.0
            return replace(price, input=price.input * rate, output=price.output * rate)
    return None


def _table(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"AUTOINTERP_PRICES: cannot read {path} ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FormatError(path, "a TOML file of prices", str(error)) from None
