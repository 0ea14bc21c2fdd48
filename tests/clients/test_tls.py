"""Certificates are always checked: no variable, option or proxy switches that off, and nothing is sent before it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from autointerp.clients import ModelSpec
from autointerp.errors import UsageError
from tests.servers import Received, ok_body

REPOSITORY = Path(__file__).resolve().parents[2]
OPENSSL = shutil.which("openssl")
needs_openssl = pytest.mark.skipif(OPENSSL is None, reason="makes its certificate with the program openssl")
SWITCHES = {
    "PYTHONHTTPSVERIFY": "0", "SSL_VERIFY": "false", "VERIFY_SSL": "0", "CURL_CA_BUNDLE": "", "REQUESTS_CA_BUNDLE": "",
    "NODE_TLS_REJECT_UNAUTHORIZED": "0", "GIT_SSL_NO_VERIFY": "1", "HTTPX_VERIFY": "0", "AIOHTTP_SSL": "0",
    "ANTHROPIC_VERIFY": "0", "OPENAI_VERIFY_SSL_CERTS": "0",
}  # fmt: skip
"""Variables that switch the check off somewhere."""


@dataclass
class Peer:
    """A server with a certificate that nobody vouches for, and a proxy that passes everything on to it."""

    port: int
    proxy: int
    certificate: Path
    received: list[str]
    tunnels: list[str]

    async def ask(self, *specs: str, **variables: str) -> list[Any]:
        """What a process of its own, started with these variables, says of each model string."""
        clean = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.clients.tls_child", *specs,
            cwd=REPOSITORY, env=clean | variables, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        said, _ = await child.communicate()
        assert child.returncode == 0
        return json.loads(said)


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Files of a key and of a certificate that it signed itself."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    names = "subjectAltName=DNS:provider.test,DNS:localhost,IP:127.0.0.1"
    words = [str(OPENSSL), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=provider.test"]
    words += ["-addext", names, "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(words, check=True, capture_output=True)
    return key, certificate


@asynccontextmanager
async def peer(folder: Path) -> AsyncIterator[Peer]:
    """Make the certificate, start the server and the proxy."""
    key, certificate = make_certificate(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    found = Peer(0, 0, certificate, [], [])

    async def answer(request: web.Request) -> web.Response:
        found.received.append(request.path)
        raw = await request.read()
        wire = "anthropic" if request.path == "/v1/messages" else "compatible"
        return web.json_response(ok_body(wire, Received(raw, json.loads(raw), {}), "fine"))

    async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found.tunnels.append((await reader.readuntil(b"\r\n\r\n")).decode().split()[1])
        inward, outward = await asyncio.open_connection("127.0.0.1", found.port)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(pump(reader, outward), pump(inward, writer))

    application = web.Application()
    application.router.add_post("/v1/{any:.*}", answer)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    found.port = runner.addresses[0][1]
    proxy = await asyncio.start_server(tunnel, "127.0.0.1", 0)
    found.proxy = proxy.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        proxy.close()
        await runner.cleanup()


async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Pass bytes on until there are no more."""
    try:
        while data := await source.read(1 << 16):
            sink.write(data)
            await sink.drain()
    except OSError:
        pass
    finally:
        sink.close()


def specs(host: str) -> list[str]:
    """Every transport, at one host."""
    return [f"anthropic/m@https://{host}", f"openai/m@https://{host}/v1", f"openrouter/a/b@https://{host}/v1"]


@needs_openssl
async def test_a_certificate_that_nobody_vouches_for_is_refused_and_nothing_is_sent(tmp_path: Path) -> None:
    async with peer(tmp_path) as server:
        host = f"127.0.0.1:{server.port}"
        for outcome in await server.ask(*specs(host), **SWITCHES):
            kind, message, sent, attempts = outcome
            assert (kind, sent, attempts) == ("connection", False, 1), "no retry helps"
            assert "certificate" in message.lower()
            assert len(message) < 500
        assert server.received == []
        trusted = await server.ask(*specs(host), SSL_CERT_FILE=str(server.certificate))
        assert [outcome[0] for outcome in trusted] == ["answer"] * 3, "who vouches for it can be said: SSL_CERT_FILE"
        assert len(server.received) == 3


@needs_openssl
async def test_a_proxy_cannot_answer_in_the_place_of_a_provider(tmp_path: Path) -> None:
    async with peer(tmp_path) as server:
        proxy = {"HTTPS_PROXY": f"http://127.0.0.1:{server.proxy}"}
        for kind, message, sent, attempts in await server.ask(*specs("provider.test"), **proxy, **SWITCHES):
            assert (kind, sent, attempts) == ("connection", False, 1)
            assert "certificate" in message.lower()
        assert server.received == []
        assert set(server.tunnels) == {"provider.test:443"}
        trusted = await server.ask(*specs("provider.test"), **proxy, SSL_CERT_FILE=str(server.certificate))
        assert [outcome[0] for outcome in trusted] == ["answer"] * 3


@pytest.mark.parametrize("option", ["verify=false", "ssl=false", "insecure=true", "tls=0", "verify_ssl=0"])
@pytest.mark.parametrize("name", ["anthropic/m", "openai/m", "openai/m@https://h/v1", "openrouter/a/b", "vllm/m"])
def test_no_option_of_a_model_string_switches_it_off(name: str, option: str) -> None:
    with pytest.raises(UsageError, match="unknown option"):
        ModelSpec.parse(f"{name}?{option}")
