"""Rate of a whole run (prompts, journal in SQLite, parsing, scores) against bare aiohttp on the same 200 ms server.

Both keep 64 requests in flight and take turns; the server is another process. Records are loaded before the clock
starts, so that the loader is not what is measured. The server says something else to every request, so that the
explanations differ and every request of a null is one that must be sent: 81 of 81 for each feature. With ``--same`` it
says one thing to all, and the store answers the requests of nulls. Prints JSON: medians of the rates, of their ratio
and of CPU milliseconds, for each request sent and for each planned.

    python benchmarks/pipeline_rate.py [--features 128] [--in-flight 64] [--turns 5] [--same]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import multiprocessing
import platform
import statistics
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import aiohttp
from client_rate import serve

from autointerp.clients import Limits, connect
from autointerp.clients.chat import chat_body
from autointerp.explainers import DefaultExplainer
from autointerp.pipeline import Pipeline
from autointerp.records import Example, FeatureRecord, FeatureStatistics, Side
from autointerp.scorers import DetectionScorer, FuzzingScorer
from autointerp.store import RunStore


def record(feature: int) -> FeatureRecord:
    """A record of 40 + 50 activating and 50 + 50 silent contexts of 32 residues."""
    import numpy as np

    rng = np.random.default_rng(feature)
    letters = np.array(list("ACDEFGHIKLMNPQRSTVWY"))

    def examples(n: int, active: bool, group: int) -> tuple[Example, ...]:
        made = []
        for i in range(n):
            activations = np.zeros(32, np.float32)
            activations[16] = float(active)
            text = "".join(rng.choice(letters, 32))
            kind, quantile = ("activating", i * 10 // n) if active else ("random", -1)
            made.append(
                Example(
                    sequence=i,
                    start=8,
                    text=text,
                    ends=np.arange(1, 33),
                    activations=activations,
                    group=group,
                    kind=kind,
                    quantile=quantile,
                    length=200,
                    metadata={},
                )
            )
        return tuple(made)

    statistics_ = FeatureStatistics(count=1000, max=1.0, mean=0.5, frequency=0.01, n_sequences=300, n_groups=200)
    explain, test = (
        Side(examples(40, True, 0), examples(50, False, 0)),
        Side(examples(50, True, 1), examples(50, False, 1)),
    )
    return FeatureRecord(feature, explain, Side(), test, statistics_, modality="protein")


class Records(dict):
    """Records that stand for a loader."""

    cache = SimpleNamespace(level="token", manifest={"subject": {}})
    settings = {"benchmark": True}  # noqa: RUF012
    seed = 0


async def bare(url: str, bodies: list[dict], in_flight: int) -> dict[str, float]:
    """Requests a second of aiohttp alone, and CPU milliseconds a request."""
    pending = iter(bodies)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=in_flight)) as session:

        async def worker() -> None:
            for body in pending:
                async with session.post(f"{url}/chat/completions", json=body) as answer:
                    assert (await answer.json())["choices"]

        wall, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(worker() for _ in range(in_flight)))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        return {"bare_per_s": len(bodies) / wall, "bare_cpu_ms_a_request": 1e3 * cpu / len(bodies)}


async def whole(url: str, records: Records, in_flight: int, folder: Path) -> dict[str, float]:
    """Requests a second of a run, and CPU milliseconds for each that was planned and for each that was sent."""
    with RunStore.open(folder) as store:
        limits = Limits(max_in_flight=in_flight)
        async with connect(f"openai/m@{url}", store=store, limits=limits) as client:
            scorers = [DetectionScorer(), FuzzingScorer()]
            pipeline = Pipeline(records, DefaultExplainer(), scorers, client=client, store=store)  # type: ignore[arg-type]
            wall, cpu = time.perf_counter(), time.process_time()
            report = await pipeline.run(sorted(records))
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            sent, planned = report.spend.attempts, client.statistics.sent + client.statistics.cached
            assert report.spend.answers == sent
            return {
                "run_per_s": sent / wall,
                "run_cpu_ms_a_request_sent": 1e3 * cpu / sent,
                "run_cpu_ms_a_request_planned": 1e3 * cpu / planned,
                "sent": sent,
                "planned": planned,
            }


async def bodies_of(records: Records, url: str) -> list[dict]:
    """The bodies that a run sends, without nulls."""
    from autointerp.clients import ModelSpec
    from autointerp.records import Explanation

    spec, found = ModelSpec.parse(f"openai/m@{url}"), []
    for one in records.values():
        said = Explanation(one.feature, "fires on some residue", "default@2")
        plans = [DefaultExplainer().explain(one), *(s.score(one, said) for s in (DetectionScorer(), FuzzingScorer()))]
        found += [chat_body(spec, request) for plan in plans for request in next(plan)]
    return found


async def measure(url: str, n: int, in_flight: int, turns: int) -> dict[str, float]:
    """Medians over the turns, and the least CPU time of a request."""
    found: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(turns):
            records = Records({i: record(i) for i in range(turn * n, (turn + 1) * n)})
            # features of a turn are numbered from 0 for the run; their texts differ from the other turns'
            records = Records(dict(enumerate(records.values())))
            bodies = await bodies_of(records, url)
            gc.collect()
            gc.freeze()  # what was loaded before the clock starts, which the collector would walk for both
            one = await bare(url, bodies, in_flight) | await whole(url, records, in_flight, Path(folder) / str(turn))
            gc.unfreeze()
            found.append(one | {"ratio": one["run_per_s"] / one["bare_per_s"]})
    medians = {name: statistics.median(one[name] for one in found) for name in found[0]}
    least = {f"least_{name}": min(one[name] for one in found) for name in found[0] if "cpu" in name}
    return {name: round(value, 3) for name, value in (medians | least).items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--features", type=int, default=128)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--delay", type=float, default=0.2)
    parser.add_argument("--same", action="store_true", help="all answers are one, so that the store gives half of them")
    options = parser.parse_args()
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(
        target=serve, args=(theirs, options.delay, options.same), daemon=True
    )
    server.start()
    try:
        url = f"http://127.0.0.1:{ours.recv()}/v1"
        result = asyncio.run(measure(url, options.features, options.in_flight, options.turns))
    finally:
        server.kill()
    facts = {"in_flight": options.in_flight, "delay_s": options.delay, "ideal_per_s": options.in_flight / options.delay}
    print(json.dumps({"benchmark": "pipeline_rate", "python": platform.python_version(), **facts, **result}, indent=1))


if __name__ == "__main__":
    main()
