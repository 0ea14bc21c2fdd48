"""Hugging Face data sets: ``hf:REPO``, or ``hf:FOLDER`` of Parquet or JSONL files."""

from __future__ import annotations

from collections.abc import Iterator

from autointerp.corpus.entries import Entry, Source, Tally
from autointerp.corpus.jsonl import check_column, row_entry
from autointerp.errors import UsageError, missing

PREFIX = "hf:"


def read_huggingface(source: Source, tally: Tally) -> Iterator[Entry]:
    """Yield one entry a row of a data set's split.

    Raises
    ------
    MissingDependency : the extra ``hf`` is not installed.
    UsageError : no such data set, subset, split or column.
    """
    with missing("reading Hugging Face data sets", "hf"):
        from datasets import load_dataset
    name = source.location.removeprefix(PREFIX)
    try:
        dataset = load_dataset(name, source.subset, split=source.split)
    except (ValueError, OSError, KeyError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UsageError(f"{source.location}, split {source.split!r}: {reason}") from error
    check_column(source, dataset.column_names)
    for row in dataset:
        yield row_entry(row, source.column, tally)
