"""CPU time of the feature loader for one feature, against touching and sorting the same activations in NumPy.

A synthetic cache stands for a TopK coder: `k` features fire at a token on average, how often a feature fires is
log-normal over features (capped at a fifth of the tokens), activations are log-normal too. `cpu_ms_*` is the time of
`loader[feature]`, cold slices (each feature is read once); `floor_ms_*` copies the feature's slices, argsorts its
values and finds its sequences. Prints JSON.

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

if TYPE_CHECKING:
    from autointerp.cache import ActivationCache
    from autointerp.corpus import Corpus

RESIDUES = np.frombuffer(b"ACDEFGHIKLMNPQRSTVWY", np.uint8)


def make_corpus(folder: Path, n_tokens: int, rng: np.random.Generator) -> Corpus:
    """Proteins of 30 … 2,000 residues (median about 300) in families of 1 … 5."""
    import pyarrow as pa

    from autointerp.corpus import Corpus

    lengths = np.clip(rng.lognormal(5.7, 0.7, n_tokens // 300), 30, 2000).astype(int)
    lengths = lengths[np.cumsum(lengths) <= n_tokens]
    lengths = np.append(lengths, max(30, n_tokens - lengths.sum()))
    groups = np.repeat(np.arange(len(lengths)), rng.integers(1, 6, len(lengths)))[: len(lengths)]
    texts = [RESIDUES[rng.integers(0, 20, n)].tobytes().decode() for n in lengths.tolist()]
    names = [f"Protein {i}" for i in range(len(texts))]
    table = pa.table({"id": names, "text": texts, "group": groups, "protein_name": names})
    return Corpus.write(folder, table, kind="protein", source={"synthetic": True}, grouping={"by": "synthetic"})


def make_cache(folder: Path, corpus: Corpus, n_features: int, k: int, rng: np.random.Generator) -> ActivationCache:
    """A finished cache, written shard by shard."""
    from autointerp.cache import ActivationCache
    from autointerp.cache.layout import FORMAT, MANIFEST, TOKENS, VERSION, shard_name
    from autointerp.files import write_json, write_tensors

    offsets = np.concatenate([[0], np.cumsum(corpus.lengths)]).astype(np.int64)
    n_tokens = int(offsets[-1])
    shares = rng.lognormal(0, 1.2, n_features)
    counts = np.minimum(shares / shares.sum() * n_tokens * k, n_tokens / 5).astype(int) + 1
    shards = []
    for first in range(0, n_features, 256):
        last = min(first + 256, n_features)
        tokens = [np.unique(rng.integers(0, n_tokens, n).astype(np.uint32)) for n in counts[first:last].tolist()]
        indptr = np.concatenate([[0], np.cumsum([len(t) for t in tokens])]).astype(np.int64)
        value = rng.lognormal(0, 0.5, indptr[-1]).astype(np.float16)
        name = shard_name(first, last - 1)
        write_tensors(folder / name, {"indptr": indptr, "token": np.concatenate(tokens), "value": value})
        shards.append({"file": name, "first": first, "last": last - 1, "n_activations": int(indptr[-1])})
    write_tensors(folder / TOKENS, {"tokens": np.zeros(n_tokens, np.uint8), "offsets": offsets})
    sizes = {"n_features": n_features, "n_tokens": n_tokens, "n_sequences": len(corpus)}
    manifest = {"format": FORMAT, "version": VERSION, "complete": True, "level": "token", **sizes,
                "corpus": {"digest": corpus.digest}, "subject": {"kind": "protein"}, "coder": {}, "settings": {},
                "tokens": TOKENS, "blocks": [], "shards": shards, "files": [],
                "n_activations": sum(s["n_activations"] for s in shards)}  # fmt: skip
    write_json(folder / MANIFEST, manifest)
    return ActivationCache.open(folder)


def floor(cache: ActivationCache, feature: int) -> None:
    """The least that any loader does: copy the slices, sort the values, find the sequences."""
    tokens, values = cache[feature]
    tokens, values = tokens.copy(), values.astype(np.float32)
    np.argsort(values, kind="stable")
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
        corpus = make_corpus(Path(folder) / "corpus", options.tokens, rng)
        cache = make_cache(Path(folder) / "cache", corpus, options.features, options.k, rng)
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
