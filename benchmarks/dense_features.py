"""What a dense feature costs the loader for each activation beyond the median feature's.

A synthetic cache of 10 M tokens holds features from the median one of a TopK coder with 10,240 features and k 32 up to
one that fires at half of all tokens: in short runs (1.7 tokens on average; they reach every window early, so that few
contexts are silent) and in long ones (60). CPU time of `loader[feature]` is the best of some turns. For each kind of
run: `ns_per_activation` of features by density, each against the median feature, the slope and the residual of a
straight line through all of them (least squares of relative errors). `read_ns` is the slope of what no loader can leave
out: reading a feature's slices once, widened to the types of its results. All of it by compiled loops (the extra
`fast`) and, as the baseline, by NumPy alone; `ratio` is that of their slopes in short runs. Prints JSON.

    python benchmarks/dense_features.py [--tokens 10000000] [--turns 5]
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

import numpy as np
from synthetic import make_cache, make_families

if TYPE_CHECKING:
    from autointerp.features import FeatureLoader

MEDIAN = 32 / 10_240 / np.exp(1.2**2 / 2)  # of log-normal frequencies with that mean, as in loader.py
KINDS = {"short": (1.7, (0.01, 0.03, 0.1)), "long": (60.0, (0.01, 0.03, 0.1, 0.2, 0.35, 0.5))}
"""Tokens in a row, on average, and the densities tried."""
EACH = 3  # features of one density
MEDIANS = 15


def measure(loader: FeatureLoader, n: int, turns: int) -> tuple[np.ndarray, np.ndarray]:
    """(n,) CPU seconds of each feature's record and of reading it, the best of some turns over all of them."""
    from autointerp.errors import NotEnoughExamples

    best = np.full((2, n), np.inf)
    for _ in range(turns):
        for feature in range(n):
            began = time.process_time()
            tokens, values = loader.cache[feature]
            tokens.astype(np.int64), values.astype(np.float32)
            middle = time.process_time()
            best[1, feature] = min(best[1, feature], middle - began)
            try:
                loader[feature]
            except NotEnoughExamples:
                continue  # found out before the examples are made: no time to compare with others
            best[0, feature] = min(best[0, feature], time.process_time() - middle)
    return best[0], best[1]


def fit(count: np.ndarray, seconds: np.ndarray) -> dict[str, float]:
    """A straight line by least squares of relative errors."""
    design = np.stack([np.ones_like(seconds), count], 1) / seconds[:, None]
    (fixed, slope), *_ = np.linalg.lstsq(design, np.ones_like(seconds), rcond=None)
    error = (fixed + slope * count) / seconds - 1
    return {
        "fixed_ms": 1e3 * fixed,
        "slope_ns": 1e9 * slope,
        "rms_relative_residual": float(np.sqrt(np.mean(error**2))),
        "largest_relative_residual": float(np.abs(error).max()),
    }


def kind_of(
    densities: list[float], count: np.ndarray, seconds: np.ndarray, least: np.ndarray, median: tuple[float, float]
) -> dict:
    """One kind of run: by density, and the fits, in the first of which the median feature takes part."""
    base_count, base_seconds = median
    rows = []
    for density in dict.fromkeys(densities):
        own = np.array([d == density for d in densities]) & np.isfinite(seconds)
        n = {"density": density, "records": int(own.sum())}
        if own.any():
            more = float(np.median((seconds[own] - base_seconds) / (count[own] - base_count)))
            n |= {"activations": int(np.median(count[own])), "cpu_ms": float(1e3 * np.median(seconds[own]))}
            n |= {"ns_per_activation": 1e9 * more}
        rows.append(n)
    done = np.isfinite(seconds)
    line = fit(np.append(count[done], base_count), np.append(seconds[done], base_seconds))
    worst = max(row.get("ns_per_activation", 0.0) for row in rows)
    return {"by_density": rows, "line": line, "worst_ns": worst, "read_ns": fit(count, least)["slope_ns"]}


def summary(densities: list[float], count: np.ndarray, seconds: np.ndarray, least: np.ndarray) -> dict:
    """The median feature, and both kinds of runs against it."""
    median = float(np.median(count[:MEDIANS])), float(np.median(seconds[:MEDIANS]))
    kinds, first = {}, MEDIANS
    for name, (run, tried) in KINDS.items():
        part = slice(first, first + EACH * len(tried))
        first = part.stop
        kinds[name] = {"tokens_in_a_row": run} | kind_of(
            densities[part], count[part], seconds[part], least[part], median
        )
    worst = max(kind["worst_ns"] for kind in kinds.values())
    return {"median_feature": {"activations": median[0], "cpu_ms": 1e3 * median[1]}, "runs": kinds, "worst_ns": worst}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--tokens", type=int, default=10_000_000)
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    from autointerp.features import FeatureLoader, contexts

    rng = np.random.default_rng(0)
    densities = [MEDIAN] * MEDIANS + [d for _, tried in KINDS.values() for d in tried for _ in range(EACH)]
    runs = [1.7] * MEDIANS + [run for run, tried in KINDS.values() for _ in tried for _ in range(EACH)]
    wanted = [int(-np.log1p(-d) * options.tokens) for d in densities]  # runs overlap: more are drawn than remain
    with tempfile.TemporaryDirectory() as folder:
        corpus = make_families(Path(folder) / "corpus", options.tokens, rng)
        cache = make_cache(Path(folder) / "cache", corpus, wanted, runs, rng)
        loader = FeatureLoader(cache, corpus, n_explain=40, n_test=50, n_non_activating=50, context=32, seed=0)
        loader[0]  # what is made once for all features
        count = np.array([len(cache[f][0]) for f in range(len(densities))])
        by = {}
        for name, dense in (("numpy", 1 << 62), ("compiled", contexts.DENSE)):  # once loaded, the loops stay
            with patch.object(contexts, "DENSE", dense):
                by[name] = summary(densities, count, *measure(loader, len(densities), options.turns))
    slopes = [by[name]["runs"]["short"]["line"]["slope_ns"] for name in ("compiled", "numpy")]
    report = {
        "benchmark": "loading dense features",
        "tokens": cache.n_tokens,
        "with": by,
        "ratio": slopes[0] / slopes[1],
        "worst_ns_per_activation": by["compiled"]["worst_ns"],
        "python": platform.python_version(),
        "numpy": np.__version__,
        "numba": version("numba"),
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
