"""Caching against the bare forward + encode loop on the same batches, and its memory at two sizes.

Each size runs in a process of its own. `ratio` is caching's tokens per CPU-second over the bare loop's, the two
measured in turns on the same sequences; `peak_mb` is the whole process's largest resident size during caching. Prints
JSON.

    python benchmarks/cache_rate.py [--tokens 250000 2000000] [--features 2048] [--subject planted-esm] [--hook layer:3]
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path


def make_corpus(folder: Path, n_tokens: int) -> None:
    """Write planted proteins of at least ``n_tokens`` residues; in a process of its own, whose memory goes with it."""
    from autointerp.corpus import Corpus, planted_proteome

    planted = planted_proteome(max(64, n_tokens // 170), seed=1)
    Corpus.write(folder, planted.sequences, None, kind="protein", source={"planted": 1}, grouping={"by": "planted"})


def measure(subject_name: str, hook: str, n_features: int, n_tokens: int, turns: int) -> dict[str, float]:
    """Measure one size in this process; memory first, before anything else can grow it."""
    import torch

    from autointerp.coders import SparseCoder
    from autointerp.corpus import Corpus
    from autointerp.subjects import load_subject
    from caching.run import cache_activations
    from caching.settings import CacheSettings

    torch.set_num_threads(1)
    subject = load_subject(subject_name)
    weights = torch.randn(n_features, subject.hook(hook).d, generator=torch.Generator().manual_seed(0))
    weights /= weights.norm(dim=1, keepdim=True)
    zeros = torch.zeros(weights.shape[1])
    coder = SparseCoder("topk", weights, torch.zeros(n_features), weights.clone(), zeros, k=32, input_norm="layer_norm")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        subprocess.run([sys.executable, __file__, "--corpus", str(path / "corpus"), "--one", str(n_tokens)], check=True)
        corpus = Corpus.open(path / "corpus")
        settings = CacheSettings(hook=hook, max_tokens=n_tokens).on(subject)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        ratios, rates = [], []
        for turn in range(turns):
            wall, cpu = time.perf_counter(), time.process_time()
            cache = cache_activations(subject, coder, corpus, path / f"cache{turn}", settings)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            if not turn:
                peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            bare = bare_loop(subject, coder, hook, corpus, cache, settings.batch_tokens)
            ratios.append(bare / cpu)
            rates.append((cache.n_tokens / wall, cache.n_tokens / cpu, cache.n_tokens / bare))
        size = sum(p.stat().st_size for p in (path / "cache0").rglob("*") if p.is_file())
        return {
            "tokens": cache.n_tokens,
            "tokens_per_s": max(r[0] for r in rates),
            "tokens_per_cpu_s": max(r[1] for r in rates),
            "bare_tokens_per_cpu_s": max(r[2] for r in rates),
            "ratio": sorted(ratios)[len(ratios) // 2],
            "peak_mb_before": before,
            "peak_mb": peak,
            "bytes_per_activation": size / cache.manifest["n_activations"],
        }


def bare_loop(subject, coder, hook: str, corpus, cache, batch_tokens: int) -> float:
    """CPU seconds of forward + encode over the cached sequences in padded batches sorted by length, results dropped."""
    import numpy as np

    from autointerp.subjects import make_batches

    ids = [cache.tokens[a:b].astype(np.int32) for a, b in pairwise(cache.offsets.tolist())]
    batches = [[ids[i] for i in batch] for batch in make_batches(np.array([len(i) for i in ids]), batch_tokens)]
    began = time.process_time()
    for windows in batches:
        coder.encode(subject.states(windows, [hook])[hook])
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--tokens", type=int, nargs="+", default=[250_000, 2_000_000])
    parser.add_argument("--features", type=int, default=2048)
    parser.add_argument("--subject", default="planted-esm")
    parser.add_argument("--hook", default="layer:3")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--corpus", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.corpus:
        make_corpus(options.corpus, options.one)
        return
    if options.one:
        print(json.dumps(measure(options.subject, options.hook, options.features, options.one, options.turns)))
        return
    rows = []
    for tokens in options.tokens:
        command = [sys.executable, __file__, *sys.argv[1:], "--one", str(tokens)]
        rows.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    print(
        json.dumps(
            {
                "benchmark": "caching",
                "subject": options.subject,
                "hook": options.hook,
                "n_features": options.features,
                "k": 32,
                "python": platform.python_version(),
                "runs": rows,
                "memory_growth_mb": rows[-1]["peak_mb"] - rows[0]["peak_mb"],
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
