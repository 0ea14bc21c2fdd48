"""Claude, through Anthropic's official SDK on its aiohttp backend; the SDK's retries are switched off."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson

from autointerp.clients.backend import Limits, Observe, client
from autointerp.clients.chat import SAMPLING, counted
from autointerp.clients.classify import classify, classify_error
from autointerp.clients.prices import estimate_tokens
from autointerp.clients.session import PerLoop
from autointerp.clients.spec import ModelSpec
from autointerp.errors import missing
from autointerp.records import Capabilities, Failure, Outcome, Request, Response, Usage

if TYPE_CHECKING:
    from anthropic import AsyncAnthropic

HOME = "https://api.anthropic.com"
SAMPLING_FIELDS = frozenset({"temperature", "top_p", "top_k"})
SAMPLING_VERSION = "2023-06-01"
"""The last API version with sampling parameters; from 2026-10-21 on, which the SDK sends, any of them is answered 400
(platform.claude.com/docs, "Migrating to API version 2026-10-21")."""
NO_SAMPLING = re.compile(r"^claude-(opus-(4-[78]|5)|fable-5|mythos-5)")
"""Models that answer 400 to a temperature under any API version; for others of the kind: ?temperature=default."""
FINISHES = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
}
CACHED_FROM = (
    (r"claude-(haiku-4-5|opus-4-[56])", 4096),
    (r"claude-(sonnet-4-6)", 2048),
    (r"claude-opus-5", 512),
)
"""Model and the tokens from which on it caches a beginning; 1,024 for the others."""
PLAIN = frozenset({"host", "content-type", "content-length", "accept", "accept-encoding", "connection", "user-agent",
                   "anthropic-version"})  # fmt: skip


@client("anthropic")
class Anthropic:
    """``anthropic/MODEL``: the Messages API; ``@http://host`` names another server that speaks it."""

    options: Mapping[str, Callable[[str], Any]] = {**SAMPLING, "top_k": int, "effort": str, "thinking": str}
    capabilities = Capabilities(schema=True)
    needs_model = True
    takes_url = True
    key_variable = "ANTHROPIC_API_KEY"

    def __init__(self, spec: ModelSpec, *, limits: Limits, api_key: str | None) -> None:
        with missing("the Anthropic client", "anthropic"):
            import anthropic  # noqa: F401 - found missing before anything is sent
        self.spec = spec
        schema = spec.answer_options().get("schema", True)
        self.capabilities = replace(
            type(self).capabilities, schema=schema, free=spec.is_free, cache_min_tokens=least_cached(spec.model)
        )
        self._key, self._limits = api_key, limits
        self.observe: Observe | None = None
        self._sdk = PerLoop(self._open)

    async def _open(self) -> AsyncGenerator[AsyncAnthropic, None]:
        import httpx2
        from anthropic import AsyncAnthropic, DefaultAioHttpClient

        pool = httpx2.Limits(max_connections=self._limits.max_in_flight)
        hooks = {"request": [self._strip]} if self.spec.url is not None else {}
        sdk = AsyncAnthropic(
            api_key=self._key or "",  # explicit, or the SDK would look for credentials of the provider's own host
            base_url=self.spec.url or HOME,  # explicit, or ANTHROPIC_BASE_URL would send the key elsewhere
            max_retries=0,
            timeout=self._limits.timeout_s + 5.0,
            http_client=DefaultAioHttpClient(follow_redirects=False, event_hooks=hooks, limits=pool),
        )
        try:
            yield sdk
        finally:
            await sdk.close()

    async def _strip(self, request: Any) -> None:
        """Keep from another host what the SDK adds for Anthropic's: ANTHROPIC_CUSTOM_HEADERS may hold a credential."""
        allowed = PLAIN | {"authorization", "x-api-key"} if self._key else PLAIN
        for name in [name.lower() for name in request.headers]:
            if name not in allowed and not name.startswith("x-stainless-"):
                del request.headers[name]

    def arguments(self, request: Request) -> dict[str, Any]:
        """The arguments of ``messages.create``.

        Sampling parameters go through ``extra_body`` and ask for the last API version that has them; without any, the
        SDK's own version is sent. The schema is reduced to the keywords that the API accepts, the others becoming part
        of the descriptions.
        """
        import anthropic

        options = self.spec.answer_options()
        system = request.beginning
        turns = [{"role": m.role, "content": m.content} for m in request.messages if m.role != "system"]
        arguments: dict[str, Any] = {"model": self.spec.model, "max_tokens": request.max_tokens, "messages": turns}
        if system and estimate_tokens(system) >= (self.capabilities.cache_min_tokens or 0):
            arguments["system"] = [{"type": "text", "text": system, "cache_control": {"type": "ephemeral"}}]
        elif system:
            arguments["system"] = system
        output: dict[str, Any] = {}
        if effort := options.pop("effort", None):
            output["effort"] = effort
        if options.pop("schema", True) and request.schema is not None:
            output["format"] = {"type": "json_schema", "schema": anthropic.transform_schema(dict(request.schema))}
        if output:
            arguments["output_config"] = output
        if thinking := options.pop("thinking", None):
            arguments["thinking"] = {"type": thinking}
        heat = None if NO_SAMPLING.match(self.spec.model) else request.temperature
        if (heat := options.pop("temperature", heat)) is not None:
            options["temperature"] = heat
        if options:
            arguments["extra_body"] = options
        if SAMPLING_FIELDS & options.keys():
            arguments["extra_headers"] = {"anthropic-version": SAMPLING_VERSION}
        return arguments

    async def generate(self, request: Request) -> Outcome:
        """Send ``request`` once."""
        import anthropic

        sdk = await self._sdk.get()
        try:
            answer = await sdk.messages.with_raw_response.create(**self.arguments(request))
            if self.observe is not None:
                self.observe(answer.headers)
            return read(orjson.loads(await answer.read()))
        except anthropic.APIStatusError as error:
            if self.observe is not None:
                self.observe(error.response.headers)
            return classify("anthropic", error.status_code, error.body or error.message, error.response.headers)
        except (anthropic.AnthropicError, OSError, ValueError) as error:
            return classify_error(error)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._sdk.aclose()


def least_cached(model: str) -> int:
    """Tokens below which the API does not cache a beginning (platform.claude.com/docs, "Prompt caching")."""
    return next((least for pattern, least in CACHED_FROM if re.match(pattern, model)), 1024)


def read(body: Any) -> Outcome:
    """Read a message that came with status 200."""
    blocks = body.get("content") if isinstance(body, dict) else None
    if not isinstance(blocks, list):
        return Failure("bad_answer", "the server's answer is not a message: no list `content`", retryable=True)
    texts = [block.get("text") for block in blocks if isinstance(block, dict) and block.get("type") == "text"]
    if any(text is None for text in texts):
        return Failure("bad_answer", "the server's answer is not a message: a text block without text", retryable=True)
    finish = str(body.get("stop_reason") or "stop")
    return Response(
        text="".join(map(str, texts)),
        usage=_usage(body.get("usage")),
        finish=FINISHES.get(finish, finish),
        model=str(body.get("model") or ""),
    )


def _usage(usage: Any) -> Usage | None:
    """Tokens in all: the API reports what was read from and written to its cache apart from ``input_tokens``."""
    if not isinstance(usage, dict):
        return None
    counts = [usage.get(name) or 0 for name in ("cache_read_input_tokens", "cache_creation_input_tokens")]
    counts.append(usage.get("input_tokens"))
    if not all(type(count) is int and count >= 0 for count in counts):
        return None
    return counted(sum(counts), usage.get("output_tokens"), counts[0], counts[1])
