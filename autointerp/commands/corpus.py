"""``autointerp corpus import SOURCE --out DIR``: sequences from a file or a data set to a corpus folder."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from tyro.conf import Positional

from autointerp.errors import UsageError

if TYPE_CHECKING:
    from autointerp.corpus import Corpus
    from autointerp.corpus.entries import Tally


@dataclass(frozen=True)
class Config:
    """Read sequences, filter them, group them, and write a corpus folder."""

    source: Annotated[str, Positional]
    """A file (UniProt TSV, flat file or REST JSON, FASTA, JSONL or plain text, gzipped or not) or hf:REPO for a Hugging
    Face data set."""
    out: Path
    """Folder of the new corpus."""
    format: Literal["tsv", "dat", "json", "fasta", "jsonl", "txt", "hf"] | None = None
    """Format of the source; by default told by its suffix and first line."""
    kind: Literal["protein", "text"] | None = None
    """What the sequences are; by default proteins in TSV and FASTA, text elsewhere."""
    column: str = "text"
    """Key or column that holds the text (JSONL, Hugging Face)."""
    separator: str | None = None
    """End of a document in plain text (\\n: line break), 'blank' for blank lines; by default <|endoftext|> if seen."""
    split: str = "train"
    """Split of a Hugging Face data set, e.g. 'train[:1%]'."""
    subset: str | None = None
    """Subset (configuration) of a Hugging Face data set."""
    min_length: int | None = None
    """Shortest sequence kept, in residues or characters."""
    max_length: int | None = None
    """Longest sequence kept, in residues or characters."""
    organism: str | None = None
    """Organism kept: its whole, scientific or common name in any case, or its taxon number; never a part of a name."""
    sample: int | None = None
    """Draw so many distinct sequences at random, whatever their order in the source."""
    seed: int = 0
    """Seed of the draw."""
    exclude: Path | None = None
    """Corpus folder whose texts must not come in; nor, with the default --group-by, any homologues or near-duplicates
    of them."""
    illegal: Literal["skip", "error", "keep-as-x"] = "skip"
    """Proteins with letters that are no amino acids: leave out and count, refuse, or write X for the letter."""
    group_by: str | None = None
    """identity (homologues share a group; default for proteins), near-duplicates (default for text), none, or a
    metadata column."""
    overwrite: bool = False
    """Replace a corpus that is already in the folder."""

    POSITIONAL: ClassVar[bool] = True


def run(config: Config) -> None:
    """Import a corpus and print what was kept and what was not."""
    from autointerp.corpus import Corpus, Filters, Source, import_corpus
    from autointerp.progress import Bars

    if (config.out / "corpus.json").exists() and not config.overwrite:
        raise UsageError(f"{config.out} holds a corpus already; give another --out, or --overwrite")
    separator = config.separator and config.separator.replace("\\n", "\n").replace("\\t", "\t")
    filters = Filters(config.min_length, config.max_length, config.organism, config.sample, config.seed, config.illegal)
    imported = import_corpus(
        Source(config.source, config.format, config.column, separator, config.split, config.subset),
        config.out,
        kind=config.kind,
        filters=filters,
        group_by=config.group_by,
        exclude=Corpus.open(config.exclude) if config.exclude else None,
        observer=Bars(),
    )
    print(summary(imported.corpus, imported.tally))


def summary(corpus: Corpus, tally: Tally) -> str:
    """A short table: kept, skipped by reason, groups, annotations by type."""
    import numpy as np
    import pyarrow.compute as pc

    letters = "residues" if corpus.kind == "protein" else "characters"
    sizes = np.unique(corpus.groups, return_counts=True)[1]
    by = corpus.manifest["grouping"]
    types = Counter({c["values"]: c["counts"] for c in pc.value_counts(corpus.annotations["type"]).to_pylist()})
    rows = [
        ("read", f"{tally.read:,} sequences"),
        ("kept", f"{len(corpus):,} sequences, {corpus.lengths.sum():,} {letters}"),
        *(("changed", f"{n:,} {what}") for what, n in tally.changed.most_common()),
        *(("skipped", f"{n:,} {reason}") for reason, n in tally.skipped.most_common()),
        ("groups", f"{len(sizes):,} by {by['by']}, the largest of {sizes.max():,}"),
        *(("", by[key]) for key in ("tool", "claim") if key in by),
        ("annotations", f"{corpus.annotations.num_rows:,}"),
        *(("", f"{n:,} {type_}") for type_, n in types.most_common()),
        *(("not read", f"{n:,} {reason}") for reason, n in tally.annotations.most_common()),
        ("metadata", ", ".join(corpus.metadata_columns) or "none"),
        ("corpus", str(corpus.path)),
    ]
    # Only the first of several rows says what they are.
    names = [name if i == 0 or rows[i - 1][0] != name else "" for i, (name, _) in enumerate(rows)]
    return "\n".join(f"{name:<12} {value}" for name, (_, value) in zip(names, rows, strict=True))
