"""Caching against the bare forward-to-the-hook + encode loop on the same batches, its memory, and the floor beside it.

Each size runs in a process of its own. `ratio` is caching's rate over the bare loop's, the two measured in turns on the
same sequences: by CPU time, on a GPU by wall time. `peak_mb` is the whole process's largest resident size during
caching. The floor: `flop_per_token` of the forward pass to the hook and of encoding, `bytes_per_token` of the dense
pre-activations (written and read once) and of what is stored, and a matrix product of this device (`gemm_gflops`), so
that achieved FLOP/s stand beside possible ones. `8M`, `35M` and `150M` are ESM-2 of those sizes, randomly initialised,
on random residues in proteins of up to 1,022 (median about 300). Prints JSON.

    python benchmarks/cache_rate.py [--tokens 250000 2000000] [--features 2048] [--subject planted-esm] [--hook layer:3]
    python benchmarks/cache_rate.py --subject 8M --features 10240 --tokens 100000
    python benchmarks/cache_rate.py --device cuda --dtype bfloat16 --subject 35M --features 65536 --tokens 10000000
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from synthetic import ESM2_SHAPES, folder_bytes, make_esm2, make_families, make_topk, run_json

CONTEXT = 1022  # of ESM-2: the bare loop runs whole sequences


def make_corpus(folder: Path, n_tokens: int, subject: str) -> None:
    """Write proteins of at least ``n_tokens`` residues; in a process of its own, whose memory goes with it."""
    from autointerp.corpus import Corpus, planted_proteome

    if subject in ESM2_SHAPES:
        make_families(folder, n_tokens + CONTEXT, np.random.default_rng(1), CONTEXT)
        return
    planted = planted_proteome(max(64, n_tokens // 170), seed=1)
    Corpus.write(folder, planted.sequences, None, kind="protein", source={"planted": 1}, grouping={"by": "planted"})


class Clock:
    """Wall and CPU seconds; on a GPU everything that was queued is waited for first."""

    def __init__(self, device: str) -> None:
        self.cuda = device != "cpu"

    def __call__(self) -> tuple[float, float]:
        if self.cuda:
            import torch

            torch.cuda.synchronize()
        return time.perf_counter(), time.process_time()


def measure(options: argparse.Namespace, n_tokens: int) -> dict[str, Any]:
    """Measure one size in this process; memory first, before anything else can grow it."""
    import torch

    from autointerp.corpus import Corpus
    from autointerp.subjects import load_subject
    from caching.run import cache_activations
    from caching.settings import CacheSettings

    if options.device == "cpu":
        torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        if options.subject in ESM2_SHAPES:
            make_esm2(path / "esm2.pt", options.subject)
        name = path / "esm2.pt" if options.subject in ESM2_SHAPES else options.subject
        subject = load_subject(name, device=options.device, dtype=options.dtype)
        coder = make_topk(options.features, subject.hook(options.hook).d, options.k).to(options.device, options.dtype)
        command = [sys.executable, __file__, *sys.argv[1:], "--corpus", str(path / "corpus")]
        subprocess.run(command, check=True)
        corpus = Corpus.open(path / "corpus")
        settings = CacheSettings(hook=options.hook, max_tokens=n_tokens).on(subject)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        clock, turns = Clock(options.device), []
        for turn in range(options.turns + clock.cuda):  # a GPU's first turn warms it up
            out = path / f"cache{turn}"
            began = clock()
            cache = cache_activations(subject, coder, corpus, out, settings)
            ended = clock()
            if not turn:
                peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
                bytes_stored = folder_bytes(out)
            bare = bare_loop(subject, coder, options.hook, corpus, cache, settings.batch_tokens, clock)
            turns.append((ended[0] - began[0], ended[1] - began[1], *bare))
            shutil.rmtree(out)
        turns = turns[clock.cuda :]
        which = 0 if clock.cuda else 1
        bare_rate = cache.n_tokens / statistics.median(turn[2 + which] for turn in turns)
        work = floor(subject, coder, options.hook, cache, bytes_stored)
        return {
            "tokens": cache.n_tokens,
            "tokens_per_s": cache.n_tokens / min(turn[0] for turn in turns),
            "tokens_per_cpu_s": cache.n_tokens / min(turn[1] for turn in turns),
            f"bare_tokens_per_{'s' if clock.cuda else 'cpu_s'}": cache.n_tokens / min(t[2 + which] for t in turns),
            "ratio": statistics.median(turn[2 + which] / turn[which] for turn in turns),
            "ratios": [turn[2 + which] / turn[which] for turn in turns],
            "peak_mb_before": before,
            "peak_mb": peak,
            "bytes_per_activation": bytes_stored / cache.manifest["n_activations"],
            **({"peak_gpu_mb": torch.cuda.max_memory_allocated() / 2**20} if clock.cuda else {}),
            "floor": work
            | {"bare_gflops": work["flop_per_token"] * bare_rate / 1e9, "gemm_gflops": gemm(coder, clock)},
        }


def bare_loop(
    subject: Any, coder: Any, hook: str, corpus: Any, cache: Any, batch_tokens: int, clock: Clock
) -> tuple[float, float]:
    """Wall and CPU seconds of forward + encode over the cached sequences, sorted by length, results dropped."""
    from autointerp.subjects import make_batches

    ids = [cache.tokens[a:b].astype(np.int32) for a, b in pairwise(cache.offsets.tolist())]
    batches = [[ids[i] for i in batch] for batch in make_batches(np.array([len(i) for i in ids]), batch_tokens)]
    began = clock()
    for windows in batches:
        coder.encode(subject.states(windows, [hook])[hook])
    ended = clock()
    return ended[0] - began[0], ended[1] - began[1]


def floor(subject: Any, coder: Any, hook: str, cache: Any, bytes_stored: int) -> dict[str, float]:
    """What has to be computed and moved for a content token, by the sizes alone.

    A block of width d is 24 d² FLOP a token (four projections of d × d, two of d × 4 d) and 4 d for each token of its
    sequence (scores and mixing); special tokens around each sequence are counted, padding is not.
    """
    lengths = np.diff(cache.offsets) + len(subject.frame)
    d, depth = subject.d_model, subject.hook(hook).layer
    forward = depth * float((24 * d * d * lengths + 4 * d * lengths**2).sum()) / cache.n_tokens
    encode = 2.0 * coder.d_in * coder.n_features
    return {
        "flop_per_token": forward + encode,
        "flop_per_token_forward": forward,
        "flop_per_token_encode": encode,
        "bytes_per_token_preactivations": 2.0 * coder.n_features * coder.encoder.element_size(),
        "bytes_per_token_stored": bytes_stored / cache.n_tokens,
    }


def gemm(coder: Any, clock: Clock) -> float:
    """GFLOP/s of states @ encoder.T, 4,096 tokens at once, the best of some."""
    import torch

    x = torch.randn(4096, coder.d_in).to(coder.encoder)
    out = torch.empty(len(x), coder.n_features, dtype=x.dtype, device=x.device)
    best = float("inf")
    for _ in range(10):
        began = clock()
        torch.mm(x, coder.encoder.T, out=out)
        ended = clock()
        best = min(best, ended[0] - began[0] if clock.cuda else ended[1] - began[1])
    return 2e-9 * x.numel() * coder.n_features / best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--tokens", type=int, nargs="+", default=[250_000, 2_000_000])
    parser.add_argument("--features", type=int, default=2048)
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--subject", default="planted-esm", help=f"also {', '.join(ESM2_SHAPES)}: untrained ESM-2")
    parser.add_argument("--hook", default="layer:3")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--dtype", default="float32", help="float32, bfloat16 or float16")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--corpus", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.corpus:
        make_corpus(options.corpus, options.one, options.subject)
        return
    if options.one:
        print(json.dumps(measure(options, options.one)))
        return
    rows = [run_json([sys.executable, __file__, *sys.argv[1:], "--one", str(n)]) for n in options.tokens]
    print(
        json.dumps(
            {
                "benchmark": "caching",
                "subject": options.subject,
                "hook": options.hook,
                "n_features": options.features,
                "k": options.k,
                "device": device_name(options.device),
                "dtype": options.dtype,
                "python": platform.python_version(),
                "runs": rows,
                "memory_growth_mb": rows[-1]["peak_mb"] - rows[0]["peak_mb"],
            },
            indent=1,
        )
    )


def device_name(device: str) -> str:
    """The card's name and the torch version."""
    import torch

    return f"{torch.cuda.get_device_name() if device != 'cpu' else 'CPU, one thread'}, torch {torch.__version__}"


if __name__ == "__main__":
    main()
