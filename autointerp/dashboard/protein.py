"""Protein view: one sequence, its strongest features as tracks over its annotations, and its structure."""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autointerp.dashboard.page import Page, missing, short
from autointerp.dashboard.tracks import track
from autointerp.errors import UsageError

if TYPE_CHECKING:
    from autointerp.cache import ActivationCache
    from autointerp.dashboard.run import Run

N_FEATURES = 24
"""Features shown of a sequence, unless others are asked for."""
MOST_FOUND = 25
NAMES = ("entry_name", "protein_names", "gene_names", "organism", "title", "name")
"""Metadata columns that a sequence is looked for by, besides its id, as far as they are there."""
ACCESSION = re.compile(r"[OPQ][0-9][A-Z0-9]{3}[0-9]|[A-NR-Z][0-9](?:[A-Z][A-Z0-9]{2}[0-9]){1,2}")
"""UniProt's accession numbers (https://www.uniprot.org/help/accession_numbers)."""
STRUCTURES = (".pdb", ".ent", ".cif", ".mmcif")
MOST_BYTES = 64 << 20
MOST_NOTES = 5000
"""Annotations sent of one sequence."""


def sequence(run: Run, row: str) -> dict[str, Any]:
    """One sequence with its annotations and strongest features, as tracks over all of it."""
    cache, corpus = run.cache, run.corpus
    if cache is None or corpus is None:
        return run.why_no_cache or missing("The cache of this run is missing.")
    i = _row(run, row)
    found = corpus[i]
    n = int(cache.offsets[i + 1] - cache.offsets[i])
    facts = {"row": i, "id": found.id, "n": n, "text": found.text, "kind": corpus.kind, "group": found.group}
    if cache.ends is not None:
        facts["ends"] = cache.ends[cache.offsets[i] : cache.offsets[i + 1]]
    told = {k: v for k, v in found.metadata.items() if v not in (None, "", [])}
    notes = corpus.annotations_of(i)
    return facts | {
        "metadata": told,
        "accession": accession(found.id, told),
        "annotations": [[a["start"], a["end"], a["type"] or "", a["label"] or ""] for a in notes[:MOST_NOTES]],
        "n_annotations": len(notes),
        "features": _strongest(run, i, n),
        "level": cache.level,
    }


def tracks(run: Run, row: str, stretch: str, features: str) -> dict[str, Any]:
    """Tracks of some features (``"3,17"``) over a stretch (``"0-250"``, half-open from 0) of a sequence."""
    cache = run.cache
    if cache is None:
        return run.why_no_cache or missing("The cache of this run is missing.")
    i = _row(run, row)
    n = int(cache.offsets[i + 1] - cache.offsets[i])
    match = re.fullmatch(r"(\d{1,9})-(\d{1,9})", stretch)
    first, last = (int(match[1]), min(int(match[2]), n)) if match else (0, 0)
    if not first < last or not re.fullmatch(r"\d{1,9}(,\d{1,9}){0,99}", features):
        raise UsageError(f"tracks of {stretch} {features[:40]}: write FIRST-LAST within the sequence and 1,2,3")
    wanted = [int(f) for f in features.split(",")]
    return {"features": [_track(run, i, f, first, last) for f in wanted if f < cache.n_features]}


def find(run: Run, words: str) -> dict[str, Any]:
    """Sequences whose id or name holds the words, whatever their case; the shortest match first."""
    import pyarrow as pa
    import pyarrow.compute as pc

    corpus = run.corpus
    if corpus is None:
        return run.why_no_cache or missing("The corpus of this run is missing.")
    wanted = "" if words == "*" else " ".join(words.split())[:100]
    columns: list[Any] = [run.once("ids", lambda: pa.chunked_array([pa.array(corpus.ids)]))]
    columns += [corpus.column(name) for name in NAMES if name in corpus.metadata_columns]
    rows: dict[int, None] = {}
    for column in columns:
        if len(rows) < MOST_FOUND and pa.types.is_string(column.type) | pa.types.is_large_string(column.type):
            hits = pc.match_substring(column, wanted, ignore_case=True)
            rows |= dict.fromkeys(np.flatnonzero(hits.fill_null(False).to_numpy())[: 10 * MOST_FOUND].tolist())
    found = [_listed(run, i) for i in list(rows)[:MOST_FOUND]]
    return {"found": found, "more": len(rows) > MOST_FOUND}


def structure(run: Run, row: str) -> dict[str, Any]:
    """The structure of a sequence from the folder of ``--structures``: ``format``, ``name``, ``text``."""
    if run.corpus is None:
        return run.why_no_cache or missing("The corpus of this run is missing.")
    i = _row(run, row)
    folder = run.options.structures
    if folder is None:
        return missing("No folder of structures was given.", f"autointerp dashboard {run.folder} --structures DIR")
    names = run.once("structures", lambda: _files(folder))
    found = run.corpus[i]
    known = [found.id, accession(found.id, found.metadata), found.metadata.get("entry_name")]
    path = next((names[k] for k in (str(one).lower() for one in known if one) if k in names), None)
    if path is None:
        return missing(f"{folder} holds no structure of {found.id}.")
    if path.stat().st_size > MOST_BYTES:
        return missing(f"{path.name} is larger than {MOST_BYTES >> 20} MB.")
    data = path.read_bytes()
    if path.suffix == ".gz":
        with gzip.open(path) as handle:
            data = handle.read(MOST_BYTES)
    kind = "cif" if "cif" in "".join(path.suffixes).lower() else "pdb"
    return {"format": kind, "name": path.name, "text": data.decode("utf-8", "replace")}


def accession(name: str, metadata: Any) -> str | None:
    """The UniProt accession of a sequence: a column of that name, or its id (``P12345``, ``sp|P12345|NAME``)."""
    parts = name.split("|")
    given = [metadata.get("accession"), parts[1] if len(parts) == 3 else None, name.partition("-")[0]]
    return next((one for one in given if isinstance(one, str) and ACCESSION.fullmatch(one)), None)


def _files(folder: Path) -> dict[str, Path]:
    """Structure files by name in small letters; those of AlphaFold DB by their accession too."""
    found = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        name = path.name.removesuffix(".gz")
        stem, dot, suffix = name.rpartition(".")
        if path.is_file() and dot + suffix.lower() in STRUCTURES:
            found[stem.lower()] = path
            if match := re.fullmatch(r"AF-([A-Z0-9]+)-F1.*", stem):
                found[match[1].lower()] = path
    return found


def _row(run: Run, row: str) -> int:
    """The row that an address means: its number, or else the id of a sequence."""
    assert run.corpus is not None
    n = len(run.corpus) if run.cache is None else min(len(run.corpus), run.cache.n_sequences)
    if row.isdecimal() and int(row) < n:
        return int(row)
    if not row.isdecimal() and row in run.corpus.ids[:n]:
        return run.corpus.ids.index(row)
    raise UsageError(f"sequence {row}: the corpus has no such id, and rows 0 … {n - 1}")


def _listed(run: Run, i: int) -> dict[str, Any]:
    assert run.corpus is not None
    told = run.corpus.metadata(i)
    title = next((str(told[name]) for name in ("protein_names", *NAMES) if told.get(name)), "")
    if not title and run.corpus.kind == "text":
        title = " ".join(run.corpus.text(i)[:400].split())
    return {"row": i, "id": run.corpus.ids[i], "title": title[:160], "length": int(run.corpus.lengths[i])}


def _bounds(cache: ActivationCache, i: int) -> np.ndarray:
    """Where sequence ``i`` begins and ends among the tokens, in their dtype: otherwise all of them are converted."""
    bounds = (i, i + 1) if cache.level == "sequence" else cache.offsets[i : i + 2]
    return np.array(bounds).astype(np.uint32 if cache.n_tokens < 1 << 32 else np.int64)


def _strongest(run: Run, i: int, n: int) -> list[dict[str, Any]]:
    """The features that come nearest to their own maximum here, the nearest first."""
    assert run.cache is not None
    cache = run.cache
    peaks = np.zeros(cache.n_features, np.float32)
    bounds = _bounds(cache, i)
    for feature in range(cache.n_features):
        tokens, values = cache[feature]
        first, last = tokens.searchsorted(bounds)
        if first < last:
            peaks[feature] = values[first:last].max()
    largest = cache.statistics["max"] if cache.complete else peaks
    share = np.where(peaks > 0, peaks / np.maximum(largest, 1e-9), 0.0)
    order = np.lexsort((-peaks, -share))[:N_FEATURES]
    return [_track(run, i, int(f), 0, n) for f in order if peaks[f] > 0]


def _track(run: Run, i: int, feature: int, start: int, stop: int) -> dict[str, Any]:
    """One feature: what it is called, its largest activation in the corpus and here, and its track over a stretch."""
    assert run.cache is not None
    bounds = _bounds(run.cache, i)
    at, values = run.cache[feature]
    first, last = at.searchsorted(bounds)
    at, values = at[first:last].astype(np.int64) - int(bounds[0]), values[first:last]
    complete = run.cache.complete
    top = float(run.cache.statistics["max"][feature]) if complete else float(values.max(initial=0))
    facts = {"feature": feature, "label": _label(run, feature), "top": top, "n": len(at)}
    facts["max"] = float(short(values.max(initial=0)))
    if run.cache.level == "sequence":
        return facts
    return facts | track(at, values, start, stop)


def _label(run: Run, feature: int) -> str:
    """What a feature is called: its explanation, or else the concept that it finds; empty where there is neither."""
    concepts = None if (said := run.explanation(feature)) else run.table("concepts/features")
    for row in concepts.records(feature) if concepts is not None else ():
        if row.get("f1"):
            return f"{row['concept']} (F1 {row['f1']:.2f})"
    return said


def about(run: Run) -> dict[str, Any]:
    """What the script knows before anything is asked."""
    n = 0 if run.corpus is None else len(run.corpus)
    return {"structures": run.options.structures is not None, "n": n}


PAGE = Page(
    scripts=("tracks.js", "structure.js", "protein.js"),
    styles=("reading.css",),
    payloads={
        "sequence/{row}": sequence,
        "tracks/{row}/{stretch}/{features}": tracks,
        "sequences/{words}": find,
        "structure/{row}": structure,
    },
    about=about,
)
