"""From a source to a corpus: read, filter, sample, group, write."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autointerp.corpus.corpus import KINDS, Corpus
from autointerp.corpus.entries import Entry, Source, Tally, open_text
from autointerp.corpus.filters import Filters, filtered, sampled, text_key
from autointerp.corpus.groups import IDENTITY, NEAR_DUPLICATES, NONE, USUAL, column_groups, similarity_groups
from autointerp.corpus.huggingface import PREFIX
from autointerp.corpus.kmers import relabel
from autointerp.corpus.tables import entry_tables
from autointerp.errors import FormatError, UsageError
from autointerp.files import digest_file
from autointerp.progress import Observer, Stage

if TYPE_CHECKING:
    import pyarrow as pa

_log = logging.getLogger(__name__)

READERS = {
    "tsv": ("autointerp.corpus.uniprot_tsv:read_tsv", "protein"),
    "fasta": ("autointerp.corpus.fasta:read_fasta", "protein"),
    "jsonl": ("autointerp.corpus.jsonl:read_jsonl", "text"),
    "txt": ("autointerp.corpus.plain_text:read_text", "text"),
    "hf": ("autointerp.corpus.huggingface:read_huggingface", "text"),
    "dat": ("autointerp.corpus.uniprot_flat:read_flat", "protein"),
    "json": ("autointerp.corpus.uniprot_json:read_json", "protein"),
}
"""Formats: the function that reads each, and the kind of sequence it holds unless told otherwise."""
LIKE_EXCLUDED = {
    IDENTITY: "homologue of an excluded sequence",
    NEAR_DUPLICATES: "near-duplicate of an excluded text",
}
"""Why a sequence is left out whose group holds an excluded one."""
_SUFFIXES = {
    "tsv": "tsv", "tab": "tsv", "fasta": "fasta", "fa": "fasta", "faa": "fasta", "jsonl": "jsonl", "ndjson": "jsonl",
    "txt": "txt", "text": "txt", "dat": "dat", "json": "json",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Imported:
    """A new corpus, and the tally of what was left out."""

    corpus: Corpus
    tally: Tally


def import_corpus(
    source: Source | str | Path,
    out: str | Path,
    *,
    kind: str | None = None,
    filters: Filters | None = None,
    group_by: str | None = None,
    exclude: Corpus | None = None,
    observer: Observer | None = None,
) -> Imported:
    """Read a source and write it as a corpus folder; the same input and settings give the same bytes.

    Parameters
    ----------
    source : where the sequences come from; a string is its location.
    kind : ``"protein"`` or ``"text"``; None for what the format usually holds.
    filters : which sequences are kept.
    group_by : ``"identity"`` (proteins; their default), ``"near-duplicates"`` (text; its default), ``"none"``, or a
        metadata column.
    exclude : a corpus none of whose texts may come in; with groups by identity, none of their homologues either, with
        near-duplicates none of theirs.

    Raises
    ------
    UsageError : a wrong setting, or nothing is left (the message says why).
    FormatError : the source is not what its format says, or is empty.
    """
    source = source if isinstance(source, Source) else Source(str(source))
    filters = filters or Filters()
    format_ = source.format or detect_format(source.location)
    read, usual = _reader(format_)
    kind = kind or usual
    if kind not in KINDS:
        raise UsageError(f"kind {kind!r}; valid: {', '.join(KINDS)}")
    group_by = group_by or USUAL[kind]
    if group_by in set(USUAL.values()) - {USUAL[kind]}:
        raise UsageError(f"group-by {group_by} is not for {kind}; give {USUAL[kind]}, none or a metadata column")

    tally = Tally()
    excluded = frozenset(text_key(exclude.text(i)) for i in range(len(exclude))) if exclude else frozenset()
    with Stage(observer, "reading", None, "sequence") as stage:
        entries = filtered(
            _watched(read(source, tally), stage), filters, protein=kind == "protein", exclude=excluded, tally=tally
        )
        if filters.sample is not None:
            entries = sampled(entries, filters.sample, filters.seed, tally)
        table, regions = entry_tables(entries, tally)
    _check_left(source, tally, table.num_rows)
    table, regions, grouping = _grouped(table, regions, group_by, exclude, tally, observer)
    _check_left(source, tally, table.num_rows)
    origin = _origin(source, format_, filters, exclude, tally)
    return Imported(Corpus.write(out, table, regions, kind=kind, source=origin, grouping=grouping), tally)


def detect_format(location: str) -> str:
    """Format of a source: by its prefix, its suffix (``.gz`` aside), or its first line.

    Raises
    ------
    UsageError : it cannot be told.
    """
    if location.startswith(PREFIX):
        return "hf"
    suffixes = [s[1:].lower() for s in Path(location).suffixes if s.lower() != ".gz"]
    format_ = _SUFFIXES.get(suffixes[-1]) if suffixes else None
    if format_ and (format_ != "txt" or not Path(location).is_file()):
        return format_
    with open_text(location) as handle:
        line = handle.readline(1 << 16)
    if line.startswith("ID   "):  # UniProt's flat files are named .txt too
        return "dat"
    if format_:
        return format_
    for format_, fits in {"fasta": line.startswith(">"), "jsonl": line.startswith("{"), "tsv": "\t" in line}.items():
        if fits:
            return format_
    raise UsageError(f"cannot tell the format of {location}; --format takes one of: {', '.join(READERS)}")


def _reader(format_: str) -> tuple[Callable[[Source, Tally], Iterator[Entry]], str]:
    if format_ not in READERS:
        raise UsageError(f"format {format_!r}; valid: {', '.join(READERS)}")
    place, kind = READERS[format_]
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name), kind


def _watched(entries: Iterable[Entry], stage: Observer) -> Iterator[Entry]:
    for entry in entries:
        yield entry
        stage.advance(1)


def _check_left(source: Source, tally: Tally, n: int) -> None:
    if not tally.read:
        raise FormatError(source.location, "at least one sequence", "none: it is empty")
    if not n:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in tally.skipped.most_common())
        raise UsageError(f"{source.location}: none of {tally.read:,} sequences is left ({reasons})")


def _grouped(
    table: pa.Table, regions: pa.Table, group_by: str, exclude: Corpus | None, tally: Tally, observer: Observer | None
) -> tuple[pa.Table, pa.Table, dict[str, Any]]:
    """The tables with groups, less what is like the excluded sequences."""
    n = table.num_rows
    if group_by == NONE:
        labels, about = np.arange(n), {"by": NONE}
    elif group_by not in USUAL.values():
        labels, about = column_groups(table, group_by)
    else:
        others = exclude.texts(range(len(exclude))) if exclude else []
        labels, about = similarity_groups([*table["text"].to_pylist(), *others], group_by, observer)
        keep = ~np.isin(labels[:n], labels[n:])
        labels = labels[:n]
        if not keep.all():
            tally.skipped[LIKE_EXCLUDED[group_by]] += int(n - keep.sum())
            table, regions, labels = *_kept(table, regions, keep), relabel(labels[keep])
    return table.append_column("group", [labels]), regions, about


def _kept(table: pa.Table, regions: pa.Table, keep: np.ndarray) -> tuple[pa.Table, pa.Table]:
    """Rows under a mask, and the annotations of those rows with their new numbers."""
    import pyarrow as pa

    row = regions["sequence"].to_numpy()
    regions = regions.filter(pa.array(keep[row]))
    new = (np.cumsum(keep) - 1)[regions["sequence"].to_numpy()]
    return table.filter(pa.array(keep)), regions.set_column(0, "sequence", pa.array(new, pa.int32()))


def _origin(source: Source, format_: str, filters: Filters, exclude: Corpus | None, tally: Tally) -> dict[str, Any]:
    """What the manifest says of the source: names and hashes, no paths, times or host names."""
    asked: dict[str, Any] = {"format": format_, "name": Path(source.location).name}
    if format_ == "hf":
        name = source.location.removeprefix(PREFIX)
        asked["name"] = Path(name).name if Path(name).exists() else name
        asked |= {"subset": source.subset, "split": source.split, "column": source.column}
    else:
        asked["digest"] = digest_file(source.location)
    if format_ == "jsonl":
        asked["column"] = source.column
    return {
        **asked,
        **tally.facts,
        "filters": {k: v for k, v in asdict(filters).items() if v is not None},
        "exclude": exclude.digest if exclude else None,
        "read": tally.read,
        "skipped": dict(sorted(tally.skipped.items())),
        "changed": dict(sorted(tally.changed.items())),
        "skipped_annotations": dict(sorted(tally.annotations.items())),
    }
