"""OpenAI's own API, through its official SDK on its aiohttp backend; the SDK's retries are switched off.

``openai/MODEL@http://host/v1`` is another server, and goes through :mod:`autointerp.clients.compatible`.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import TYPE_CHECKING, Any

import orjson

from autointerp.clients.backend import Limits, client
from autointerp.clients.chat import SAMPLING, chat_answer, chat_body
from autointerp.clients.classify import classify, classify_error
from autointerp.clients.session import PerLoop
from autointerp.clients.spec import ModelSpec
from autointerp.errors import missing
from autointerp.records import Capabilities, Outcome, Request

if TYPE_CHECKING:
    from openai import AsyncOpenAI

HOME = "https://api.openai.com/v1"
FIXED_TEMPERATURE = re.compile(r"^(o1|o3|o4|gpt-5(-mini|-nano)?(-\d{4}-\d\d-\d\d)?$)")
"""Reasoning models that answer 400 to any temperature but the default; for others of the kind: ?temperature=default."""


@client("openai")
class OpenAI:
    """``openai/MODEL``: chat completions on api.openai.com.

    Parameters
    ----------
    home : address of the API; the key goes there.
    """

    options: Mapping[str, Callable[[str], Any]] = {**SAMPLING, "seed": int, "reasoning_effort": str}
    needs_model = True
    takes_url = True
    key_variable = "OPENAI_API_KEY"

    def __init__(self, spec: ModelSpec, *, limits: Limits, api_key: str | None, home: str = HOME) -> None:
        with missing("the OpenAI client", "openai"):
            import openai  # noqa: F401 - found missing before anything is sent
        self.spec = spec
        self.capabilities = Capabilities(schema=spec.answer_options().get("schema", True))
        self._home, self._key, self._limits = home, api_key, limits
        self._sdk = PerLoop(self._open)

    async def _open(self) -> AsyncGenerator[AsyncOpenAI, None]:
        from openai import AsyncOpenAI, DefaultAioHttpClient

        sdk = AsyncOpenAI(
            api_key=self._key,
            base_url=self._home,  # explicit, or OPENAI_BASE_URL would send the key elsewhere
            max_retries=0,
            timeout=self._limits.timeout_s + 5.0,
            http_client=DefaultAioHttpClient(follow_redirects=False),
        )
        try:
            yield sdk
        finally:
            await sdk.close()

    def body(self, request: Request) -> dict[str, Any]:
        """The JSON body that is sent."""
        body = chat_body(self.spec, request, limit="max_completion_tokens")
        if FIXED_TEMPERATURE.match(self.spec.model) and "temperature" not in dict(self.spec.options):
            body.pop("temperature", None)
        return body

    async def generate(self, request: Request) -> Outcome:
        """Send ``request`` once."""
        import openai

        sdk = await self._sdk.get()
        try:
            answer = await sdk.chat.completions.with_raw_response.create(**self.body(request))
            return chat_answer(orjson.loads(answer.content))
        except openai.APIStatusError as error:
            return classify("openai", error.status_code, error.body or error.message, error.response.headers)
        except (openai.OpenAIError, OSError, ValueError) as error:
            return classify_error(error)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._sdk.aclose()
