"""CPU time of the feature loader for one feature, against touching and sorting the same activations in NumPy.

A synthetic cache stands for a TopK coder: `k` features fire at a token on average, how often a feature fires is
log-normal over features (capped at a fifth of the tokens), activations are log-normal too. `cpu_ms_*` is the time of
`loader[feature]`, cold slices (each feature is read once); `floor_ms_*` copies the feature's slices, argsorts its
values (as bits, by radix) and finds its sequences. Prints JSON.

    python benchmarks/loader.py [--tokens 2000000] [--features 4096] [--k 32] [--sample 1000]
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from synthetic import draw_counts, make_cache, make_families

if TYPE_CHECKING:
    from autointerp.cache import ActivationCache


def floor(cache: ActivationCache, feature: int) -> None:
    """The least that any loader does: copy the slices, sort the values, find the sequences."""
    tokens, values = cache[feature]
    tokens, values = tokens.copy(), values.copy()
    np.argsort(values.view(np.uint16), kind="stable")
    np.searchsorted(tokens, cache.offsets.astype(np.uint32))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--tokens", type=int, default=2_000_000)
    parser.add_argument("--features", type=int, default=4096)
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--sample", type=int, default=1000)
    options = parser.parse_args()
    from autointerp.features import FeatureLoader
    from autointerp.records import FeatureRecord

    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        corpus = make_families(Path(folder) / "corpus", options.tokens, rng)
        counts = draw_counts(options.features, options.tokens * options.k / options.features, options.tokens / 5, rng)
        cache = make_cache(Path(folder) / "cache", corpus, counts.tolist(), [1.0] * options.features, rng)
        loader = FeatureLoader(cache, corpus, n_explain=40, n_test=50, n_non_activating=50, context=32, seed=0)
        features = rng.permutation(options.features)[: options.sample + 1].tolist()
        next(loader.iterate(features[:1]))  # what is made once for all features
        seconds: dict[str, list[float]] = {"loader": [], "floor": []}
        n_records = 0
        for feature in features[1:]:
            began = time.process_time()
            n_records += isinstance(next(loader.iterate([feature])), FeatureRecord)
            middle = time.process_time()
            floor(cache, feature)
            seconds["loader"].append(middle - began)
            seconds["floor"].append(time.process_time() - middle)
        ms = {name: 1000 * np.array(times) for name, times in seconds.items()}
        print(
            json.dumps(
                {
                    "benchmark": "loader",
                    "tokens": cache.n_tokens,
                    "features": cache.n_features,
                    "activations": cache.manifest["n_activations"],
                    "sampled": len(features) - 1,
                    "records": n_records,
                    "cpu_ms_per_feature_median": float(np.median(ms["loader"])),
                    "cpu_ms_per_feature_mean": float(np.mean(ms["loader"])),
                    "cpu_ms_per_feature_p95": float(np.percentile(ms["loader"], 95)),
                    "floor_ms_median": float(np.median(ms["floor"])),
                    "floor_ms_p95": float(np.percentile(ms["floor"], 95)),
                    "python": platform.python_version(),
                    "numpy": np.__version__,
                },
                indent=1,
            )
        )


if __name__ == "__main__":
    main()
