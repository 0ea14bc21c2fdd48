"""The dashboard on a large synthetic run: start of the server, first paint, queries, a feature's page, export, memory.

The run has ``--features`` features with ``--explanations`` explanations, a score and a null of each, a cache, and the
tables of `autointerp analyze`; the first ``--judged`` features have 100 trials of every score and null too, and are the
ones whose pages are measured and exported. Times of the browser are of headless Chromium through Playwright, and left
out where there is none. The baseline (`dashboard_side.py`) reads its files for each request: each query's
``parquet_ms`` is the joined table read, filtered, sorted, and a page of it written as JSON; the feature's ``sqlite_ms``
its rows read and written as JSON, without contexts, statistics and neighbours. ``ratio`` is the baseline's median over
ours; ``rows`` differ at the end of a range, where ours are of the four digits that it shows. Prints JSON.

    python benchmarks/dashboard.py [--features 20000] [--explanations 10] [--judged 1000] [--folder DIR]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
from dashboard_side import feature, median_ms, page, write_features
from synthetic import make_cache, make_families

from autointerp.cache import ActivationCache
from autointerp.store import RunStore

N_TRIALS = 100
WORDS = ("binding", "zinc", "finger", "helix", "strand", "signal", "peptide", "kinase", "acidic", "proline", "loop")
PATTERNS = ("point", "short", "medium", "long", "whole", "periodic")
SYMBOLS = "ACDEFGHIKLMNPQRSTVWY"
STATISTICS = '{"count":300,"max":4.0,"mean":1.1,"frequency":0.0003,"n_sequences":200,"n_groups":80}'
METRICS = json.dumps({"tpr": 0.8, "tnr": 0.9, "hits_by_quantile": {str(q): [4, 5] for q in range(10)}})
QUERIES = ("q=zinc", "q=helix+-proline&score.detection=0.6~", "sort=explanation", "pattern=point|short&sort=-frequency",
           "q=kinase&all=1", "sort=frequency&frequency=~0.001")  # fmt: skip

ROWS_SHOWN = """new MutationObserver((_, observer) => {
  if (!document.querySelector('.tr')) return;
  observer.disconnect();
  requestAnimationFrame(() => setTimeout(() => { window.rowsShown = performance.now(); }));
}).observe(document, { childList: true, subtree: true });"""
"""Notes when the first rows are on the screen."""


def make_run(folder: Path, n_features: int, n_explanations: int, n_judged: int) -> Path:
    """A run with its cache and tables in ``folder``; made once."""
    run = folder / "run"
    if (folder / "done").exists():
        return run
    rng = np.random.default_rng(0)
    corpus = make_families(folder / "corpus", 1_000_000, rng)
    counts = np.minimum(rng.lognormal(5.2, 1.1, n_features), 20_000).astype(int) + 1
    cache = make_cache(folder / "cache", corpus, counts.tolist(), [2.0] * n_features, rng)
    RunStore.open(run).close()
    paths = f'cache = "{folder / "cache"}"\ncorpus = "{folder / "corpus"}"'
    (run / "run.toml").write_text(f'[run]\n{paths}\nclient = "synthetic"\nexplainer = "synthetic"\n')
    db = sqlite3.connect(run / "run.db", isolation_level=None)
    db.execute("BEGIN")
    write_results(db, cache, n_features, n_explanations, n_judged, rng)
    db.execute("COMMIT")
    db.close()
    write_tables(run / "analysis", n_features, rng)
    (folder / "done").touch()
    return run


def write_results(
    db: sqlite3.Connection, cache: ActivationCache, n: int, n_explanations: int, n_judged: int, rng: np.random.Generator
) -> None:
    """Explanations, scores, nulls and trials."""
    makers = [f"explainer-{i}@1" for i in range(n_explanations)]
    words = rng.choice(WORDS, (n, n_explanations, 14))
    db.executemany(
        "INSERT INTO explanations VALUES (1, ?, ?, 'client', ?, 'm', NULL, '{}', ?, 0)",
        (
            (f, maker, f"Fires at {' '.join(words[f, i])}", STATISTICS)
            for f in range(n)
            for i, maker in enumerate(makers)
        ),
    )
    values = rng.beta(5, 3, (n, n_explanations, 2))
    db.executemany(
        "INSERT INTO scores (study, feature, explainer, explainer_client, scorer, client, is_null, partner, value,"
        " ci_low, ci_high, n, n_failed, is_spoilt, metrics, model) VALUES"
        f" (1, ?, ?, 'client', 'detection@2', 'judge', ?, ?, ?, ?, ?, {N_TRIALS}, 0, 0, '{METRICS}', 'm')",
        (
            (f, maker, null, (f + 1) % n if null else None, v, v - 0.08, min(v + 0.08, 1))
            for f in range(n)
            for i, maker in enumerate(makers)
            for null, v in enumerate(values[f, i].tolist())
        ),
    )
    offsets, per = cache.offsets, 2 * n_explanations
    for f in range(n_judged):
        rows = rng.integers(0, cache.n_sequences, N_TRIALS)
        starts = rng.integers(0, np.maximum(np.diff(offsets)[rows] - 32, 1))
        examples = [f"{r}:{s}:32" for r, s in zip(rows.tolist(), starts.tolist(), strict=True)]
        said = rng.integers(0, 2, (per, N_TRIALS)).tolist()
        db.executemany(
            "INSERT INTO trials VALUES (?, ?, ?, ?, ?, ?, ?, NULL, ?, NULL)",
            (
                (f * per + s + 1, t, examples[t], "activating" if t % 2 else "random", t % 10 if t % 2 else -1, t % 2,
                 said[s][t], t // 5)
                for s in range(per)
                for t in range(N_TRIALS)
            ),
        )  # fmt: skip


def write_tables(folder: Path, n: int, rng: np.random.Generator) -> None:
    """Tables like those of `autointerp analyze`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "analysis.json").write_text('{"format": "autointerp-analysis", "version": 1}')
    each = np.arange(n, dtype=np.int32)
    centre = rng.normal(0, 6, (40, 2))[each % 40]
    x, y = (centre + rng.normal(0, 1, (n, 2))).astype(np.float32).T
    tables = {
        "features": {
            "feature": each, "pattern": rng.choice(PATTERNS, n), "x": x, "y": y, "cluster": each % 40,
            "median_run": rng.random(n, np.float32), "coverage": rng.random(n, np.float32),
        },
        "neighbours": {
            "feature": np.repeat(each, 30), "by": np.tile(np.repeat(["decoder", "encoder", "co-activation"], 10), n),
            "rank": np.tile(np.arange(10, dtype=np.int16), 3 * n), "neighbour": rng.integers(0, n, 30 * n, np.int32),
            "similarity": rng.random(30 * n, np.float32),
        },
        "logits": {
            "feature": np.repeat(each, 20), "side": np.tile(np.repeat(["promoted", "suppressed"], 10), n),
            "rank": np.tile(np.arange(10, dtype=np.int16), 2 * n), "token": rng.choice(list(SYMBOLS), 20 * n),
            "value": rng.random(20 * n, np.float32),
        },
        "logo": {
            "feature": np.repeat(each, 60), "offset": np.tile(np.repeat(np.arange(-7, 8, dtype=np.int16), 4), n),
            "symbol": rng.choice(list(SYMBOLS), 60 * n), "bits": rng.random(60 * n, np.float32),
        },
    }  # fmt: skip
    for name, columns in tables.items():
        pq.write_table(pa.table(columns), folder / f"{name}.parquet", compression="zstd")


def start(run: Path) -> tuple[subprocess.Popen[str], str, float]:
    """A server, its address, and the seconds until it answered with the page."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "autointerp.commands", "dashboard", str(run), "--port", "0", "--no-open"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    address = server.stdout.readline().strip()
    urllib.request.urlopen(address).read()
    return server, address, time.perf_counter() - began


def timed(address: str) -> tuple[int, float]:
    """Bytes and seconds of one answer."""
    began = time.perf_counter()
    body = urllib.request.urlopen(address).read()
    return len(body), time.perf_counter() - began


def resident_mb(pid: int) -> float:
    """The most that a process had in memory, in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return float("nan")


PAINTED = """async () => {
  while (!window.rowsShown) await new Promise((r) => setTimeout(r, 5));
  const [first] = performance.getEntriesByName('first-contentful-paint');
  return { paint: first.startTime, rows: window.rowsShown };
}"""
"""When the first pixels and the first rows stood on the screen, in ms."""
ASKED = """async (queries) => {
  const slug = Dashboard.place.run.slug, table = await Dashboard.table(slug), found = {};
  await table.loadTexts(slug);
  for (const query of queries) {
    const params = new URLSearchParams(query), times = [];
    for (let i = 0; i < 7; i++) {
      const t = performance.now();
      table.query(params);
      times.push(performance.now() - t);
    }
    found[query] = {first_ms: times[0], median_ms: times.sort((a, b) => a - b)[3], rows: table.query(params).length};
  }
  return found;
}"""
"""Milliseconds of each query: the first of seven turns, and their median; and the rows it finds."""
OPENED = """async (features) => {
  const painted = () => new Promise((r) => requestAnimationFrame(() => setTimeout(r)));
  const rest = () => new Promise((r) => setTimeout(() => requestIdleCallback(r), 300));
  const there = async (part) => {
    while (!document.querySelector(part)) await new Promise((r) => setTimeout(r, 2));
    await painted();
  };
  const found = { screen: [], whole: [] };
  for (const feature of features) {
    await rest();
    document.querySelector('#main').replaceChildren();
    const t = performance.now();
    location.hash = `#/${Dashboard.place.run.slug}/feature/${feature}`;
    await there('.panel-explanations .trial');
    found.screen.push(performance.now() - t);
    await there('.panel-contexts .context');
    found.whole.push(performance.now() - t);
  }
  return found;
}"""
"""Milliseconds until each feature's first screen, and its contexts, are painted; from a page at rest."""


def in_browser(address: str, n_judged: int) -> dict[str, Any]:
    """Times that a reader sees; empty without Chromium or Playwright."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return {}
    if not chromium:
        return {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1366, "height": 768})
        page.add_init_script(ROWS_SHOWN)
        page.goto(address)
        page.wait_for_selector(".tr")
        painted = page.evaluate(PAINTED)
        queries = page.evaluate(
            ASKED,
            list(QUERIES),
        )
        shown = page.evaluate(
            OPENED,
            list(range(7, n_judged, max(n_judged // 20, 1))),
        )
        browser.close()
    return {
        "first_paint_ms": painted["paint"],
        "rows_shown_ms": painted["rows"],
        "query_ms": {name: {k: round(v, 2) for k, v in one.items()} for name, one in queries.items()},
        "feature_ms": {
            part: {"median": round(statistics.median(times), 1), "largest": round(max(times), 1)}
            for part, times in shown.items()
        },
    }


def beside(found: dict[str, Any], table: Path, store: Path, features: range) -> None:
    """Put the baseline's times and the ratios next to ours."""
    for query, ours in found.get("query_ms", {}).items():
        ours["parquet_ms"] = round(median_ms(lambda query=query: page(table, query)), 2)
        ours["ratio"] = round(ours["parquet_ms"] / max(ours["median_ms"], 0.1), 1)  # 0.1 ms: a tick of its clock
        ours["parquet_rows"] = page(table, query)[0]
    times = [median_ms(lambda number=number: feature(store, number), turns=1) for number in features]
    found["feature"]["sqlite_ms"] = round(statistics.median(times), 1)
    found["feature"]["ratio"] = round(found["feature"]["sqlite_ms"] / found["feature"]["median_ms"], 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, default=20_000)
    parser.add_argument("--explanations", type=int, default=10)
    parser.add_argument("--judged", type=int, default=1000)
    parser.add_argument("--folder", type=Path, help="where the run is made, and kept")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        run = make_run(folder, options.features, options.explanations, options.judged)
        server, address, began = start(run)
        try:
            found: dict[str, Any] = {"server_start_s": round(began, 3)}
            size, seconds = timed(f"{address}data/run/table")
            found["table"] = {"mb": round(size / 1e6, 2), "first_s": round(seconds, 3)}
            found["table"]["again_s"] = round(timed(f"{address}data/run/table")[1], 3)
            shown = range(0, options.judged, max(options.judged // 50, 1))
            pages = [timed(f"{address}data/run/feature/{f}") for f in shown]
            found["feature"] = {
                "largest_kb": round(max(size for size, _ in pages) / 1e3, 1),
                "median_ms": round(1e3 * statistics.median(seconds for _, seconds in pages), 1),
                "largest_ms": round(1e3 * max(seconds for _, seconds in pages), 1),
            }
            found |= in_browser(address, options.judged)
            found["server_resident_mb"] = round(resident_mb(server.pid), 1)
            columns = json.loads(urllib.request.urlopen(f"{address}data/run/table").read())["columns"]
        finally:
            server.terminate()
            server.wait()
        write_features(run, folder / "features.parquet", next(c for c in columns if c["name"] == "frequency")["values"])
        beside(found, folder / "features.parquet", run / "run.db", shown)
        print(json.dumps(found), file=sys.stderr, flush=True)
        found["export"] = export(run, options.judged, folder / "site")
    found |= {"features": options.features, "explanations": options.explanations, "judged": options.judged}
    found |= {"python": platform.python_version(), "cpus": os.cpu_count()}
    print(json.dumps(found, indent=1))


def export(run: Path, n: int, out: Path) -> dict[str, float]:
    """Pages of features a second: in one process, by CPU and by the clock; and by the clock with all processors."""
    from autointerp.dashboard import open_runs
    from autointerp.dashboard.export import write_payloads

    found = {}
    for name, processes in (("one_process", 1), ("all_processors", os.cpu_count() or 1)):
        runs = open_runs({"run": run})
        write_payloads(runs, [("run", "feature/0")], out, 1)  # opens what is opened once
        wall, cpu = time.perf_counter(), time.process_time()
        write_payloads(runs, [("run", f"feature/{f}") for f in range(n)], out, processes)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        runs[0].close()
        found[f"{name}_features_a_second"] = round(n / wall, 1)
        if processes == 1:
            found["features_a_cpu_second"] = round(n / cpu, 1)
        shutil.rmtree(out)
    return found


if __name__ == "__main__":
    main()
