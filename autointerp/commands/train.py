"""``autointerp train``: train a sparse coder on a subject's layer."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from training.config import TrainConfig


@dataclass(frozen=True, kw_only=True)
class Places:
    """What to train on, and where to write."""

    subject: str
    """Model under study: planted-esm, a fair-esm name, a .pt file, a Hugging Face name or folder, embeddings:FOLDER."""
    hook: str
    """Place in the subject, e.g. layer:3, blocks.2.hook_resid_post or a module path."""
    corpus: Path
    """Folder of the corpus."""
    out: Path
    """Folder of the coder; SAELens can read it too."""


@dataclass(frozen=True, kw_only=True)
class Config(TrainConfig, Places):
    """Train a TopK sparse autoencoder on the states of a subject; an interrupted training continues."""

    context_length: int | None = None
    """Tokens of one window; the subject's own limit by default."""
    device: str = "auto"
    """cpu, cuda, cuda:1, or auto."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Type in which the subject computes; the coder is trained in float32."""


def run(config: Config) -> None:
    """Train, then say how good the coder is."""
    from autointerp.commands.inspect import describe
    from autointerp.corpus import Corpus
    from autointerp.progress import Bars
    from autointerp.subjects import load_subject
    from training import train

    corpus = Corpus.open(config.corpus)
    subject = load_subject(
        config.subject, device=config.device, dtype=config.dtype, context_length=config.context_length
    )
    settings = TrainConfig(**{field.name: getattr(config, field.name) for field in fields(TrainConfig)})
    coder = train(subject, corpus, config.hook, settings, config.out, Bars())
    print(describe(config.out))
    print(_quality(coder.metadata["results"], config.level))


def _quality(results: dict[str, float | int | None], level: str) -> str:
    """The measurements as a table."""
    rows = [("trained on", f"{results['tokens']:,} {level}s, {results['epochs']} epochs")]
    if results["fvu"] is not None:
        rows.append(("held out", f"{results['n']:,} {level}s of groups that were not trained on"))
        rows.append(("FVU", f"{results['fvu']:.4f} (share of variance that is not reconstructed)"))
        rows.append(("L0", f"{results['l0']:.2f} features a {level}"))
        rows.append(("silent", f"{results['silent_share']:.1%} of the features on the held-out {level}s"))
    rows.append(("dead", f"{results['dead_share']:.1%} of the features at the end of training"))
    return "\n".join(f"{name:<12}  {value}" for name, value in rows)
