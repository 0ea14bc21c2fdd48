"""``batch+openai/MODEL``: OpenAI's files and batches, half the price, within 24 hours; ``@http://host/v1`` for others.

Limits and rules: developers.openai.com/api/docs/guides/batch (50,000 requests or 200 MB a file). Lean aiohttp calls, so
that one path serves OpenAI and every compatible server with ``/files`` and ``/batches`` (vLLM's own has none).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import orjson

from autointerp.clients.backend import Limits, client
from autointerp.clients.batch import Refused, Trouble
from autointerp.clients.batched import Batched
from autointerp.clients.chat import chat_answer
from autointerp.clients.classify import classify, classify_error
from autointerp.clients.compatible import Compatible
from autointerp.clients.openai import HOME, OpenAI
from autointerp.clients.spec import ModelSpec
from autointerp.records import Failure, NotSent, Outcome, Request

ENDPOINT = "/v1/chat/completions"
LABEL = "autointerp"
"""Name of the entry in a batch's metadata that says which requests are in it."""
SKEW_S = 300.0
"""Seconds by which the provider's clock may be behind ours."""
OVER = frozenset({"completed", "failed", "expired", "cancelled"})
FREE = {"batch_expired": ("timeout", True), "batch_cancelled": ("cancelled", False)}
"""Errors of requests that were never carried out: kind, whether to ask again."""
FULL = frozenset({"token_limit_exceeded", "request_limit_exceeded"})
"""Errors of a batch that was refused because others are still queued: it is submitted again later."""


@client("batch+openai")
class OpenAIBatch(Batched, Compatible):
    """Chat completions through OpenAI's batches, or those of a server named with ``@http://host/v1``."""

    options: Mapping[str, Callable[[str], Any]] = {**Compatible.options, **OpenAI.options}
    key_variable = OpenAI.key_variable
    home = HOME
    max_requests = 10_000
    max_bytes = 128 << 20

    def __init__(self, spec: ModelSpec, *, limits: Limits, api_key: str | None, **timing: Any) -> None:
        super().__init__(spec, limits=limits, api_key=api_key, **timing)
        self._base = spec.url or HOME
        self._own = OpenAI(spec, limits=limits, api_key=None) if spec.url is None else None

    def body(self, request: Request) -> dict[str, Any]:
        """The JSON body of one request, as it is sent online."""
        return super().body(request) if self._own is None else self._own.body(request)

    def item(self, custom_id: str, request: Request) -> tuple[str, bytes]:
        """See :class:`~autointerp.clients.batch.Wire`."""
        line = {"custom_id": custom_id, "method": "POST", "url": ENDPOINT, "body": self.body(request)}
        return "", orjson.dumps(line)

    async def submit(self, label: str, group: str, items: Sequence[bytes]) -> str:
        """See :class:`~autointerp.clients.batch.Wire`: a file, then a batch that names it."""
        import aiohttp

        form = aiohttp.FormData()
        form.add_field("purpose", "batch")
        form.add_field("file", b"\n".join(items) + b"\n", filename=f"{label}.jsonl", content_type="application/jsonl")
        try:
            file = await self._call("POST", "/files", data=form)
        except Trouble as trouble:  # a file costs nothing, so that its trouble is never a bill
            failure = trouble.failure
            raise Trouble(NotSent(failure.kind, failure.message, failure.retryable, failure.status)) from None
        job = {
            "input_file_id": file["id"],
            "endpoint": ENDPOINT,
            "completion_window": "24h",
            "metadata": {LABEL: label},
        }
        return str((await self._call("POST", "/batches", json=job))["id"])

    async def find(self, label: str, n: int, created: float) -> list[str]:
        """See :class:`~autointerp.clients.batch.Wire`; by the label in the metadata."""
        return [
            str(batch["id"])
            for batch in (await self._call("GET", "/batches?limit=100"))["data"]
            if (batch.get("metadata") or {}).get(LABEL) == label
            and batch["created_at"] >= created - SKEW_S
            and batch["status"] != "failed"
        ]

    async def ended(self, external: str) -> bool:
        """See :class:`~autointerp.clients.batch.Wire`."""
        batch = await self._call("GET", f"/batches/{external}")
        if batch["status"] == "failed":
            raise Refused(_refused(batch))
        return batch["status"] in OVER

    async def results(self, external: str) -> AsyncIterator[tuple[str, Outcome]]:
        """See :class:`~autointerp.clients.batch.Wire`: a file of answers, a file of errors, or both."""
        batch = await self._call("GET", f"/batches/{external}")
        for name in ("output_file_id", "error_file_id"):
            if file := batch.get(name):
                for line in await self._call("GET", f"/files/{file}/content", parse=_lines):
                    yield str(line["custom_id"]), outcome(line)

    async def _call(self, method: str, path: str, parse: Any = orjson.loads, **body: Any) -> Any:
        import aiohttp

        session = await self._session.get()
        headers = {name: value for name, value in self._headers.items() if name != "Content-Type"}
        try:
            async with session.request(
                method, self._base + path, headers=headers, allow_redirects=False, **body
            ) as answer:
                status, content = answer.status, await answer.read()
            if status == 200:
                return parse(content)
            failure = classify("openai", status, _parsed(content), answer.headers)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            failure = classify_error(error)
        raise Trouble(failure)


def outcome(line: Mapping[str, Any]) -> Outcome:
    """What became of one request."""
    answer, error = line.get("response"), line.get("error")
    if isinstance(answer, dict) and isinstance(answer.get("status_code"), int):
        if answer["status_code"] == 200:
            return chat_answer(answer.get("body"))
        failure = classify("openai", answer["status_code"], answer.get("body"))
    else:
        code = error.get("code") if isinstance(error, dict) else None
        if code in FREE:
            kind, again = FREE[code]
            return NotSent(kind, f"{code}: the request was not carried out", again)
        failure = classify("openai", 500, {"error": error})
    return NotSent(failure.kind, failure.message, failure.retryable, failure.status)


def _refused(batch: Mapping[str, Any]) -> Failure:
    """Why a whole batch was refused; nothing of it was carried out."""
    errors = ((batch.get("errors") or {}).get("data") or [{}])[:1]
    code, message = errors[0].get("code"), f"{errors[0].get('code')}: {errors[0].get('message')}"
    if code in FULL:
        return NotSent("rate_limit", message, retryable=True, status=429)
    failure = classify("openai", 400, {"error": dict(errors[0])})
    return NotSent(failure.kind, failure.message, False, 400)


def _lines(content: bytes) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in content.splitlines() if line.strip()]


def _parsed(content: bytes) -> Any:
    try:
        return orjson.loads(content)
    except ValueError:
        return content[:400].decode("utf-8", "replace")
