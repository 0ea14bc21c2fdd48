"""Our client, and bare retries, against a server that admits 1,000 requests a minute and refuses in bursts besides.

The server runs in another process; it counts what it admits and refuses. The theoretical minimum is the number of
requests over the rate (the server's bucket holds two seconds' worth). The baseline is what scripts do: a fixed number
in flight and a second's wait after every refusal. Prints JSON.

    python benchmarks/rate_limited.py [--requests 1500] [--rpm 1000] [--in-flight 64] [--unstated]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import platform
import random
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import aiohttp

sys.path.insert(0, str(Path(__file__).parents[1]))

from autointerp.clients import Limits, MemoryJournal, connect
from autointerp.clients.chat import chat_body
from autointerp.records import Message, Request, Response

ATTEMPTS = 20


def serve(pipe: Connection, options: argparse.Namespace) -> None:
    """One server for each contender; send its address, and its counts when asked."""
    from tests.servers import FakeServer, RateLimit

    async def main() -> None:
        source = random.Random(0)
        while True:
            limit = RateLimit(
                options.rpm,
                options.rpm / 30,
                stated=not options.unstated,
                again=None if options.unstated else "ms",
                closed=lambda seconds: seconds % 20 > 19.5,
            )
            latency = lambda: source.lognormvariate(-1.6, 0.3)  # noqa: E731
            async with FakeServer("compatible", limit=limit, latency=latency, keep=False) as server:
                pipe.send(server.url)
                await asyncio.to_thread(pipe.recv)
                pipe.send((len(limit.admitted), len(limit.refused), server.most))

    asyncio.run(main())


def requests(n: int) -> list[Request]:
    return [Request((Message("user", f"Question {i}: " + "is this feature active here? " * 40),)) for i in range(n)]


async def bare(url: str, n: int, in_flight: int) -> int:
    """A fixed number in flight, a second after each refusal; how many got no answer."""
    pending, lost = iter(requests(n)), 0
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=in_flight)) as session:
        from autointerp.clients import ModelSpec

        spec = ModelSpec.parse(f"openai/m@{url}")

        async def worker() -> None:
            nonlocal lost
            for request in pending:
                for _ in range(ATTEMPTS):
                    async with session.post(f"{url}/chat/completions", json=chat_body(spec, request)) as answer:
                        await answer.read()
                        if answer.status == 200:
                            break
                    await asyncio.sleep(1.0)
                else:
                    lost += 1

        await asyncio.gather(*(worker() for _ in range(in_flight)))
    return lost


async def ours(url: str, n: int, in_flight: int) -> int:
    """All at once, as a pipeline with many features in flight does; how many got no answer."""
    limits = Limits(max_in_flight=in_flight)
    async with connect(f"openai/m@{url}?price=1,1", store=MemoryJournal(), limits=limits) as client:
        outcomes = await asyncio.gather(*(client.generate(request) for request in requests(n)))
    return sum(not isinstance(outcome, Response) for outcome in outcomes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--requests", type=int, default=1500)
    parser.add_argument("--rpm", type=float, default=1000.0)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--unstated", action="store_true", help="the server states no limit and no time to wait")
    options = parser.parse_args()
    here, there = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(there, options), daemon=True)
    server.start()
    ideal = 60 * options.requests / options.rpm
    report: dict[str, Any] = {"benchmark": "rate_limited", "ideal_s": ideal}
    try:
        for name, contender in (("ours", ours), ("bare", bare)):
            url, began, cpu = here.recv(), time.perf_counter(), time.process_time()
            lost = asyncio.run(contender(url, options.requests, options.in_flight))
            wall, cpu = time.perf_counter() - began, time.process_time() - cpu
            here.send(None)
            admitted, refused, most = here.recv()
            report[name] = {
                "seconds": round(wall, 1),
                "of_ideal": round(wall / ideal, 3),
                "refused": round(refused / (admitted + refused), 4),
                "abandoned": lost,
                "most_at_once": most,
                "cpu_ms_per_request": round(1e3 * cpu / options.requests, 3),
            }
    finally:
        server.kill()
    print(json.dumps(report | {"conditions": vars(options) | {"python": platform.python_version()}}, indent=1))


if __name__ == "__main__":
    main()
