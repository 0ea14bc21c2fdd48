"""Rate of the whole client stack against bare aiohttp, on one local server that takes 200 ms for an answer.

Both run in this process, in turns, and the server in another one. Prints JSON: requests a second and CPU milliseconds a
request of each, the median ratio over the turns, and the ideal rate.

    python benchmarks/client_rate.py [--requests 1920] [--in-flight 64] [--turns 3]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import platform
import statistics
import time
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection

import aiohttp
from aiohttp import web

from autointerp.clients import Limits, MemoryJournal, connect
from autointerp.clients.chat import chat_body
from autointerp.records import Message, Request, Response

PROMPT = "The feature is active on the tokens between the delimiters in each of these examples. " * 48
SCHEMA = {
    "type": "object",
    "properties": {"answers": {"type": "array", "items": {"type": "integer"}}},
    "required": ["answers"],
    "additionalProperties": False,
}

ANSWER = '{"explanation": "fires on some residue", "answers": [1, 0, 1, 0, 1]}'
"""Serves explainers and judges of five examples alike."""


def serve(pipe: Connection, delay: float) -> None:
    """Answer every chat completion after ``delay`` seconds; send the port over ``pipe``."""
    body = json.dumps(
        {
            "id": "c", "object": "chat.completion", "created": 1, "model": "m",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": ANSWER},
                         "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1000, "completion_tokens": 12, "total_tokens": 1012},
        }
    ).encode()  # fmt: skip

    async def handle(request: web.Request) -> web.Response:
        await request.read()
        await asyncio.sleep(delay)
        return web.Response(body=body, content_type="application/json")

    async def main() -> None:
        application = web.Application()
        application.router.add_post("/v1/chat/completions", handle)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
        pipe.send(runner.addresses[0][1])
        await asyncio.Event().wait()

    asyncio.run(main())


def requests(n: int, turn: int) -> list[Request]:
    """``n`` distinct requests with a prompt of 4 kB."""
    system = Message("system", "Say for each example whether the feature is active.")
    return [Request((system, Message("user", f"{PROMPT} {turn}:{i}")), schema=SCHEMA) for i in range(n)]


async def timed(work: list[Request], in_flight: int, one: Callable[[Request], Awaitable[None]]) -> tuple[float, float]:
    """Requests a second and CPU seconds a request, ``in_flight`` workers pulling from one list."""
    pending = iter(work)

    async def worker() -> None:
        for request in pending:
            await one(request)

    wall, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(worker() for _ in range(in_flight)))
    return len(work) / (time.perf_counter() - wall), (time.process_time() - cpu) / len(work)


async def measure(url: str, n: int, in_flight: int, turns: int) -> dict[str, list[tuple[float, float]]]:
    """Both, in turns, after one round each that does not count."""
    found: dict[str, list[tuple[float, float]]] = {"bare": [], "client": []}
    connector = aiohttp.TCPConnector(limit=in_flight)
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        connect(f"openai/m@{url}", store=MemoryJournal(), limits=Limits(max_in_flight=in_flight)) as client,
    ):

        async def bare(request: Request) -> None:
            async with session.post(f"{url}/chat/completions", json=chat_body(client.spec, request)) as answer:
                assert (await answer.json())["choices"]

        async def whole(request: Request) -> None:
            assert isinstance(await client.generate(request), Response)

        for turn in range(-1, turns):
            size = n if turn >= 0 else in_flight
            for name, one in (("bare", bare), ("client", whole)):
                result = await timed(requests(size, turn), in_flight, one)
                if turn >= 0:
                    found[name].append(result)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--requests", type=int, default=1920)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--delay", type=float, default=0.2)
    options = parser.parse_args()
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs, options.delay), daemon=True)
    server.start()
    try:
        url = f"http://127.0.0.1:{ours.recv()}/v1"
        found = asyncio.run(measure(url, options.requests, options.in_flight, options.turns))
    finally:
        server.terminate()
    ratios = [client[0] / bare[0] for client, bare in zip(found["client"], found["bare"], strict=True)]
    median = {name: [statistics.median(column) for column in zip(*rows, strict=True)] for name, rows in found.items()}
    report = {
        "bare_rate": round(median["bare"][0], 1),
        "client_rate": round(median["client"][0], 1),
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "ideal_rate": options.in_flight / options.delay,
        "cpu_ms_per_request": {name: round(1e3 * values[1], 3) for name, values in median.items()},
        "conditions": vars(options) | {"prompt_bytes": len(PROMPT), "python": platform.python_version()},
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
