"""Rate of the run store's journal against bare SQLite, on one folder's disk; or of the journal on PostgreSQL.

A *pair* is one ``begin`` and one ``finish`` of an attempt, each durable before its caller goes on; ``concurrent``
callers work side by side, as requests in flight do. The baseline writes the same rows with ``executemany`` in one
transaction: the most that SQLite can do, without an answer to wait for. ``growth`` is what the process holds in memory
after the last turn against after the first. Prints JSON.

    python benchmarks/store.py [--pairs 20000] [--concurrent 64] [--turns 3] [--store postgresql://…]
    python benchmarks/store.py --pairs 250000 --turns 4                      # a million requests
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import resource
import sqlite3
import statistics
import tempfile
import time
from pathlib import Path

from autointerp.records import Response, Usage
from autointerp.store import RunStore

ANSWER = Response('{"answers": [1, 0, 1, 0, 1]}', Usage(1000, 12), 0.001, model="m")


async def pairs(store: RunStore, n: int, concurrent: int, turn: int) -> None:
    """``n`` attempts begun and finished by ``concurrent`` workers."""
    numbers = iter(range(n))

    async def worker() -> None:
        for i in numbers:
            attempt = await store.begin(f"{turn:08x}{i:056x}", spec="openai/m", tag="detection", reserved_usd=0.01)
            await store.finish(attempt, ANSWER)

    await asyncio.gather(*(worker() for _ in range(concurrent)))


def bare(path: Path, n: int) -> float:
    """Seconds for the same rows by ``executemany``."""
    RunStore.open(path).close()
    db = sqlite3.connect(path / "run.db", isolation_level=None)
    db.execute("PRAGMA synchronous=NORMAL")
    began = time.perf_counter()
    db.execute("BEGIN")
    rows = [(f"{i:064x}", "openai/m", "detection", 0.01, 0.0) for i in range(n)]
    db.executemany("INSERT INTO attempts (key, spec, tag, reserved_usd, started) VALUES (?, ?, ?, ?, ?)", rows)
    done = [(1.0, 1000, 12, 0, 0.001, i + 1) for i in range(n)]
    db.executemany(
        "UPDATE attempts SET finished = ?, outcome = 'answer', input_tokens = ?, output_tokens = ?, cached_tokens = ?,"
        " cost_usd = ? WHERE id = ?",
        done,
    )
    answers = [(f"{i:064x}", ANSWER.text, "stop", "m", 1000, 12, 0, 0.001) for i in range(n)]
    db.executemany("INSERT OR REPLACE INTO responses VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL)", answers)
    db.execute("COMMIT")
    db.close()
    return time.perf_counter() - began


def memory_mb() -> float:
    """Resident memory of this process."""
    words = Path("/proc/self/statm").read_text().split()
    return int(words[1]) * resource.getpagesize() / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--pairs", type=int, default=20_000)
    parser.add_argument("--concurrent", type=int, default=64)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--store", help="postgresql:// URL instead of SQLite in this folder")
    options = parser.parse_args()
    rates: dict[str, list[float]] = {"journal": [], "bare": []}
    cpu, memory = [], []
    with tempfile.TemporaryDirectory(dir=".") as folder, RunStore.open(options.store or f"{folder}/run") as store:
        for turn in range(options.turns):
            wall, used = time.perf_counter(), time.process_time()
            asyncio.run(pairs(store, options.pairs, options.concurrent, turn))
            rates["journal"].append(options.pairs / (time.perf_counter() - wall))
            cpu.append((time.process_time() - used) / options.pairs)
            memory.append(memory_mb())
            rates["bare"].append(options.pairs / bare(Path(folder, f"bare{turn}"), options.pairs))
        began = time.perf_counter()
        store.spend()
        spend_s = time.perf_counter() - began
        began = time.perf_counter()
        for i in range(2000):
            store.get_response(f"{0:08x}{i:056x}")
        lookup_s = (time.perf_counter() - began) / 2000
    median = {name: statistics.median(values) for name, values in rates.items()}
    report = {
        "pairs_per_second": round(median["journal"]),
        "bare_pairs_per_second": round(median["bare"]),
        "ratio": round(median["journal"] / median["bare"], 3),
        "cpu_ms_per_pair": round(1e3 * min(cpu), 3),
        "memory_mb": round(memory[-1]),
        "growth": round(memory[-1] / memory[0], 2),
        "lookup_us": round(1e6 * lookup_s, 1),
        "spend_ms": {"attempts": options.pairs * options.turns, "ms": round(1e3 * spend_s, 1)},
        "conditions": vars(options)
        | {"store": store.where if options.store else "SQLite"}
        | {"python": platform.python_version(), "sqlite": sqlite3.sqlite_version},
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
