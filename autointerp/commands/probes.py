"""``autointerp probes CACHE --corpus DIR --out DIR``: linear probes on one feature, all features and the states."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from tyro.conf import Positional

if TYPE_CHECKING:
    from autointerp.biology.probes import ProbeStudy


@dataclass(frozen=True)
class Config:
    """Logistic regressions for annotated concepts, trained on some groups of homologues and tested on others."""

    cache: Annotated[Path, Positional]
    """Folder of the activation cache, of level token."""
    corpus: Path
    """Folder of the corpus that was cached, with annotations (or give --pattern)."""
    out: Path
    """Folder of the table, probes.csv and probes.parquet."""
    subject: str | None = None
    """The subject that was cached, for the probes on its states; by default the name that the cache has."""
    states: bool = True
    """Probe the subject's states too; it runs on the sequences drawn."""
    tokens: int = 20_000
    """Tokens of whole sequences drawn for fit and for test each, half as many for valid: the bound of memory."""
    candidates: int = 5
    """Features tried for each concept: those that correlate with it most on fit."""
    max_concepts: int = 50
    """Concepts probed, those with the most instances on test."""
    min_instances: int = 10
    """Instances that a concept needs on fit and on test, of what was drawn."""
    parts: str = "0.5,0.2,0.3"
    """Shares of the groups on fit, valid (where penalty, feature and threshold are chosen) and test."""
    part_column: str | None = None
    """Metadata column that says fit, valid or test instead."""
    split_by: str = "group"
    """What stays on one part: group (homologues), sequence, or a metadata column that names families."""
    pattern: tuple[str, ...] = ()
    """Further concepts, NAME=REGEX: every match in a sequence's text is an instance."""
    annotations: bool = True
    """Take the corpus's annotations as concepts."""
    device: str = "auto"
    """Where the subject runs: cpu, cuda, cuda:1, or auto."""
    seed: int = 0
    """Seed of the parts and of the draw."""

    POSITIONAL: ClassVar[bool] = True


def run(config: Config) -> None:
    """Probe, write the table, print the summary."""
    from autointerp.biology.f1 import parts_of
    from autointerp.biology.probes import ProbeSettings, probe_concepts
    from autointerp.biology.writing import write_table
    from autointerp.cache import ActivationCache
    from autointerp.commands.concepts import regions_of, shares_of
    from autointerp.corpus import Corpus
    from autointerp.features.checks import check_corpus
    from autointerp.progress import Bars

    cache, corpus = ActivationCache.open(config.cache), Corpus.open(config.corpus)
    check_corpus(cache, corpus)
    regions = regions_of(cache, corpus, config.pattern, annotations=config.annotations)
    shares = shares_of(config.parts)
    parts = parts_of(cache, corpus, shares=shares, column=config.part_column, by=config.split_by, seed=config.seed)
    settings = ProbeSettings(
        config.tokens, config.candidates, config.max_concepts, config.min_instances, seed=config.seed
    )
    subject = None
    if config.states:
        from autointerp.subjects import load_subject

        subject = load_subject(config.subject or cache.manifest["subject"]["name"], device=config.device)
    study = probe_concepts(cache, corpus, regions, parts, settings, subject=subject, observer=Bars())
    write_table(config.out / "probes", study.table)
    print("\n".join(summary(study)))
    print(f"table        {config.out}/probes.parquet")


def summary(study: ProbeStudy) -> Iterator[str]:
    """What was drawn, each input's median over concepts, what the coder loses, and the best single features."""
    import numpy as np

    from autointerp.biology.probes import INPUTS
    from autointerp.statistics.bootstrap import aggregate, paired

    for i, part in enumerate(("fit", "valid", "test")):
        yield f"{part:<12} {study.n_sequences[i]:,} sequences, {study.n_tokens[i]:,} tokens"
    rows = study.table.to_pylist()
    concepts = list(dict.fromkeys(row["concept"] for row in rows))
    yield f"concepts     {len(concepts):,}; {study.left_out:,} left out"
    by = {name: {row["concept"]: row for row in rows if row["input"] == name} for name in INPUTS}
    by = {name: found for name, found in by.items() if found}
    yield f"{'medians':<13}{'AUROC':>6} {'average precision':>18} {'F1':>6} {'balanced F1':>12}"
    for name, found in by.items():
        auroc, ap, f1, balanced = (
            aggregate(np.array([row[m] for row in found.values()], float))["median"].value
            for m in ("auroc", "average_precision", "f1", "balanced_f1")
        )
        yield f"{name:<13}{auroc:>6.3f} {ap:>18.3f} {f1:>6.3f} {balanced:>12.3f}"
    yield f"{'chance':<13}{0.5:>6.3f} {np.median([row['prevalence'] for row in by['features'].values()]):>18.3f}"
    for name in [name for name in ("features", "one feature") if "states" in by]:
        x, y = (np.array([by[n][c]["average_precision"] for c in concepts]) for n in (name, "states"))
        change: Any = paired(x, y)
        value, low, high = change["median"]
        yield (
            f"{name + ' − states':<22} average precision {value:+.3f} [{low:+.3f}, {high:+.3f}], median over concepts; "
            f"higher in {change['share_higher']:.0%}"
        )
    best = sorted(by["one feature"].values(), key=lambda row: -row["average_precision"])[:10]
    yield f"{'one feature':<13}{'AP':>6} {'of all':>7} {'AUROC':>6}  feature  concept"
    for row in best:
        together = by["features"][row["concept"]]["average_precision"]
        yield (
            f"{'':<13}{row['average_precision']:>6.3f} {together:>7.3f} {row['auroc']:>6.3f}  {row['feature']:>7}  "
            f"{row['concept']}"
        )
