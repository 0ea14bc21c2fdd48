"""``autointerp analyze CACHE --corpus DIR --out RUN``: what can be said of every feature without an LLM."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from tyro.conf import Positional

if TYPE_CHECKING:
    from autointerp.analysis import Analysis
    from autointerp.cache import ActivationCache


@dataclass(frozen=True)
class Config:
    """Statistics, shapes, logos, effects on the logits, neighbours, duplicates and a map of all features."""

    cache: Annotated[Path, Positional]
    """Folder of the activation cache."""
    corpus: Path
    """Folder of the corpus that was cached."""
    out: Path
    """Folder of the run (or any other); the tables are written into its subfolder analysis."""
    coder: str | None = None
    """The coder of the cache: decoder and encoder neighbours, duplicates, the map and the effects need it."""
    subject: str | None = None
    """The subject of the cache, name or path: effects on the logits need it."""
    neighbours: int = 10
    """Near features of each kind (decoder, encoder, co-activation) that are listed."""
    dense: float = 0.1
    """Share of the tokens above which a feature is dense."""
    above: float = 0.1
    """Share of a feature's maximum that an activation must exceed to count for its pattern and its logo."""
    duplicate: float = 0.95
    """Decoder cosine from which a feature doubles another."""
    umap: bool = True
    """Make the map of decoder vectors and its clusters (the extra analysis); compiling takes up to a minute."""
    token_sets: Path | None = None
    """JSON file of further sets of tokens, {NAME: [TOKEN, …]}, whose effects are tested."""
    device: str = "auto"
    """Where the subject computes: cpu, cuda or auto."""
    seed: int = 0
    """Of the map, and of what is sampled."""

    POSITIONAL: ClassVar[bool] = True


def run(config: Config) -> None:
    """Analyse, write, draw, and print a summary."""
    from autointerp.analysis import Analysis
    from autointerp.analysis.build import Builder, Settings
    from autointerp.analysis.token_sets import read_token_sets
    from autointerp.cache import ActivationCache
    from autointerp.corpus import Corpus
    from autointerp.progress import Bars
    from autointerp.report.analysis import write_figures

    cache, corpus = ActivationCache.open(config.cache), Corpus.open(config.corpus)
    chosen: dict[str, Any] = {name: getattr(config, name) for name in Settings.__dataclass_fields__}
    builder = Builder(
        cache,
        corpus,
        config.out,
        **_models(config, cache),
        token_sets=read_token_sets(config.token_sets) if config.token_sets else None,
        settings=Settings(**chosen),
        observer=Bars(),
    )
    builder.build()
    analysis = Analysis.open(config.out)
    assert analysis is not None
    print("\n".join(summary(analysis)))
    drawn = write_figures(config.out)
    print(f"\nwrote {', '.join([*analysis.manifest['tables'], *drawn])} into {analysis.path}")


def _models(config: Config, cache: ActivationCache) -> dict[str, Any]:
    """``coder`` and ``subject``, those that are given."""
    from autointerp.coders import load_coder
    from autointerp.subjects import load_subject

    coder = load_coder(config.coder, d_in=cache.manifest["coder"].get("d_in")) if config.coder else None
    return {"coder": coder, "subject": load_subject(config.subject, device=config.device) if config.subject else None}


def summary(analysis: Analysis) -> Iterator[str]:
    """The summary as text."""
    import pyarrow.compute as pc

    table, manifest = analysis.features, analysis.manifest
    dead, dense = (pc.sum(table[name]).as_py() or 0 for name in ("dead", "dense"))
    doubles = table.num_rows - table["duplicate_of"].null_count
    parts = [f"{dead:,} dead", f"{dense:,} dense (above {manifest['settings']['dense']:.0%} of the tokens)"]
    yield f"{'features':<14}{table.num_rows:,}: {', '.join(parts)}, {doubles:,} that double another"
    for name in ("pattern", "position_class"):
        if table[name].null_count < table.num_rows:
            counts = sorted(pc.value_counts(table[name]).to_pylist(), key=lambda c: -c["counts"])
            yield f"{name.partition('_')[0]:<14}" + ", ".join(f"{c['values']} {c['counts']:,}" for c in counts)
    if table["cluster"].null_count < table.num_rows:
        clusters = table["cluster"].drop_null().to_numpy()
        yield f"{'clusters':<14}{len(set(clusters.tolist()) - {-1}):,}, of {(clusters >= 0).sum():,} features"
    if analysis.has("logits"):
        yield f"{'logits':<14}{manifest['tables']['logits']['method']}"
    for name, why in manifest["left_out"].items():
        yield f"{'left out':<14}{name}: {why}"
