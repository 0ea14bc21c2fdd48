"""One table over everything that a run knows of each feature: RUN/features.parquet."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autointerp.errors import FormatError
from autointerp.files import atomic
from autointerp.report.reading import column_names

if TYPE_CHECKING:
    import pyarrow as pa

    from autointerp.cache import ActivationCache
    from autointerp.store import RunStore

NAME = "features.parquet"
FORMAT = {b"format": b"autointerp-features", b"version": b"1"}
"""Metadata of the Parquet file, by which it is told from other tables of that name."""
BEST_TERMS = 5
"""GO terms of a feature that are kept, the strongest."""


def joined_table(store: RunStore) -> pa.Table:
    """One row a feature, of every feature of the coder where the analysis or the cache says how many there are.

    Everything is optional; what a run does not have makes no columns.

    Returns
    -------
    ``feature``; what RUN/analysis/features.parquet has of it, or else ``n_activations``, ``n_sequences``,
    ``frequency``, ``max`` and ``mean`` from the cache, or else from the store; ``explanation[EXPLAINER]``;
    ``score[EXPLAINER/SCORER]`` with ``_low`` and ``_high`` (95 % interval) and ``_null``; ``concept`` with
    ``concept_f1`` and ``concept_threshold`` of RUN/concepts; ``go_terms`` and ``go_names`` (lists, the strongest
    first) with ``go_q`` of the first, of RUN/go; ``family`` and ``family_f1`` of RUN/families.

    Raises
    ------
    FormatError : one of the tables is not what it should be.
    """
    import pyarrow as pa

    parts = [_statistics(store), *_results(store), *_biology(store.folder)]
    known = [part["feature"].to_numpy() for part in parts]
    features = np.unique(np.concatenate([*known, np.empty(0, np.int64)])).astype(np.int32)
    columns: dict[str, Any] = {"feature": pa.array(features)}
    for part in (part for part in parts if part.num_columns > 1):
        aligned = _aligned(part, features)
        columns |= {name: aligned[name] for name in aligned.column_names}
    return pa.table(columns).replace_schema_metadata(FORMAT)


def write_joined(store: RunStore) -> Path:
    """Write ``features.parquet`` and ``features.csv``, in which lists are joined by semicolons; return the first."""
    import pyarrow.csv
    import pyarrow.parquet

    table = joined_table(store)
    path = store.folder / NAME
    with atomic(path) as place:
        pyarrow.parquet.write_table(table, place, compression="zstd")
    with atomic(path.with_suffix(".csv")) as place:
        pyarrow.csv.write_csv(plain(table), place)
    return path


def plain(table: pa.Table) -> pa.Table:
    """The table without lists: their items joined by semicolons, as CSV can hold them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for i, field in enumerate(table.schema):
        if pa.types.is_list(field.type):
            table = table.set_column(i, field.name, pc.binary_join(table[field.name], "; "))
    return table


def read_joined(folder: str | Path) -> pa.Table:
    """The joined table of the run in ``folder``: as it was written, or anew where something has changed since.

    Raises
    ------
    FormatError : no run, or a table in it is not what it should be.
    """
    import pyarrow.parquet as pq

    from autointerp.store import RunStore

    folder = Path(folder)
    path = folder / NAME
    if path.exists() and path.stat().st_mtime >= max((p.stat().st_mtime for p in _sources(folder)), default=0.0):
        metadata = pq.read_schema(path).metadata or {}
        if all(metadata.get(key) == value for key, value in FORMAT.items()):
            return pq.read_table(path)
    with RunStore.open(folder, readonly=True) as store:
        return joined_table(store)


def settings_of(folder: Path) -> dict[str, Any]:
    """What ``run.toml`` of a run says in its section [run]; nothing without one.

    Raises
    ------
    FormatError : it is no TOML.
    """
    path = folder / "run.toml"
    try:
        return tomllib.loads(path.read_text("utf-8")).get("run", {})
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FormatError(path, "TOML", str(error)) from None


def place_of(folder: Path, name: str) -> Path | None:
    """The existing folder that ``run.toml`` names as ``name`` (``"cache"``, ``"corpus"``); None if there is none.

    A path that was relative, or has moved together with the run, is looked for beside the run as well.
    """
    given = settings_of(folder).get(name)
    if not given:
        return None
    name = Path(given).name
    places = (Path(given), folder / given, folder / name, folder.absolute().parent / name)
    return next((place for place in places if place.exists()), None)


def cache_of(folder: Path) -> ActivationCache | None:
    """The finished cache that the run in ``folder`` was made from; None where it is not at hand."""
    from autointerp.cache import ActivationCache

    place = place_of(folder, "cache")
    if place is None or not (place / "cache.json").exists():
        return None
    cache = ActivationCache.open(place)
    return cache if cache.complete else None


# ------------------------------------------------------------------------------------------------------------- sources


def _sources(folder: Path) -> Iterator[Path]:
    """Files that the table is joined from."""
    yield from (p for p in (folder / "run.db", folder / "run.db-wal", folder / "run.toml") if _filled(p))
    for table in ("analysis/features", "concepts/features", "go/enrichment", "families/families"):
        yield from (p for p in (folder / f"{table}.parquet",) if p.exists())


def _filled(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def _aligned(table: pa.Table, features: np.ndarray) -> pa.Table:
    """The first row of each feature in the order of ``features``, nulls where there is none; without ``feature``."""
    import pyarrow as pa

    own, first = np.unique(table["feature"].to_numpy(), return_index=True)
    if not len(own):
        return pa.table({f.name: pa.nulls(len(features), f.type) for f in table.schema if f.name != "feature"})
    place = np.searchsorted(own, features).clip(max=len(own) - 1)
    rows = pa.array(first[place], mask=own[place] != features)
    return table.drop_columns(["feature"]).take(rows)


def _statistics(store: RunStore) -> pa.Table:
    """What is known of the features' activations, from where most is known."""
    import pyarrow as pa

    from autointerp.analysis import Analysis

    Analysis.open(store.folder)  # which refuses a version that we do not know
    analysis = _read(store.folder / "analysis" / NAME, "feature")
    if analysis is not None:
        known = [n for n in analysis.column_names if n == "feature" or analysis[n].null_count < analysis.num_rows]
        return analysis.select(known)
    if (cache := cache_of(store.folder)) is not None:
        s = cache.statistics
        n = cache.n_tokens if cache.level == "token" else cache.n_sequences
        return pa.table(
            {
                "feature": np.arange(cache.n_features, dtype=np.int32),
                "n_activations": s["count"].astype(np.int64),
                "n_sequences": s["n_sequences"].astype(np.int64),
                "frequency": (s["count"] / max(n, 1)).astype(np.float32),
                "max": s["max"].astype(np.float32),
                "mean": s["mean"].astype(np.float32),
                "dead": s["count"] == 0,
            }
        )
    return _of_store(store)


def _of_store(store: RunStore) -> pa.Table:
    """Statistics that were kept with the explanations."""
    import orjson
    import pyarrow as pa

    names = {"count": "n_activations", "n_sequences": "n_sequences", "frequency": "frequency", "max": "max",
             "mean": "mean"}  # fmt: skip
    kinds = [pa.int64(), pa.int64(), pa.float32(), pa.float32(), pa.float32()]
    told = store.explanations()
    found = [orjson.loads(text) for text in told["statistics"].to_pylist()]
    columns: dict[str, Any] = {"feature": told["feature"].cast(pa.int32())}
    for (ours, theirs), kind in zip(names.items(), kinds, strict=True):
        columns[theirs] = pa.array([row.get(ours) for row in found], kind)
    return pa.table(columns)


def _results(store: RunStore) -> Iterator[pa.Table]:
    """Every explanation, and every score with interval and null, a table each."""
    told = store.explanations().select(["feature", "explainer", "client", "text", "failure"])
    yield told.select(["feature"])  # those that failed have a row too
    told = told.filter(told["failure"].is_null())
    explainers = _groups(told, ("explainer", "client"))
    names = column_names(sorted(explainers))  # type: ignore[arg-type]
    for pair in sorted(explainers):
        yield explainers[pair].select(["feature", "text"]).rename_columns(["feature", f"explanation[{names[pair]}]"])  # type: ignore[index]
    scores = store.scores().drop_columns(["metrics", "model"])
    judged = _groups(scores, ("explainer", "explainer_client", "scorer", "client", "is_null"))
    judges = column_names(sorted({key[2:4] for key in judged}))  # type: ignore[misc]
    for key in sorted(judged):
        explainer = names.get(key[:2])  # type: ignore[call-overload]
        if explainer is None:  # its explanation came after we had read them
            continue
        column, null = f"score[{explainer}/{judges[key[2:4]]}]", key[4]  # type: ignore[index]
        values = ["value"] if null else ["value", "ci_low", "ci_high"]
        ends = ["_null"] if null else ["", "_low", "_high"]
        yield judged[key].select(["feature", *values]).rename_columns(["feature", *(column + end for end in ends)])


def _groups(table: pa.Table, by: tuple[str, ...]) -> dict[tuple[Any, ...], pa.Table]:
    """The rows by their values in some columns."""
    import pyarrow as pa

    if not table.num_rows:
        return {}
    coded = [table[name].dictionary_encode().combine_chunks() for name in by]
    codes = np.stack([column.indices.to_numpy() for column in coded], 1)
    kinds, which = np.unique(codes, axis=0, return_inverse=True)
    keys = [tuple(c.dictionary[int(i)].as_py() for c, i in zip(coded, kind, strict=True)) for kind in kinds]
    return {key: table.filter(pa.array(which.reshape(-1) == i)) for i, key in enumerate(keys)}


def _biology(folder: Path) -> Iterator[pa.Table]:
    """Best concept, best GO terms, best family."""
    import pyarrow as pa
    import pyarrow.compute as pc

    concepts = _read(folder / "concepts" / NAME, "feature", "concept", "f1", "threshold")
    if concepts is not None:
        concepts = concepts.select(["feature", "concept", "f1", "threshold"])
        yield concepts.rename_columns(["feature", "concept", "concept_f1", "concept_threshold"])
    terms = _read(folder / "go" / "enrichment.parquet", "feature", "term", "name", "direction", "log10_p", "q")
    if terms is not None:
        yield best_terms(terms)
    families = _read(folder / "families" / "families.parquet", "feature", "family", "f1")
    if families is not None:
        if "part" in families.column_names:  # one protocol: that in which homologues are kept apart
            held_out = families.filter(pc.equal(families["part"].cast(pa.string()), "held-out"))
            families = held_out if held_out.num_rows else families
        families = families.sort_by([("f1", "descending")]).select(["feature", "family", "f1"])
        yield families.rename_columns(["feature", "family", "family_f1"])


def best_terms(terms: pa.Table, most: int = BEST_TERMS) -> pa.Table:
    """``feature``, ``go_terms``, ``go_names``, ``go_q``: of the terms that a feature's proteins have more often."""
    import pyarrow as pa
    import pyarrow.compute as pc

    terms = terms.filter(pc.equal(terms["direction"].cast(pa.string()), "over"))
    order = np.lexsort((terms["log10_p"].to_numpy(), terms["feature"].to_numpy()))
    terms = terms.select(["feature", "term", "name", "q"]).take(pa.array(order))
    feature, first = np.unique(terms["feature"].to_numpy(), return_index=True)
    ends = np.append(first[1:], terms.num_rows)
    kept = np.arange(terms.num_rows) - np.repeat(first, ends - first) < most  # place among the feature's own
    offsets = np.concatenate([[0], np.cumsum(np.minimum(ends - first, most))]).astype(np.int32)
    chosen = terms.filter(pa.array(kept))
    text = {name: chosen[name].cast(pa.string()).combine_chunks() for name in ("term", "name")}
    lists = {name: pa.ListArray.from_arrays(offsets, column) for name, column in text.items()}
    best = terms["q"].take(pa.array(first))
    return pa.table({"feature": feature, "go_terms": lists["term"], "go_names": lists["name"], "go_q": best})


def _read(path: Path, *needed: str) -> pa.Table | None:
    """The table at ``path``; None if there is none.

    Raises
    ------
    FormatError : no Parquet, or a column is missing.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.exists():
        return None
    expected = f"a Parquet table with columns {', '.join(needed)}"
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise FormatError(path, expected, str(error).splitlines()[0]) from None
    if absent := [name for name in needed if name not in table.column_names]:
        raise FormatError(path, expected, f"no column {absent[0]!r}")
    return table


def explanations_of(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The explanations in a row of the joined table: ``explainer``, ``text`` and ``scores`` by scorer."""
    found = []
    for name, value in row.items():
        if name.startswith("explanation[") and value:
            explainer = name[len("explanation[") : -1]
            begin = f"score[{explainer}/"
            scores = {
                n[len(begin) : -1]: v for n, v in row.items() if n.startswith(begin) and n[-1] == "]" and v is not None
            }
            found.append({"explainer": explainer, "text": value, "scores": scores})
    return found


def borne_out(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the joined table without a concept or a family whose F1 on held-out sequences is 0."""
    unfounded = {name for name in ("concept", "family") if row.get(f"{name}_f1") == 0}
    return {name: value for name, value in row.items() if name.removesuffix("_f1") not in unfounded}
