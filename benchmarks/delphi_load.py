"""Loading against delphi: 40 explain, 50 test and 50 negative examples of 32 tokens, from the same activations.

A synthetic cache (1,024 features that fire as often as those of a TopK coder of 10,240 features and k 32, in short
runs; the corpus in sequences of whole 256-token contexts) is converted with `autointerp convert` to delphi's folders.
delphi reads them with its LatentDataset, constructor and sampler in their defaults (fixed windows, quantiles, random
negatives); we read the cache with FeatureLoader, 25 negatives on each of the two sides, once with fixed windows and
once with centred ones, our default. Every example is made and touched on both sides. Each side runs in a process of
its own with one thread, in turns, on the same features. `features_per_cpu_s` leaves out opening and, on delphi's side,
reading shards; `with_reading` spreads them over all 1,024 features. For a few features the windows that delphi makes of
our folder are compared with those that a plain loop finds in our cache. Prints JSON.

    python benchmarks/delphi_load.py --delphi-python PATH [--tokens 1000000 10000000] [--sample 150] [--turns 3]
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from synthetic import RESIDUES, draw_counts, make_cache, make_proteins, run_json

CONTEXT, WINDOW = 256, 32
FEATURES, MEAN = 1024, 32 / 10_240  # share of tokens at which a feature fires, on average
RUN = 1.7  # tokens in a row, on average
ENOUGH = 500  # activations: delphi wants 200 windows
CHECKED = 5
HOOKPOINT = "layer:3"
SIDE = Path(__file__).with_name("delphi_side.py")


def make(name: str, size: str, sample: str) -> dict[str, int]:
    """Cache, corpus, delphi's folder, tokenizer and the job that both sides read."""
    from autointerp.commands.convert import Config, run
    from autointerp.subjects.esm2 import TOKENS

    folder, n_tokens, rng = Path(name), int(size), np.random.default_rng(0)
    lengths = CONTEXT * rng.integers(1, 5, n_tokens // (CONTEXT * 5 // 2))
    corpus = make_proteins(folder / "corpus", lengths, np.arange(len(lengths)), rng)
    table = np.zeros(256, np.uint8)
    table[RESIDUES] = [TOKENS.index(chr(letter)) for letter in RESIDUES.tolist()]
    ids = table[np.frombuffer("".join(corpus.texts(range(len(corpus)))).encode(), np.uint8)]
    counts = draw_counts(FEATURES, MEAN * len(ids), len(ids) / 5, rng)
    cache = make_cache(folder / "cache", corpus, counts.tolist(), [RUN] * FEATURES, rng, ids)
    run(Config(folder / "cache", out=folder / "delphi", hookpoint=HOOKPOINT))
    make_tokenizer(folder / "tokenizer.json", TOKENS)
    enough = [f for f in rng.permutation(FEATURES).tolist() if len(cache[f][0]) >= ENOUGH]
    (folder / "windows").mkdir()
    job = {"folder": str(folder / "delphi"), "cache": str(folder / "cache"), "corpus": str(folder / "corpus"),
           "tokenizer": str(folder / "tokenizer.json"), "windows": str(folder / "windows"), "hookpoint": HOOKPOINT,
           "latents": sorted(enough[: int(sample)]), "spare": enough[-1], "check": enough[:CHECKED], "window": WINDOW,
           "n_explain": 40, "n_test": 50, "n_negatives": 50}  # fmt: skip
    (folder / "job.json").write_text(json.dumps(job))
    return {"tokens": len(ids), "n_activations": cache.manifest["n_activations"]}


def make_tokenizer(path: Path, tokens: tuple[str, ...]) -> None:
    """A fast tokenizer of one letter a token: that of transformers for ESM is slow, and delphi decodes every token."""
    from tokenizers import Regex, Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Split

    tokenizer = Tokenizer(WordLevel({token: i for i, token in enumerate(tokens)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Split(Regex("."), "isolated")
    tokenizer.save(str(path))


def ours(contexts: str, path: str) -> dict[str, float]:
    """Our side."""
    from autointerp.cache import ActivationCache
    from autointerp.corpus import Corpus
    from autointerp.features import FeatureLoader

    job = json.loads(Path(path).read_text())
    began = time.process_time()
    loader = FeatureLoader(
        ActivationCache.open(job["cache"]),
        Corpus.open(job["corpus"]),
        n_explain=job["n_explain"],
        n_test=job["n_test"],
        n_non_activating=job["n_negatives"] // 2,
        context=job["window"],
        contexts=contexts,
    )
    touch(loader[job["spare"]])  # what is made once for all features
    opened = time.process_time()
    examples = [touch(loader[feature]) for feature in job["latents"]]
    return {
        "records": len(examples),
        "examples": sum(examples),
        "cpu_s_opening": opened - began,
        "cpu_s_reading_shards": 0.0,
        "cpu_s_records": time.process_time() - opened,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def touch(record) -> int:
    """Look at every example's text, token ends and activations; returns how many there are."""
    examples = [e for side in (record.explain, record.test) for e in (*side.positives, *side.negatives)]
    assert all(len(e.text) == len(e.ends) == len(e.activations) == WINDOW for e in examples)
    return len(examples)


def compare(path: str) -> dict[str, object]:
    """What delphi made of our folder against a plain loop over our cache, and our own examples against both."""
    from safetensors.numpy import load_file

    from autointerp.cache import ActivationCache
    from autointerp.corpus import Corpus
    from autointerp.features import FeatureLoader

    job = json.loads(Path(path).read_text())
    cache = ActivationCache.open(job["cache"])
    loader = FeatureLoader(cache, Corpus.open(job["corpus"]), context=WINDOW, contexts="fixed")
    result = {"features": len(job["check"]), "windows": 0, "equal": True, "our_examples_among_them": True}
    for feature in job["check"]:
        positions, values = cache[feature]
        dense = np.zeros(cache.n_tokens, np.float32)
        dense[positions] = values
        active = np.unique(positions // WINDOW)
        windows = cache.tokens.reshape(-1, WINDOW)[active], dense.reshape(-1, WINDOW)[active]
        expected = sorted(t.astype(np.int64).tobytes() + a.tobytes() for t, a in zip(*windows, strict=True))
        found = load_file(Path(job["windows"]) / f"{feature}.safetensors")
        pairs = zip(found["tokens"].astype(np.int64), found["activations"], strict=True)
        theirs = [t.tobytes() + a.tobytes() for t, a in pairs]
        known = set(theirs)
        result["windows"] += len(expected)
        result["equal"] &= sorted(theirs) == expected
        record = loader[feature]
        for example in (*record.explain.positives, *record.test.positives):
            at = int(cache.offsets[example.sequence]) + example.start
            key = cache.tokens[at : at + WINDOW].astype(np.int64).tobytes() + example.activations.tobytes()
            result["our_examples_among_them"] &= key in known
    return result


def one_size(folder: Path, python: str, n_tokens: int, sample: int, turns: int) -> dict[str, object]:
    """All sides in turns at one size."""
    made = run_json([sys.executable, __file__, "--make", str(folder), str(n_tokens), str(sample)])
    path = str(folder / "job.json")
    commands = {
        "delphi": [python, str(SIDE), "load", path],
        "ours_fixed": [sys.executable, __file__, "--ours", "fixed", path],
        "ours_centred": [sys.executable, __file__, "--ours", "centred", path],
    }
    found: dict[str, list[dict]] = {name: [] for name in commands}
    for _ in range(turns):
        for name, command in commands.items():
            found[name].append(run_json(command))
    rows = {name: summary(runs) for name, runs in found.items()}
    theirs = rows["delphi"]["features_per_cpu_s"]
    return {
        **made,
        **rows,
        "ratio_fixed": rows["ours_fixed"]["features_per_cpu_s"] / theirs,
        "ratio_centred": rows["ours_centred"]["features_per_cpu_s"] / theirs,
        "same_windows": run_json([sys.executable, __file__, "--compare", path]),
        "delphi_versions": found["delphi"][0]["versions"],
    }


def summary(runs: list[dict]) -> dict[str, float]:
    """Medians over turns."""
    each = statistics.median(run["cpu_s_records"] / run["records"] for run in runs)
    once = statistics.median(run["cpu_s_opening"] + run["cpu_s_reading_shards"] for run in runs)
    return {
        "records": runs[0]["records"],
        "examples": runs[0]["examples"],
        "features_per_cpu_s": 1 / each,
        "features_per_cpu_s_with_reading": FEATURES / (once + FEATURES * each),
        "cpu_s_opening_and_reading": once,
        "peak_mb": max(run["peak_mb"] for run in runs),
    }


PARTS = {"make": make, "ours": ours, "compare": compare}
"""What runs in a process of its own, with its arguments: a process begins with the peak memory of the one it left."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--delphi-python", help="the interpreter of delphi's environment")
    parser.add_argument("--tokens", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--sample", type=int, default=150)
    parser.add_argument("--turns", type=int, default=3)
    for part in PARTS:
        parser.add_argument(f"--{part}", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    for part, work in PARTS.items():
        if given := getattr(options, part):
            print(json.dumps(work(*given)))
            return
    if not options.delphi_python:
        parser.error("--delphi-python is needed: README.md says how to make delphi's environment")
    rows = []
    for n_tokens in options.tokens:
        with tempfile.TemporaryDirectory() as name:
            rows.append(one_size(Path(name), options.delphi_python, n_tokens, options.sample, options.turns))
    facts = {"features": FEATURES, "sampled": options.sample, "turns": options.turns, "window": WINDOW}
    versions = {"python": platform.python_version(), "numpy": np.__version__}
    print(json.dumps({"benchmark": "loading against delphi", **facts, "runs": rows, **versions}, indent=1))


if __name__ == "__main__":
    main()
