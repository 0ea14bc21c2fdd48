"""`autointerp analyze` at 20,000 features, part by part, in CPU seconds and peak memory.

Synthetic proteins, a cache with log-normal counts of activations in runs, a random coder of 20,000 × 320 and a randomly
initialised ESM-2 8M. The effects on the logits are measured twice: on ESM-2's head (33 tokens), and on a linear head of
50,257 tokens (only what comes after the norm: the product and what is kept of it). The map is UMAP's and HDBSCAN's own
time, compiling included. The comparison for shapes and logos is a loop over a feature's sequences in NumPy, on a few
features, extrapolated by activations. Prints JSON.

    OMP_NUM_THREADS=1 python benchmarks/analysis.py [--tokens 1000000] [--features 20000] [--active 32] [--no-map]
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from synthetic import draw_counts, make_cache, make_esm2, make_families, make_topk

from autointerp.analysis import effects, firing
from autointerp.analysis.build import Builder, Settings
from autointerp.analysis.token_sets import SHAPES
from autointerp.cache import ActivationCache
from autointerp.subjects import load_subject

VOCABULARY = 50257
LOOPED = 40
"""Features of the comparison."""


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """What ``call`` gives, and its CPU seconds."""
    began = time.process_time()
    return call(), round(time.process_time() - began, 2)


def looped(cache: ActivationCache, features: np.ndarray) -> int:
    """Runs, gaps, peaks and residues around them, feature by feature and sequence by sequence; how many activations."""
    tokens, offsets, ids = firing.Tokens.of(cache), np.asarray(cache.offsets), np.asarray(cache.tokens)
    top, n = cache.statistics["max"], 0
    for feature in features.tolist():
        token, value = cache[feature]
        n += len(token)
        rows, counts = [], Counter()
        for s in np.unique(tokens.sequence[token]).tolist():
            begin, end = np.searchsorted(token, offsets[s : s + 2].astype(token.dtype))
            at, values = token[begin:end].astype(np.int64), value[begin:end]
            on = at[values > 0.1 * top[feature]]
            starts = on[np.append(True, np.diff(on) != 1)] if len(on) else on
            rows.append((float(values.max()), len(starts), len(on), np.diff(starts).tolist()))
            peak = int(at[values.argmax()])
            for offset in range(-10, 11):
                if offsets[s] <= peak + offset < offsets[s + 1]:
                    counts[offset, int(ids[peak + offset])] += 1
    return n


def linear_head(n_features: int, d: int) -> float:
    """CPU seconds of what a linear head of 50,257 tokens costs beyond the norm, on a twentieth, extrapolated."""
    g = torch.Generator().manual_seed(0)
    unembed, rows = torch.randn(VOCABULARY, d, generator=g), max(effects.AT_ONCE // VOCABULARY, 1)
    members = np.random.default_rng(0).random((VOCABULARY, len(SHAPES) + 14)) < 0.02
    share = n_features // 20 // rows * rows

    def run() -> None:
        for _ in range(0, share, rows):
            effects._summed_up(torch.randn(rows, d, generator=g) @ unembed.T, members)

    return round(timed(run)[1] * n_features / share, 1)


def main() -> None:
    """Make the study, analyse it part by part, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("--tokens", 1_000_000), ("--features", 20_000), ("--active", 32)):
        parser.add_argument(name, type=int, default=default)
    parser.add_argument("--no-map", action="store_true")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        corpus = make_families(path / "corpus", args.tokens, rng)
        counts = draw_counts(args.features, args.tokens * args.active / args.features, args.tokens / 4, rng)
        cache = make_cache(path / "cache", corpus, counts.tolist(), [3.0] * args.features, rng)
        make_esm2(path / "esm.pt", "8M")
        coder = make_topk(args.features, 320, args.active, "none")
        settings = Settings(umap=not args.no_map)
        builder = Builder(cache, corpus, path, settings=settings)
        builder.coder, builder.subject = coder, load_subject(path / "esm.pt")  # the cache is of neither
        cpu: dict[str, float] = {}
        peak: dict[str, int] = {}
        near: dict[str, Any] = {}
        parts: dict[str, Callable[[], Any]] = {
            "statistics": builder._statistics,
            "shapes and logos": builder._shapes,
            "effects on the logits, ESM-2": builder._effects,
            "neighbours": lambda: near.update(builder._neighbours()),
            "duplicates": lambda: builder._duplicates(near),
            "map": builder._map,
        }
        for name, part in parts.items():
            cpu[name] = timed(part)[1]
            peak[name] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        chosen = rng.choice(args.features, LOOPED, replace=False)
        n, seconds = timed(lambda: looped(cache, chosen))
        seconds *= cache.manifest["n_activations"] / n
        print(
            json.dumps(
                {
                    "features": args.features,
                    "tokens": cache.n_tokens,
                    "activations": cache.manifest["n_activations"],
                    "cpu_s": cpu,
                    "peak_mb": peak,
                    "effects on the logits, linear head of 50,257, cpu_s": linear_head(args.features, 320),
                    "loop for shapes and logos, extrapolated cpu_s": round(
                        seconds * cache.manifest["n_activations"] / n
                    ),
                    "left_out": builder.left_out,
                    "machine": platform.processor() or platform.machine(),
                },
                indent=1,
            )
        )


if __name__ == "__main__":
    main()
