from __future__ import annotations

import pytest

from autointerp.clients import ModelSpec
from autointerp.errors import UsageError


@pytest.mark.parametrize(
    ("text", "provider", "model", "url", "options"),
    [
        ("anthropic/claude-haiku-4-5", "anthropic", "claude-haiku-4-5", None, {}),
        ("openrouter/meta-llama/llama-3.3-70b:free", "openrouter", "meta-llama/llama-3.3-70b:free", None, {}),
        ("openrouter/a/b?order=x,y&zdr=true", "openrouter", "a/b", None, {"order": "x,y", "zdr": "true"}),
        ("openai/Qwen/Qwen2.5@http://h:8000/v1/", "openai", "Qwen/Qwen2.5", "http://h:8000/v1", {}),
        ("openai/m@20250101@https://h.org/v1?seed=3", "openai", "m@20250101", "https://h.org/v1", {"seed": "3"}),
        ("anthropic/claude@2025", "anthropic", "claude@2025", None, {}),
        ("scripted?answer=yes", "scripted", "", None, {"answer": "yes"}),
        ("scripted?answer=a%26b%2Bc%25", "scripted", "", None, {"answer": "a&b+c%"}),
        ("batch+anthropic/claude", "anthropic", "claude", None, {}),
        ("manual//some/folder", "manual", "/some/folder", None, {}),
    ],
)
def test_parts(text: str, provider: str, model: str, url: str | None, options: dict[str, str]) -> None:
    spec = ModelSpec.parse(text)
    assert (spec.provider, spec.model, spec.url, dict(spec.options)) == (provider, model, url, options)
    assert ModelSpec.parse(spec.text) == spec
    assert hash(spec) == hash(ModelSpec.parse(text))


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("openai/m@http://h/v1", "openai/m@http://other:1/v1", True),
        ("openai/m@http://h/v1", "openai/m@http://h/v1?timeout=5&price=1,2&rpm=10&in_flight=3", True),
        ("openai/m@http://h/v1", "openai/m@http://h/v1?identity=mine", False),
        ("openai/m@http://h/v1?seed=1&top_k=2", "openai/m@http://h/v1?top_k=2&seed=1", True),
        ("openai/m@http://h/v1?temperature=0.5", "openai/m@http://h/v1?temperature=0.50", True),
        ("openai/m@http://h/v1?temperature=0.5", "openai/m@http://h/v1?temperature=0.6", False),
        ("openai/m@http://h/v1", "openai/m@http://h/v1?schema=false", False),
        ("openrouter/a/b", "openrouter/a/b?order=x", False),
        ("openrouter/a/b", "openai/b", False),
        ("anthropic/a", "anthropic/b", False),
        ("anthropic/a", "batch+anthropic/a?batch_size=9&window=3", True),
        ("openai/m@http://h/v1?seed=1", "batch+openai/m@http://other/v1?seed=1", True),
        ("replay/run?as=anthropic/a", "anthropic/a", True),
        ("replay/run?as=batch+anthropic/a", "replay/elsewhere/run.db?as=anthropic/a", True),
        ("replay/run?as=anthropic/a?top_k=3", "anthropic/a", False),
        ("vllm/m?tp=2&memory=0.5&context=100", "vllm/m", True),
        ("vllm/m?quantization=fp8", "vllm/m", False),
    ],
)
def test_identity(a: str, b: str, same: bool) -> None:
    assert (ModelSpec.parse(a).identity == ModelSpec.parse(b).identity) is same


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("antropic/claude", ["'antropic'", "anthropic", "openrouter", "did you mean 'anthropic'"]),
        ("anthropic", ["names no model", "anthropic/MODEL"]),
        ("scripted@http://h/v1?answer=x", ["takes no @URL"]),
        ("openai/m@http:///v1", ["no host"]),
        ("batch+openrouter/a/b", ["openrouter has no batch API", "batch+anthropic, batch+openai have one"]),
        ("batch+antropic/claude", ["unknown client 'antropic'", "did you mean 'anthropic'"]),
        ("anthropic/m?batch_size=5", ["unknown option 'batch_size' of anthropic"]),
        ("batch+anthropic/m?batch_size=0", ["batch_size='0'"]),
        ("vllm/m?memory=2", ["memory='2'"]),
        ("replay/run?as=nonsense/x", ["as='nonsense/x'", "unknown client 'nonsense'"]),
        ("anthropic/m?temprature=1", ["'temprature'", "temperature", "did you mean"]),
        ("anthropic/m?order=a", ["unknown option 'order' of anthropic"]),
        ("anthropic/m?temperature=hot", ["temperature='hot'", "not valid"]),
        ("anthropic/m?price=1", ["price='1'"]),
        ("anthropic/m?timeout=-1", ["timeout='-1'"]),
        ("openai/m?seed=1&seed=2", ["given twice"]),
    ],
)
def test_refused(text: str, words: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        ModelSpec.parse(text)
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert len(message.splitlines()) <= 2


@pytest.mark.parametrize(
    "text",
    [
        "openai/m@https://user:hunter2secret@host/v1",
        "openai/m@https://hunter2secret@host/v1",
        "openai/m@http://h/v1?api_key=hunter2secret",
        "openai/m@http://h/v1?key=hunter2secret",
        "openai/m@http://h/v1?x-api-key=hunter2secret",
        "anthropic/m?token=hunter2secret",
        "anthropic/sk-ant-hunter2secret",
        "nonsense?x=sk-hunter2secret",
    ],
)
def test_a_credential_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        ModelSpec.parse(text)
    assert "credential" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_names_that_only_look_like_credentials() -> None:
    assert ModelSpec.parse("openrouter/vendor/mask-bert-large").model == "vendor/mask-bert-large"


@pytest.mark.parametrize(
    ("url", "free"),
    [
        ("http://localhost:8000/v1", True),
        ("http://127.0.0.1:1/v1", True),
        ("http://10.0.3.4/v1", True),
        ("http://[::1]:8000/v1", True),
        ("http://gpu-box:8000/v1", True),
        ("http://gpu.local/v1", True),
        ("https://api.together.xyz/v1", False),
        ("http://8.8.8.8/v1", False),
        ("http://localhost:8000/v1?price=1,2", False),
    ],
)
def test_local_servers_are_free(url: str, free: bool) -> None:
    assert ModelSpec.parse(f"openai/m@{url}").is_free is free
