"""``autointerp families CACHE --corpus DIR --out DIR``: which features fire in one protein family alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from tyro.conf import Positional

if TYPE_CHECKING:
    from autointerp.biology.families import Families, FamilyStudy


@dataclass(frozen=True)
class Config:
    """Family specificity by InterProt's protocol, and with halves that share no homologues."""

    cache: Annotated[Path, Positional]
    """Folder of the cache; a protein's activation is the largest over its residues."""
    corpus: Path
    """Folder of the corpus that was cached."""
    out: Path
    """Folder of the table, families.csv and families.parquet."""
    column: str | None = None
    """Metadata column or type of annotations that names families, e.g. Pfam; by default the first of pfam, interpro,
    protein_families, Domain that the corpus has."""
    null_draws: int = 1
    """How often all is repeated with the families dealt anew to the proteins of each half."""
    seed: int = 0
    """Seed of the halves and of the null."""

    POSITIONAL: ClassVar[bool] = True


def run(config: Config) -> None:
    """Measure, write the table, print the summary."""
    from autointerp.biology.families import families_of, family_specificity
    from autointerp.biology.writing import write_table
    from autointerp.cache import ActivationCache
    from autointerp.corpus import Corpus
    from autointerp.features.checks import check_corpus
    from autointerp.progress import Bars

    cache, corpus = ActivationCache.open(config.cache), Corpus.open(config.corpus)
    check_corpus(cache, corpus)
    families = families_of(corpus, config.column, cache.n_sequences)
    study = family_specificity(cache, corpus, families, null_draws=config.null_draws, seed=config.seed, observer=Bars())
    write_table(config.out / "families", study.table)
    print("\n".join(summary(families, study, cache.n_features)))
    print(f"table        {config.out}/families.parquet")


def summary(families: Families, study: FamilyStudy, n_features: int) -> Iterator[str]:
    """What was compared, how many features are specific, their null, and the best."""
    from autointerp.biology.families import SPECIFIC, tally

    n = tally(families)
    yield (
        f"families     {n['families']:,} of {families.source}, {n['of one member']:,} with one member; "
        f"{n['with a family']:,} of {n['sequences']:,} sequences have one"
    )
    for part, counts in study.counts.items():
        null = f"; families dealt anew: {counts['specific_by_chance']:,.3g}" if "specific_by_chance" in counts else ""
        yield f"{part:<12} F1 > {SPECIFIC:g}: {counts['specific']:,.0f} of {n_features:,} features{null}"
        which = " that has members on both halves" if part == "held-out" else ""
        lost = counts["family_without_members_on_the_reported_half"]
        yield (
            f"{'':<12} {counts['never_fire']:,.0f} never fire, {counts['strongest_protein_without_family']:,.0f} are "
            f"strongest in a protein without a family{which}"
            + (f", {lost:,.0f} have a family without members on the reported half: 0" if lost else "")
        )
    held_out = [row for row in study.table.to_pylist() if row["part"] == "held-out"]
    held_out.sort(key=lambda row: -row["f1"])
    if held_out:
        yield f"{'held-out':<13}{'F1':>6} {'precision':>9} {'recall':>6} {'members':>7}  feature  family"
    for row in held_out[:10]:
        yield (
            f"{'':<13}{row['f1']:>6.3f} {row['precision']:>9.3f} {row['recall']:>6.3f} {row['n_members']:>7,}  "
            f"{row['feature']:>7}  {row['family']}"
        )
