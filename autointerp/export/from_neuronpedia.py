"""A Neuronpedia export as a run: explanations, scores, contexts, logits and neighbours of its features."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from autointerp.errors import FormatError, UsageError
from autointerp.export.landing import (
    Contexts,
    Landed,
    Shown,
    Told,
    check_free,
    statistics_of,
    write_results,
    write_settings,
)
from autointerp.export.neuronpedia_fields import NEEDED, problem
from autointerp.records import Explanation, Score

EXPECTED = "a Neuronpedia export: features, activations or explanations with batch-N.jsonl[.gz]"
KINDS = {"feature": "features", "activation": "activations", "explanation": "explanations", "score": "scores"}


def find(path: Path) -> Path | None:
    """The folder of the one source in ``path``; None if it holds none.

    Raises
    ------
    UsageError : there are several.
    """
    found = sorted({f.parent.parent for f in path.glob("**/batch-*.jsonl*") if f.parent.name in KINDS.values()})
    if len(found) > 1:
        names = ", ".join(str(f.relative_to(path)) for f in found[:4])
        raise UsageError(f"{path} holds {len(found)} sources ({names}): give the folder of one")
    return found[0] if found else None


def read(folder: Path, out: Path, kind: str | None = None) -> Landed:
    """Read the source in ``folder`` into a new run at ``out``, one file at a time.

    Raises
    ------
    FormatError : a row that cannot be read. UsageError : ``out`` is taken.
    """
    from autointerp.cache import ActivationCache
    from autointerp.store import RunStore
    from caching.interchange.staging import staged

    check_free(out)
    landed = Landed()
    known, analysis = _features(folder)
    numbers = known or (int(row["index"]) for kind in ("activation", "explanation") for row in rows(folder, kind))
    n_features = 1 + max(numbers, default=-1)
    facts = _facts(folder) | {"format": "neuronpedia"}
    cache = None
    with staged(out) as place:
        if n_features and any(_files(folder, "activation")):
            contexts = Contexts(place / "cache", n_features, kind)
            for path in _files(folder, "activation"):
                batch = [_shown(row) for row in _read(path, "activation")]
                contexts.add(batch)
                landed.contexts += len(batch)
            if len(contexts):
                contexts.finish(place / "corpus", facts)
                cache = ActivationCache.open(place / "cache")
        if known:
            _write_analysis(place / "analysis", n_features, known, analysis, facts)
        with RunStore.open(place) as store:
            about = {"subject": facts["subject"], "hook": facts["hook"]}
            store.bind({"imported": "neuronpedia", "source": facts["source"]}, about)
            write_results(store, _told(folder, landed), partial(statistics_of, cache, known))
        write_settings(place, out, facts)
    landed.features = n_features
    return landed


def rows(folder: Path, kind: str) -> Iterator[dict[str, Any]]:
    """Every row of a kind, file after file.

    Raises
    ------
    FormatError : it is not JSON, or lacks what is needed.
    """
    for path in _files(folder, kind):
        yield from _read(path, kind)


def _files(folder: Path, kind: str) -> list[Path]:
    found = (folder / KINDS[kind]).glob("batch-*.jsonl*")
    return sorted(found, key=lambda p: (len(p.name.partition(".")[0]), p.name))  # 2 before 10


def _read(path: Path, kind: str) -> Iterator[dict[str, Any]]:
    opened = gzip.open if path.suffix == ".gz" else open
    number = 0
    try:
        with opened(path, "rb") as handle:
            for number, line in enumerate(handle, 1):
                if line.strip():
                    row = orjson.loads(line)
                    if wrong := problem(kind, row, NEEDED[kind]):
                        raise FormatError(f"{path}:{number}", f"a row of {KINDS[kind]}", wrong)
                    yield row
    except (orjson.JSONDecodeError, OSError, EOFError) as error:
        raise FormatError(f"{path}:{number}", "lines of JSON", str(error).splitlines()[0]) from None


def _facts(folder: Path) -> dict[str, Any]:
    """Names of subject, hook and source, from whichever file says so."""
    first = next((row for kind in KINDS if kind != "score" for row in rows(folder, kind)), {})
    hooked = next((row for row in rows(folder, "feature")), {})
    source = str(first.get("layer") or folder.name)
    return {
        "subject": str(first.get("modelId") or folder.parent.name),
        "hook": str(hooked.get("hookName") or source),
        "source": source,
    }


def _features(folder: Path) -> tuple[dict[int, dict[str, Any]], list[tuple[int, dict[str, Any]]]]:
    """Maximum and frequency of each feature, and what is kept of its logits and neighbours."""
    known: dict[int, dict[str, Any]] = {}
    more: list[tuple[int, dict[str, Any]]] = []
    for row in rows(folder, "feature"):
        feature = int(row["index"])
        known[feature] = {"max": row.get("maxActApprox"), "frequency": row.get("frac_nonzero")}
        names = ("pos_str", "pos_values", "neg_str", "neg_values", "topkCosSimIndices", "topkCosSimValues")
        if kept := {name: row[name] for name in names if row.get(name)}:
            more.append((feature, kept))
    return known, sorted(more, key=lambda pair: pair[0])


def _write_analysis(
    folder: Path,
    n_features: int,
    known: dict[int, dict[str, Any]],
    more: list[tuple[int, dict[str, Any]]],
    facts: dict[str, Any],
) -> None:
    """What the source says of its features as RUN/analysis."""
    from autointerp.analysis.tables import FORMAT, MANIFEST, VERSION, table_of, write
    from autointerp.files import write_json

    told = [known.get(f, {}) for f in range(n_features)]  # a row for every feature, known or not
    top = [row.get("max") for row in told]
    columns = {
        "feature": list(range(n_features)),
        "frequency": [row.get("frequency") for row in told],
        "max": top,
        "dead": [None if value is None else value == 0 for value in top],
    }
    logits: dict[str, list[Any]] = {"feature": [], "side": [], "rank": [], "token": [], "value": []}
    near: dict[str, list[Any]] = {"feature": [], "by": [], "rank": [], "neighbour": [], "similarity": []}
    for feature, row in more:
        for side, name in (("promoted", "pos"), ("suppressed", "neg")):
            for rank, pair in enumerate(zip(row.get(f"{name}_str", ()), row.get(f"{name}_values", ()), strict=False)):
                _append(logits, feature, side, rank, *pair)
        indices, values = row.get("topkCosSimIndices", ()), row.get("topkCosSimValues", ())
        for rank, pair in enumerate(zip(indices, values, strict=False)):
            _append(near, feature, "decoder", rank, *pair)
    tables: dict[str, dict[str, Any]] = {"features": columns, "logits": logits, "neighbours": near}
    kept = {name: table for name, table in tables.items() if table["feature"]}
    for name, table in kept.items():
        write(folder, name, [table_of(name, table)])
    method = {"method": "as a Neuronpedia export has it"}
    manifest = {"format": FORMAT, "version": VERSION, "cache": None, "coder": None, "subject": facts["subject"]}
    write_json(folder / MANIFEST, manifest | {"hook": facts["hook"], "tables": dict.fromkeys(kept, method)})


def _append(columns: dict[str, list[Any]], *row: Any) -> None:
    for column, value in zip(columns.values(), row, strict=True):
        column.append(value)


def _shown(row: dict[str, Any]) -> Shown:
    source = row.get("dataSource") or row.get("dataIndex")
    return Shown(int(row["index"]), row["tokens"], row["values"], None if source is None else str(source))


def _told(folder: Path, landed: Landed) -> Iterator[Told]:
    """Explanations with their scores, file after file; scores may lie in files of the same names, or in the rows."""
    taken: set[tuple[int, str, str]] = set()
    for path in _files(folder, "explanation"):
        own = folder / KINDS["score"] / path.name
        scores: dict[str, list[dict[str, Any]]] = {}
        for row in _read(own, "score") if own.exists() else ():
            scores.setdefault(row["explanationId"], []).append(row)
        for row in _read(path, "explanation"):
            if not row["description"].strip():
                landed.leave("empty explanations")
                continue
            told = _one(row, [*scores.get(str(row.get("id")), ()), *(row.get("scores") or ())], taken, landed)
            landed.explanations += 1
            landed.scores += sum(not score.null for score, _ in told.scores)
            yield told


def _one(row: dict[str, Any], scores: list[dict[str, Any]], taken: set[tuple[int, str, str]], landed: Landed) -> Told:
    feature = int(row["index"])
    name, client = str(row.get("typeName") or "neuronpedia"), str(row.get("explanationModelName") or "unknown")
    explainer, n = name, 1
    while (feature, explainer, client) in taken:  # several people may have explained it
        n += 1
        explainer = f"{name}#{n}"
    taken.add((feature, explainer, client))
    explanation = Explanation(feature, row["description"], explainer, model=client)
    found: list[tuple[Score, str]] = []
    for one in scores:
        if wrong := problem("score", one, ("value", "explanationScoreTypeName")):
            landed.leave(f"scores: {wrong}")
            continue
        found += _scores(feature, explainer, one)
    return Told(explanation, client, tuple(found))


def _scores(feature: int, explainer: str, row: dict[str, Any]) -> Iterator[tuple[Score, str]]:
    """The score of a row, and its null where the row carries one."""
    details: dict[str, Any] = {}
    try:
        details = orjson.loads(row.get("jsonDetails") or "{}")
    except orjson.JSONDecodeError:
        details = {}
    details = details if isinstance(details, dict) else {"details": details}
    numbers = ("ci_low", "ci_high", "n", "n_failed", "null")
    client, scorer = str(row.get("explanationScoreModelName") or "unknown"), str(row["explanationScoreTypeName"])
    low, high, n, failed, null = (details.get(name) for name in numbers)
    metrics = {name: value for name, value in details.items() if name not in numbers}
    score = Score(feature, explainer, scorer, row["value"], low, high, n or 0, failed or 0, metrics)
    yield score, client
    if null is not None:
        yield replace(score, value=null, ci_low=None, ci_high=None, null=True), client
