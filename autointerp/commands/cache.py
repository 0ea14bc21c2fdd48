"""``autointerp cache``: encode a corpus and cache every feature's activations."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Config:
    """Encode a corpus with a subject and a coder into an activation cache; an interrupted run continues."""

    subject: str
    """Model under study: planted-esm, a fair-esm name, a .pt file, a Hugging Face name or folder;
    ?random=SEED after it: the same architecture, untrained."""
    hook: str
    """Place in the subject, e.g. layer:3, blocks.2.hook_resid_post or a module path."""
    coder: str
    """Folder of the sparse coder; or a control: neurons, neurons?k=32, random?n_features=4096&k=32&seed=0."""
    corpus: Path
    """Folder of the corpus."""
    out: Path
    """Folder of the cache."""
    level: Literal["token", "sequence"] = "token"
    """Encode every token, or the mean over a sequence's tokens."""
    max_tokens: int | None = None
    """Stop after this many tokens, at a sequence's end."""
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
    """Cache, then say what the cache holds."""
    from autointerp.coders import load_coder
    from autointerp.commands.inspect import describe
    from autointerp.corpus import Corpus
    from autointerp.progress import Bars
    from autointerp.subjects import load_subject
    from caching.run import cache_activations
    from caching.settings import CacheSettings

    corpus = Corpus.open(config.corpus)
    subject = load_subject(
        config.subject, device=config.device, dtype=config.dtype, context_length=config.context_length
    )
    device = str(getattr(subject, "device", "cpu"))
    coder = load_coder(config.coder, device=device, d_in=subject.hook(config.hook).d)
    settings = CacheSettings(
        hook=config.hook,
        level=config.level,
        value_dtype=config.value_dtype,
        overlap=min(config.overlap, subject.context_length // 4),
        batch_tokens=config.batch_tokens,
        block_size=config.block_size,
        max_tokens=config.max_tokens,
    )
    cache_activations(subject, coder, corpus, config.out, settings, Bars())
    print(describe(config.out))
