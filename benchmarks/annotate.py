"""``annotate`` of one protein of 400 residues: in process, once everything is loaded, and as a command.

The subject has the shape of ESM-2 8M (6 layers of 320) and random weights, the coder 10,240 features, of which 32 fire
on a residue; the run holds an explanation, two scores, a concept and three GO terms of every feature. Measured: loading
the tables; all features of the protein, and the 20 best; each output; and ``autointerp annotate`` as a process of its
own. The comparison is the bare forward pass to the hook and the bare encoding of the same protein. Prints JSON.

    OMP_NUM_THREADS=1 python benchmarks/annotate.py [--residues 400] [--features 10240] [--turns 7]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from autointerp.annotating import FeatureTables, annotate, load_studied
from autointerp.annotating.page import html_pieces
from autointerp.annotating.writing import json_pieces, tsv_lines
from autointerp.coders import SparseCoder, save_coder
from autointerp.records import Explanation, FeatureStatistics, Score
from autointerp.store import RunStore

HOOK = "layer:4"
LETTERS = "ACDEFGHIKLMNPQRSTVWY"


def make_subject(folder: Path) -> None:
    """ESM-2 8M's shape with random weights."""
    from transformers import EsmConfig, EsmForMaskedLM, EsmTokenizer

    config = EsmConfig(vocab_size=33, hidden_size=320, num_hidden_layers=6, num_attention_heads=20, mask_token_id=32,
                       intermediate_size=1280, position_embedding_type="rotary", token_dropout=True, pad_token_id=1,
                       max_position_embeddings=1026, emb_layer_norm_before=False)  # fmt: skip
    torch.manual_seed(0)
    EsmForMaskedLM(config).save_pretrained(folder)
    tokens = ["<cls>", "<pad>", "<eos>", "<unk>", *"LAGVSERTIDPKQNFYMHWCXBUZO.-", "<null_1>", "<mask>"]
    (folder / "vocab.txt").write_text("\n".join(tokens))
    EsmTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)


def make_run(folder: Path, subject: Path, n: int) -> None:
    """A run with everything known of every feature, and the coder beside it."""
    generator = torch.Generator().manual_seed(0)
    encoder = torch.randn((n, 320), generator=generator) / 320**0.5
    zeros = torch.zeros(n), torch.zeros(320)
    save_coder(
        SparseCoder("topk", encoder, zeros[0], encoder.clone(), zeros[1], k=32, metadata={"hook": HOOK}),
        folder.parent / "coder",
    )
    facts = FeatureStatistics(1000, 3.0, 1.0, 0.003, 500, 400)

    async def put(store: RunStore) -> None:
        for begin in range(0, n, 512):
            part = range(begin, min(begin + 512, n))
            told = [Explanation(f, f"fires on motif {f} at the start of a helix", "residue@1", "m") for f in part]
            scores = [
                Score(f, "residue@1", s, 0.8, 0.7, 0.9, 100, 0) for f in part for s in ("detection@2", "fuzzing@2")
            ]
            await asyncio.gather(
                *(store.put_explanation(one, "c", facts) for one in told),
                *(store.put_score(s, "c", "c") for s in scores),
            )

    with RunStore.open(folder) as store:
        store.bind({})
        asyncio.run(put(store))
    (folder / "run.toml").write_text(f'[run]\nsubject = "{subject}"\ncoder = "{folder.parent / "coder"}"\n')
    feature = np.arange(n)
    concepts = {"feature": feature, "concept": [f"Domain: kind {f % 99}" for f in range(n)], "f1": feature / n,
                "threshold": np.zeros(n)}  # fmt: skip
    three = np.repeat(feature, 3)
    terms = {"feature": three, "term": [f"GO:{i:07d}" for i in range(3 * n)], "name": ["binding of a kind"] * (3 * n),
             "direction": ["over"] * (3 * n), "log10_p": -np.arange(3.0 * n), "q": np.full(3 * n, 0.01)}  # fmt: skip
    for name, table in (("concepts/features", concepts), ("go/enrichment", terms)):
        (folder / name).parent.mkdir(parents=True)
        pq.write_table(pa.table(table), folder / f"{name}.parquet")


def best(turns: int, work: Callable[[], Any]) -> dict[str, float]:
    """CPU and wall milliseconds, the best of some turns."""
    found = []
    for _ in range(turns):
        cpu, wall = time.process_time(), time.perf_counter()
        work()
        found.append((time.process_time() - cpu, time.perf_counter() - wall))
    return {
        f"{name}_ms": round(1000 * min(values), 1)
        for name, values in zip(("cpu", "wall"), zip(*found, strict=True), strict=True)
    }


def whole_process(run: Path, text: str, turns: int) -> dict[str, float]:
    """``autointerp annotate`` from its start to its end."""
    found = []
    words = [sys.executable, "-m", "autointerp.commands", "annotate", "--run", str(run), "--sequence", text]
    for _ in range(turns):
        before, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run([*words, "--out", str(run / "out.tsv")], check=True, capture_output=True, env=dict(os.environ))
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        found.append((cpu, time.perf_counter() - wall))
    return {
        f"{name}_s": round(min(values), 2)
        for name, values in zip(("cpu", "wall"), zip(*found, strict=True), strict=True)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("residues", 400), ("features", 10_240), ("turns", 7)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    text = "".join(np.random.default_rng(0).choice(list(LETTERS), args.residues))
    with tempfile.TemporaryDirectory() as place:
        subject, run = Path(place) / "subject", Path(place) / "run"
        subject.mkdir()
        make_subject(subject)
        make_run(run, subject, args.features)
        studied = load_studied(run)
        tables = FeatureTables.open(run)
        ids = studied.subject.tokenize([text])[0].ids

        fresh = [FeatureTables.open(run) for _ in range(2 * args.turns)]  # they remember what was looked up

        def annotated(**filters: Any) -> Any:
            return annotate([text], studied.subject, studied.coder, fresh.pop(), **filters)

        def bare() -> None:
            studied.coder.encode(studied.subject.states([ids], [HOOK])[HOOK].float())

        (one,) = annotate([text], studied.subject, studied.coder, tables)
        told = {
            "residues": args.residues,
            "features": args.features,
            "features_that_fire": one.n_fired,
            "bare_forward_and_encode": best(args.turns, bare),
            "annotate_all": best(args.turns, annotated),
            "annotate_20": best(args.turns, lambda: annotated(top=20)),
            "tables": best(args.turns, lambda: FeatureTables.open(run)),
            "tsv": best(args.turns, lambda: list(tsv_lines([one]))),
            "json": best(args.turns, lambda: list(json_pieces([one], {}))),
            "html": best(args.turns, lambda: list(html_pieces([one], "t", protein=True))),
            "process": whole_process(run, text, min(args.turns, 3)),
            "machine": platform.platform(),
            "threads": torch.get_num_threads(),
        }
    print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
