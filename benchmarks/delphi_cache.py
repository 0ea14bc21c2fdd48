"""Caching against delphi's LatentCache: CPU time, memory and disk on the same model, coder and tokens.

The model is a randomly initialised ESM-2 8M of Hugging Face transformers (6 layers of 320, hook after the third), the
coder TopK (10,240 features, k 32) in sparsify's format, and a document 254 residues between CLS and EOS: one of
delphi's contexts of 256. Each side runs in a process of its own with one thread, in turns; delphi in its own
environment (see README.md). Rates count all 256 positions of a context on both sides, though the special ones are not
stored by ours. The bare loops drop what they compute: delphi's runs the whole model, ours as far as the hook. At the
smallest size delphi's cache is read with `read_delphi` and compared with ours, activation by activation. Prints JSON.

    python benchmarks/delphi_cache.py --delphi-python PATH [--tokens 100000 250000] [--turns 1]
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from synthetic import RESIDUES, folder_bytes, make_proteins, make_topk, run_json

CONTEXT = 256
HOOKPOINT = "encoder.layer.2"
SIDE = Path(__file__).with_name("delphi_side.py")
BATCH = 32 * CONTEXT  # delphi's batch of 32 contexts; what does not fill one is not cached
BARE = 8 * BATCH  # tokens of the bare loops, whose rate does not depend on it


def make_model(name: str, n_features: str, k: str) -> None:
    """A randomly initialised ESM-2 8M with its tokenizer, and a TopK coder in sparsify's format."""
    import torch
    from transformers import EsmConfig, EsmForMaskedLM, EsmTokenizer

    from autointerp.subjects.esm2 import TOKENS

    folder = Path(name) / "model"
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(TOKENS))
    EsmTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    config = EsmConfig(
        vocab_size=len(TOKENS), hidden_size=320, num_hidden_layers=6, num_attention_heads=20, intermediate_size=1280,
        max_position_embeddings=1026, position_embedding_type="rotary", token_dropout=True,
        mask_token_id=TOKENS.index("<mask>"), pad_token_id=TOKENS.index("<pad>"),
    )  # fmt: skip
    torch.manual_seed(0)
    EsmForMaskedLM(config).save_pretrained(folder)
    make_coder(Path(name) / "coder" / HOOKPOINT, int(n_features), int(k))


def make_coder(folder: Path, n_features: int, k: int) -> None:
    """A TopK coder in sparsify's format."""
    from safetensors.torch import save_file

    coder = make_topk(n_features, 320, k, input_norm="none")
    folder.mkdir(parents=True)
    tensors = {
        "encoder.weight": coder.encoder,
        "encoder.bias": coder.b_enc,
        "W_dec": coder.decoder,
        "b_dec": coder.b_dec,
    }
    save_file(tensors, folder / "sae.safetensors")
    config = {"activation": "topk", "k": k, "num_latents": n_features, "d_in": 320, "normalize_decoder": True}
    (folder / "cfg.json").write_text(json.dumps(config | {"transcode": False, "skip_connection": False}))


def make_tokens(name: str, n_tokens: str) -> None:
    """Documents of one context each, as our corpus and as delphi's tokens."""
    from safetensors.numpy import save_file

    from autointerp.subjects.esm2 import TOKENS

    folder, n = Path(name), int(n_tokens) // BATCH * 32
    corpus = make_proteins(folder / "corpus", np.full(n, CONTEXT - 2), np.arange(n), np.random.default_rng(n))
    table = np.zeros(256, np.int32)
    table[RESIDUES] = [TOKENS.index(chr(letter)) for letter in RESIDUES.tolist()]
    texts = "".join(corpus.texts(range(n))).encode()
    ids = table[np.frombuffer(texts, np.uint8)].reshape(n, -1)
    frame = [np.full((n, 1), TOKENS.index(name), np.int32) for name in ("<cls>", "<eos>")]
    save_file({"tokens": np.concatenate([frame[0], ids, frame[1]], 1)}, folder / "tokens.safetensors")


def ours(what: str, path: str) -> dict[str, float]:
    """Our side: ``cache``, or the ``bare`` loop to the hook."""
    import torch

    from autointerp.coders import load_coder
    from autointerp.corpus import Corpus
    from autointerp.subjects import load_subject
    from caching.run import cache_activations
    from caching.settings import CacheSettings

    torch.set_num_threads(1)
    job = json.loads(Path(path).read_text())
    subject = load_subject(job["model"])
    coder, corpus = load_coder(Path(job["coder"]) / HOOKPOINT), Corpus.open(job["corpus"])
    settings = CacheSettings(hook="layer:3").on(subject)
    subject.hook("layer:3")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    began = time.process_time()
    if what == "bare":
        n = min(len(corpus), BARE // CONTEXT)
        ids = [tokens.ids for tokens in subject.tokenize(corpus.texts(range(n)))]
        step = settings.batch_tokens // CONTEXT
        for first in range(0, n, step):
            coder.encode(subject.states(ids[first : first + step], ["layer:3"])["layer:3"])
        return {"n_tokens": n * CONTEXT, "cpu_s": time.process_time() - began}
    cache = cache_activations(subject, coder, corpus, job["out"], settings)
    spent = time.process_time() - began
    result = {"n_tokens": len(corpus) * CONTEXT, "n_activations": cache.manifest["n_activations"], "cpu_s": spent}
    return result | {"peak_mb_before": before, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def one_size(folder: Path, python: str, n_tokens: int, turns: int, compared: bool) -> dict[str, object]:
    """Both sides in turns at one size."""
    run_json([sys.executable, __file__, "--documents", str(folder), str(n_tokens)])
    found: dict[str, list[dict]] = {"delphi": [], "ours": []}
    for turn in range(turns):
        for side, runs in found.items():
            job = job_of(folder, folder / f"{side}{turn}")
            command = (
                [python, str(SIDE), "cache"] if side == "delphi" else [sys.executable, __file__, "--ours", "cache"]
            )
            runs.append(run_json([*command, job]) | {"bytes": folder_bytes(folder / f"{side}{turn}")})
            if turn or not compared:
                shutil.rmtree(folder / f"{side}{turn}")
    rows = {
        side: {
            "tokens_per_cpu_s": statistics.median(run["n_tokens"] / run["cpu_s"] for run in runs),
            "bytes_per_activation": runs[0]["bytes"] / runs[0]["n_activations"],
            "n_activations": runs[0]["n_activations"],
            "peak_mb_before": max(run["peak_mb_before"] for run in runs),
            "peak_mb": max(run["peak_mb"] for run in runs),
        }
        for side, runs in found.items()
    }
    pairs = zip(*found.values(), strict=True)
    row = {"tokens": found["ours"][0]["n_tokens"], **rows,
           "ratio": statistics.median(theirs["cpu_s"] / our["cpu_s"] for theirs, our in pairs),
           "delphi_versions": found["delphi"][0]["versions"]}  # fmt: skip
    return row | (
        {"same_activations": run_json([sys.executable, __file__, "--compare", str(folder)])} if compared else {}
    )


def bare_loops(folder: Path, python: str) -> dict[str, float]:
    """Tokens per CPU-second of both bare loops at one size."""
    job = job_of(folder, folder / "bare")
    commands = {
        "whole_model": [python, str(SIDE), "bare", job],
        "to_the_hook": [sys.executable, __file__, "--ours", "bare", job],
    }
    runs = {name: run_json(command) for name, command in commands.items()}
    return {name: run["n_tokens"] / run["cpu_s"] for name, run in runs.items()}


def job_of(folder: Path, out: Path) -> str:
    """Path of a file that says where a side finds its inputs and where it writes."""
    path = out.with_suffix(".json")
    model, coder = folder.parent / "model", folder.parent / "coder"
    job = {"model": model, "coder": coder, "hookpoint": HOOKPOINT, "corpus": folder / "corpus",
           "tokens": folder / "tokens.safetensors", "out": out}  # fmt: skip
    path.write_text(json.dumps({name: str(value) for name, value in job.items()} | {"bare": BARE // CONTEXT}))
    return str(path)


def compare(name: str) -> dict[str, float]:
    """delphi's cache, read with our reader, against ours: pairs of token and feature in either, and the values."""
    from autointerp.cache import ActivationCache
    from caching.interchange import Vocabulary, read_delphi

    folder = Path(name)
    vocabulary = Vocabulary.of(str(folder.parent / "model"))
    read = read_delphi(folder / "delphi0" / HOOKPOINT, folder / "read", folder / "read-corpus", vocabulary)
    ours = ActivationCache.open(folder / "ours0")
    theirs = read.cache
    assert np.array_equal(ours.tokens, theirs.tokens), "the tokens differ"
    assert np.array_equal(ours.offsets, theirs.offsets), "the sequences differ"
    common, only, furthest = 0, {"ours": 0, "delphi": 0}, 0.0
    for feature in range(ours.n_features):
        (token, value), (other_token, other_value) = ours[feature], theirs[feature]
        both, mine, their = np.intersect1d(token, other_token, return_indices=True)
        common += len(both)
        only["ours"] += len(token) - len(both)
        only["delphi"] += len(other_token) - len(both)
        off = np.abs(value[mine].astype(np.float32) / other_value[their].astype(np.float32) - 1)
        furthest = max(furthest, float(off.max(initial=0)))
    return {"common": common, "only_ours": only["ours"], "only_delphi": only["delphi"],
            "largest_relative_difference": furthest,
            "at_special_tokens_left_out": read.activations_dropped}  # fmt: skip


PARTS = {"model": make_model, "documents": make_tokens, "ours": ours, "compare": compare}
"""What runs in a process of its own, with its arguments: a process begins with the peak memory of the one it left."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--delphi-python", help="the interpreter of delphi's environment")
    parser.add_argument("--tokens", type=int, nargs="+", default=[100_000, 250_000])
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--features", type=int, default=10_240)
    parser.add_argument("--k", type=int, default=32)
    for part in PARTS:
        parser.add_argument(f"--{part}", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    for part, work in PARTS.items():
        if given := getattr(options, part):
            print(json.dumps(work(*given)))
            return
    if not options.delphi_python:
        parser.error("--delphi-python is needed: README.md says how to make delphi's environment")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run_json([sys.executable, __file__, "--model", name, str(options.features), str(options.k)])
        rows = []
        for i, n_tokens in enumerate(options.tokens):
            size = folder / f"tokens-{n_tokens}"
            size.mkdir()
            rows.append(one_size(size, options.delphi_python, n_tokens, options.turns, compared=not i))
            print(json.dumps(rows[-1]), file=sys.stderr)
            if not i:
                bare = bare_loops(size, options.delphi_python)
            shutil.rmtree(size)
    print(
        json.dumps(
            {
                "benchmark": "caching against delphi",
                "model": "ESM-2 8M, random weights, layer 3 of 6",
                "n_features": options.features,
                "k": options.k,
                "turns": options.turns,
                "bare_tokens_per_cpu_s": bare,
                "runs": rows,
                "memory_growth_mb": {s: rows[-1][s]["peak_mb"] - rows[0][s]["peak_mb"] for s in ("delphi", "ours")},
                "python": platform.python_version(),
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
