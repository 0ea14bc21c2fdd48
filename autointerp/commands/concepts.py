"""``autointerp concepts CACHE --corpus DIR --out DIR``: which features find which annotated concepts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from tyro.conf import Positional

from autointerp.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from autointerp.biology.f1 import Study
    from autointerp.biology.interplm import Report
    from autointerp.biology.regions import Regions
    from autointerp.cache import ActivationCache
    from autointerp.corpus import Corpus


@dataclass(frozen=True)
class Config:
    """Concept F1: residue precision and instance recall, chosen on one part of the corpus, measured on another."""

    cache: Annotated[Path, Positional]
    """Folder of the activation cache, of level token."""
    corpus: Path
    """Folder of the corpus that was cached, with annotations (or give --pattern)."""
    out: Path
    """Folder of the tables: concepts, features and pairs, each as CSV and Parquet."""
    min_instances: int = 10
    """Instances that a concept needs on valid and on test."""
    parts: str = "0.2,0.4,0.4"
    """Shares of the groups on fit (each feature's maximum), valid (where pairs are chosen) and test."""
    part_column: str | None = None
    """Metadata column that says fit, valid or test instead."""
    split_by: str = "group"
    """What stays on one part: group (homologues), sequence, or a metadata column that names families."""
    pairs_above: float = 0.2
    """Least F1 on valid of a row in the table of pairs."""
    pattern: tuple[str, ...] = ()
    """Further concepts, NAME=REGEX: every match in a sequence's text is an instance."""
    annotations: bool = True
    """Take the corpus's annotations as concepts."""
    null_draws: int = 1
    """How often all is repeated with the labels in other places."""
    missing: bool = False
    """Also write missing.csv: where a concept's best feature fires strongly and the label is absent."""
    missing_above: float = 0.5
    """Least test F1 of the concepts that --missing looks at."""
    compat: Literal["none", "interplm", "interplm-head"] = "none"
    """InterPLM's rules instead, those of the paper or of its package of 2025, defects included; see docs/biology.md."""
    uniprot: Path | None = None
    """UniProt's table of the corpus's entries, for --compat to label from as InterPLM does; the corpus's annotations
    know neither fuzzy ends nor a binding site's note."""
    seed: int = 0
    """Seed of the parts and of the null."""

    POSITIONAL: ClassVar[bool] = True


def run(config: Config) -> None:
    """Count, write the tables, print the summary."""
    from autointerp.biology import f1
    from autointerp.biology.writing import write_table
    from autointerp.cache import ActivationCache
    from autointerp.corpus import Corpus
    from autointerp.features.checks import check_corpus

    cache, corpus = ActivationCache.open(config.cache), Corpus.open(config.corpus)
    check_corpus(cache, corpus)
    shares = shares_of(config.parts)
    parts = f1.parts_of(cache, corpus, shares=shares, column=config.part_column, by=config.split_by, seed=config.seed)
    if config.uniprot and config.compat == "none":
        raise UsageError("--uniprot is for --compat interplm; else concepts come from the corpus's annotations")
    if config.compat != "none":
        _interplm(config, cache, corpus, parts)
        return
    regions = regions_of(cache, corpus, config.pattern, annotations=config.annotations)
    study = f1.study(
        cache,
        regions,
        parts,
        min_instances=config.min_instances,
        pairs_above=config.pairs_above,
        null_draws=config.null_draws,
        seed=config.seed,
    )
    for name in ("concepts", "features", "pairs"):
        write_table(config.out / name, getattr(study, name))
    print("\n".join(summary(study)))
    if config.missing:
        from autointerp.biology.absent import missing_annotations

        table = missing_annotations(cache, corpus, regions, study.concepts, parts, min_f1=config.missing_above)
        write_table(config.out / "missing", table)
        print("\n".join(_absent(table)))
    print(f"tables       {config.out}")


def regions_of(cache: ActivationCache, corpus: Corpus, pattern: tuple[str, ...], *, annotations: bool) -> Regions:
    """The concepts asked for: the corpus's annotations, and patterns written NAME=REGEX.

    Raises
    ------
    UsageError : neither, or a pattern of another form.
    """
    from autointerp.biology.regions import annotated, joined, matching

    regions = None
    if annotations and corpus.annotations.num_rows:
        regions = annotated(cache, corpus)
    if pattern:
        patterns = dict(p.partition("=")[::2] for p in pattern)
        if not all(patterns) or not all(patterns.values()):
            raise UsageError(f"--pattern {' '.join(pattern)}: give NAME=REGEX")
        matches = matching(cache, corpus, patterns)
        regions = joined(regions, matches) if regions else matches
    if regions is None:
        raise UsageError(
            f"{corpus.path}: no annotations; import a source that has some, add them with "
            "`autointerp corpus annotate`, or give --pattern NAME=REGEX"
        )
    return regions


def shares_of(parts: str) -> tuple[float, float, float]:
    """``"0.2,0.4,0.4"`` as three numbers."""
    try:
        fit, valid, test = map(float, parts.split(","))
    except ValueError:
        raise UsageError(f"--parts {parts}: give three shares that sum to 1, such as 0.2,0.4,0.4") from None
    return fit, valid, test


def summary(study: Study) -> Iterator[str]:
    """What was compared, how many features and concepts match, their null, and the best pairs."""
    import numpy as np

    for i, part in enumerate(("fit", "valid", "test")):
        yield f"{part:<12} {study.n_sequences[i]:,} sequences, {study.n_tokens[i]:,} tokens"
    tested, left = study.concepts.num_rows, f"{study.left_out:,} with too few instances" if study.left_out else ""
    yield f"concepts     {tested:,} with a feature on valid{'; left out ' + left if left else ''}"
    features, concepts = (getattr(study, n)["f1"].to_numpy() for n in ("features", "concepts"))
    for least in (0.2, 0.5):
        found = f"{(features > least).sum():,} of {study.n_features:,} features, {(concepts > least).sum():,} concepts"
        null = ""
        if len(study.null_features):
            by_chance = (study.null_features > least).sum(1).mean()
            null_concepts = study.concepts["null_f1"].to_numpy()
            null = f"; labels in other places: {by_chance:,.3g} features, {(null_concepts > least).sum():,} concepts"
        yield f"F1 > {least:<7} {found}, on test{null}"
    if not tested:
        return
    yield f"mean best F1 {np.mean(concepts):.3f} over concepts, on test"
    yield f"{'best':<13}{'test F1':>7} {'valid':>6} {'precision':>9} {'recall':>6} {'instances':>9}  feature  concept"
    for row in study.concepts.sort_by([("f1", "descending")]).slice(0, 15).to_pylist():
        yield (
            f"{'':<13}{row['f1']:>7.3f} {row['valid_f1']:>6.3f} {row['precision']:>9.3f} {row['recall']:>6.3f} "
            f"{row['n_instances']:>9,}  {row['feature']:>7}  {row['concept']}"
        )


def _absent(table: pa.Table) -> Iterator[str]:
    yield f"missing      {table.num_rows:,} places without the label"
    for row in table.slice(0, 5).to_pylist():
        yield (
            f"{'':<13}{row['precision_above']:.2f} {row['id']} {row['start']}–{row['end']} {row['concept']} "
            f"(feature {row['feature']}) {row['context']}"
        )


def _interplm(config: Config, cache: ActivationCache, corpus: Corpus, parts: np.ndarray) -> None:
    from autointerp.biology.interplm import report
    from autointerp.biology.writing import write_table

    head = config.compat == "interplm-head"
    result = report(cache, corpus, parts, head=head, min_required=config.min_instances, table=config.uniprot)
    write_table(config.out / "heldout_top_pairings", result.best)
    write_table(config.out / "heldout_all_top_pairings", result.pairs)
    print("\n".join(_compat_summary(result)))
    print(f"tables       {config.out}")


def _compat_summary(result: Report) -> Iterator[str]:
    mean = result.best["f1_per_domain"].to_numpy().mean() if result.best.num_rows else float("nan")
    n = {name: len(result.pairs[name].unique()) for name in ("concept", "feature")}
    left = ", ".join(f"{times:,} {reason}" for reason, times in sorted(result.left_out.items()))
    yield f"concepts     {result.n_concepts:,} by InterPLM's rules{'; no label: ' + left if left else ''}"
    yield f"mean best F1 {mean:.3f} over {result.best.num_rows:,} concepts; {result.n_vanished:,} without a hit on test"
    yield f"F1 > 0.5     {n['feature']:,} features, {n['concept']:,} concepts (on valid and, thresholds anew, on test)"
