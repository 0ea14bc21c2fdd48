"""``autointerp cache``: encode a corpus and cache every feature's activations."""

from __future__ import annotations

import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from autointerp.errors import UsageError


@dataclass(frozen=True)
class Config:
    """Encode a corpus with a subject and a coder into an activation cache; an interrupted run continues."""

    subject: str
    """Model under study: planted-esm, a fair-esm name, a .pt file, a Hugging Face name or folder, embeddings:FOLDER;
    ?random=SEED after it: the same architecture, untrained."""
    hook: str
    """Place in the subject, e.g. layer:3, blocks.2.hook_resid_post or a module path; several with commas."""
    coder: str
    """Folder of the sparse coder; or a control: neurons, neurons?k=32, random?n_features=4096&k=32&seed=0. Several with
    commas: as many as hooks, or many on one hook, or one on many hooks; all in one pass of the subject."""
    corpus: Path
    """Folder of the corpus."""
    out: Path
    """Folder of the cache; of several, the folder that they are made in."""
    level: Literal["token", "sequence"] = "token"
    """Encode every token, or have one code for each sequence."""
    pooling: Literal["states", "mean", "max"] = "states"
    """Level sequence: encode the mean of the states; or encode every token, then take the codes' mean or max."""
    max_tokens: int | None = None
    """Stop after this many tokens, at a sequence's end."""
    max_activations_per_feature: int | None = None
    """Keep no more of a feature that fires more often: those of a random subset of sequences, whole."""
    seed: int = 0
    """Decides which sequences those are."""
    context_length: int | None = None
    """Tokens of one window; the subject's own limit by default."""
    overlap: int = 64
    """Tokens that windows of an over-long sequence share, at most a quarter of the context."""
    device: str = "auto"
    """cpu, cuda, cuda:1, or auto."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Type in which the subject computes."""
    value_dtype: Literal["float16", "float32"] = "float16"
    """Type of the stored activations."""
    batch_tokens: int | None = None
    """Padded tokens in one forward pass; by default 4,096 on a CPU, 65,536 elsewhere."""
    block_size: int = 1 << 16
    """Characters (residues) of corpus in one block: the unit of resumption and the bound of memory."""


def run(config: Config) -> None:
    """Cache, then say what each cache holds."""
    from autointerp.cache.layout import MANIFEST, read_manifest
    from autointerp.coders import load_coder
    from autointerp.commands.inspect import describe
    from autointerp.corpus import Corpus
    from autointerp.progress import Bars
    from autointerp.subjects import load_subject
    from caching.plan import plan_run
    from caching.run import Target, cache_many
    from caching.settings import CacheSettings

    wanted = pairs(config.hook, config.coder, config.out)
    corpus = Corpus.open(config.corpus)
    subject = load_subject(
        config.subject, device=config.device, dtype=config.dtype, context_length=config.context_length
    )
    device = str(getattr(subject, "device", "cpu"))
    widths = {hook: subject.hook(hook).d for hook, _, _ in wanted}
    coders = {}
    for hook, name, _ in wanted:
        if (name, widths[hook]) not in coders:
            coders[name, widths[hook]] = load_coder(name, device=device, d_in=widths[hook])
    settings = CacheSettings(
        hook=wanted[0][0],
        level=config.level,
        pooling=config.pooling,
        value_dtype=config.value_dtype,
        overlap=min(config.overlap, subject.context_length // 4),
        batch_tokens=config.batch_tokens,
        block_size=config.block_size,
        max_tokens=config.max_tokens,
        max_activations_per_feature=config.max_activations_per_feature,
        seed=config.seed,
    )
    targets = [Target(coders[name, widths[hook]], hook, out) for hook, name, out in wanted]
    if not all((target.out / MANIFEST).exists() and read_manifest(target.out)["complete"] for target in targets):
        plan = plan_run(subject, targets, corpus, settings)
        print(plan, file=sys.stderr)
        parent = next(p for p in (config.out.absolute(), *config.out.absolute().parents) if p.exists())
        if (free := shutil.disk_usage(parent).free) < plan.peak_disk_bytes:
            print(f"warning: {parent} has {free / 1e9:.1f} GB left", file=sys.stderr)
    cache_many(subject, targets, corpus, settings, Bars())
    print("\n\n".join(describe(out) for _, _, out in wanted))


def pairs(hooks: str, coders: str, out: Path) -> list[tuple[str, str, Path]]:
    """Hook, coder and folder of every cache that is asked for; the folders of several are named after both.

    Raises
    ------
    UsageError : lists of different lengths, neither of one.
    """
    left, right = ([part.strip() for part in text.split(",") if part.strip()] for text in (hooks, coders))
    if Path(coders).is_dir():  # a comma in its name
        right = [coders]
    if not left or not right or (len(left) != len(right) and 1 not in (len(left), len(right))):
        raise UsageError(
            f"{len(left)} hooks and {len(right)} coders: give as many of one as of the other, or one of one of them"
        )
    n = max(len(left), len(right))
    left, right = left * (n // len(left)), right * (n // len(right))
    if n == 1:
        return [(left[0], right[0], out)]
    names = [
        re.sub(r"[^\w.=]+", "-", f"{hook}-{coder if '?' in coder else Path(coder).name}")
        for hook, coder in zip(left, right, strict=True)
    ]
    again = [names[:i].count(name) for i, name in enumerate(names)]  # coder folders of one name in different places
    folders = [out / (f"{name}-{i + 1}" if i else name) for name, i in zip(names, again, strict=True)]
    return list(zip(left, right, folders, strict=True))
