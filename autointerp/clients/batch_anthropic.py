"""``batch+anthropic/MODEL``: the Message Batches API, half the price of the Messages API, within 24 hours.

Limits and rules: platform.claude.com/docs, "Batch processing" (100,000 requests or 256 MB a batch, results kept for 29
days, requests that failed, expired or were cancelled are not billed).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson

from autointerp.clients.anthropic import Anthropic, read
from autointerp.clients.backend import client
from autointerp.clients.batch import Trouble
from autointerp.clients.batched import Batched
from autointerp.clients.classify import classify, classify_error
from autointerp.records import NotSent, Outcome, Request

PATH = "/v1/messages/batches"
STATUSES = {"invalid_request_error": 400, "not_found_error": 404, "rate_limit_error": 429, "overloaded_error": 529}
"""Statuses that the errors inside a batch, which have none, would have come with; 500 for the others."""
SKEW_S, LATE_S = 300.0, 1800.0
"""A job of ours whose id was not heard was created by the provider's clock at most so long before and after it."""


@client("batch+anthropic")
class AnthropicBatch(Batched, Anthropic):
    """Claude through Message Batches; ``@http://host`` names another server that speaks it."""

    max_requests = 10_000
    max_bytes = 128 << 20

    def item(self, custom_id: str, request: Request) -> tuple[str, bytes]:
        """See :class:`~autointerp.clients.batch.Wire`; requests of one API version make one batch."""
        params = self.arguments(request)
        version = params.pop("extra_headers", {}).get("anthropic-version", "")
        params |= params.pop("extra_body", {})
        return version, orjson.dumps({"custom_id": custom_id, "params": params})

    async def submit(self, label: str, group: str, items: Sequence[bytes]) -> str:
        """See :class:`~autointerp.clients.batch.Wire`."""
        body = b'{"requests":[' + b",".join(items) + b"]}"
        headers = {"content-type": "application/json"} | ({"anthropic-version": group} if group else {})
        return str((await self._call("post", PATH, {"headers": headers}, content=body))["id"])

    async def find(self, label: str, n: int, created: float) -> list[str]:
        """See :class:`~autointerp.clients.batch.Wire`; by size and time, since a list of batches says no more."""
        return [
            str(batch["id"])
            for batch in (await self._call("get", PATH, {"params": {"limit": 100}}))["data"]
            if sum(batch["request_counts"].values()) == n
            and -SKEW_S <= datetime.fromisoformat(batch["created_at"]).timestamp() - created <= LATE_S
        ]

    async def ended(self, external: str) -> bool:
        """See :class:`~autointerp.clients.batch.Wire`."""
        return (await self._call("get", f"{PATH}/{external}"))["processing_status"] == "ended"

    async def results(self, external: str) -> AsyncIterator[tuple[str, Outcome]]:
        """See :class:`~autointerp.clients.batch.Wire`. By path, and not by ``results_url``, which may name any host."""
        for line in await self._call("get", f"{PATH}/{external}/results", parse=_lines):
            yield str(line["custom_id"]), outcome(line["result"])

    async def _call(
        self,
        method: str,
        path: str,
        options: Mapping[str, Any] | None = None,
        parse: Callable[[bytes], Any] = orjson.loads,
        **body: Any,
    ) -> Any:
        import anthropic

        sdk = await self._sdk.get()
        try:
            answer = await getattr(sdk, method)(path, cast_to=bytes, options=dict(options or {}), **body)
            return parse(answer)
        except anthropic.APIStatusError as error:
            raise Trouble(
                classify("anthropic", error.status_code, error.body or error.message, error.response.headers)
            ) from None
        except (anthropic.AnthropicError, OSError, ValueError) as error:
            raise Trouble(classify_error(error)) from None


def outcome(result: Mapping[str, Any]) -> Outcome:
    """What became of one request; what failed inside a batch is not billed."""
    kind = result.get("type")
    if kind == "succeeded":
        return read(result.get("message"))
    if kind == "expired":
        return NotSent("timeout", "the provider did not get to it before the batch expired", retryable=True)
    if kind == "canceled":
        return NotSent("cancelled", "the batch was cancelled at the provider")
    error = result.get("error")
    inner = error.get("error", error) if isinstance(error, dict) else {}
    status = STATUSES.get(str(inner.get("type")) if isinstance(inner, dict) else "", 500)
    failure = classify("anthropic", status, error)
    return NotSent(failure.kind, failure.message, failure.retryable, failure.status)


def _lines(content: bytes) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in content.splitlines() if line.strip()]
