"""What delphi does, for delphi_cache.py and delphi_load.py: runs in delphi's environment and knows nothing of ours.

    python delphi_side.py cache JOB.json | bare JOB.json | load JOB.json

Prints one line of JSON. How delphi is driven is taken from its own ``__main__.py``.
"""

from __future__ import annotations

import json
import random
import resource
import sys
import time
from importlib.metadata import version
from pathlib import Path

import torch

torch.set_num_threads(1)


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def load_model(job: dict):
    """Model and encode functions, as ``delphi.__main__.load_artifacts`` makes them, on the CPU."""
    from delphi.sparse_coders.load_sparsify import load_sparsify_hooks
    from transformers import AutoModel

    model = AutoModel.from_pretrained(job["model"], torch_dtype="auto").eval()
    return model, *load_sparsify_hooks(model, job["coder"], [job["hookpoint"]], device="cpu")


def load_tokens(job: dict) -> torch.Tensor:
    from safetensors.torch import load_file

    return load_file(job["tokens"])["tokens"].long()


def cache(job: dict) -> dict:
    """``LatentCache.run``, ``save_splits`` and ``save_config``; CPU seconds of these alone."""
    from delphi.config import CacheConfig
    from delphi.latents import LatentCache

    model, encode, transcode = load_model(job)
    tokens, out = load_tokens(job), Path(job["out"])
    out.mkdir(parents=True)
    config = CacheConfig(batch_size=32, cache_ctx_len=tokens.shape[1], n_tokens=tokens.numel(), n_splits=5)
    before = peak_mb()
    began = time.process_time()
    caching = LatentCache(model, encode, config.batch_size, transcode=transcode, log_path=out)
    caching.run(config.n_tokens, tokens)
    ran = time.process_time()
    caching.save_splits(config.n_splits, out)
    caching.save_config(out, config, job["model"])
    ended = time.process_time()
    (locations,) = caching.cache.latent_locations.values()
    return {
        "n_tokens": tokens.shape[0] // config.batch_size * config.batch_size * tokens.shape[1],
        "n_activations": len(locations),
        "cpu_s": ended - began,
        "cpu_s_saving": ended - ran,
        "peak_mb_before": before,
        "peak_mb": peak_mb(),
    }


def bare(job: dict) -> dict:
    """The same batches through the whole model and the coder's encode, results dropped."""
    from delphi.latents.collect_activations import collect_activations

    model, encode, _ = load_model(job)
    ((hookpoint, dense),) = encode.items()
    coder, tokens = dense.keywords["sae"], load_tokens(job)[: job["bare"]]
    began = time.process_time()
    with torch.no_grad():
        for batch in tokens.split(32):
            with collect_activations(model, [hookpoint]) as states:
                model(batch)
            coder.encode(states[hookpoint].flatten(0, 1))
    return {"n_tokens": tokens.numel(), "cpu_s": time.process_time() - began}


def load(job: dict) -> dict:
    """``LatentDataset`` over some latents, read to the end; reading of shards is timed apart."""
    from delphi.config import ConstructorConfig, SamplerConfig
    from delphi.latents import LatentDataset
    from delphi.latents.loader import TensorBuffer
    from transformers import PreTrainedTokenizerFast

    reading = 0.0
    read = TensorBuffer.load_data_per_latent

    def timed(buffer):
        nonlocal reading
        began = time.process_time()
        found = read(buffer)
        reading += time.process_time() - began
        return found

    TensorBuffer.load_data_per_latent = timed
    random.seed(0)
    latents = torch.tensor(sorted(job["latents"]))
    began = time.process_time()
    dataset = LatentDataset(
        raw_dir=job["folder"],
        sampler_cfg=SamplerConfig(n_examples_train=job["n_explain"], n_examples_test=job["n_test"]),
        constructor_cfg=ConstructorConfig(example_ctx_len=job["window"], n_non_activating=job["n_negatives"]),
        tokenizer=PreTrainedTokenizerFast(tokenizer_file=job["tokenizer"], unk_token="<unk>"),
        modules=[job["hookpoint"]],
        latents={job["hookpoint"]: latents},
    )
    opened = time.process_time()
    kept, n, shown = {}, 0, 0
    for record in dataset:
        n += 1
        shown += len(record.train) + len(record.test) + len(record.not_active)
        if record.latent.latent_index in job["check"]:
            kept[record.latent.latent_index] = [(e.tokens, e.activations) for e in record.examples]
    ended = time.process_time()
    for latent, windows in kept.items():
        keep_windows(Path(job["windows"]) / f"{latent}.safetensors", windows)
    return {
        "records": n,
        "examples": shown,
        "cpu_s_opening": opened - began,
        "cpu_s_reading_shards": reading,
        "cpu_s_records": ended - opened - reading,
        "peak_mb": peak_mb(),
    }


def keep_windows(path: Path, windows: list) -> None:
    from safetensors.torch import save_file

    tokens, activations = (torch.stack(column) for column in zip(*windows))  # noqa: B905 - delphi's, equally long
    save_file({"tokens": tokens, "activations": activations.float()}, path)


def main() -> None:
    what, path = sys.argv[1:]
    job = json.loads(Path(path).read_text())
    result = {"cache": cache, "bare": bare, "load": load}[what](job)
    names = ("eai-delphi", "eai-sparsify", "torch", "transformers")
    print(json.dumps(result | {"versions": {name: version(name) for name in names}}))


if __name__ == "__main__":
    main()
