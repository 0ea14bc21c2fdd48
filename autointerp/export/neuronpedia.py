"""Neuronpedia's bulk-import layout: MODEL/LAYER-SET with its descriptions, features, activations, explanations."""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import orjson

from autointerp.errors import UsageError
from autointerp.export.contexts import Contexts, Group
from autointerp.export.neuronpedia_fields import FIELDS, problem
from autointerp.files import atomic_open

if TYPE_CHECKING:
    from autointerp.export.settings import Settings
    from autointerp.export.source import Source
    from autointerp.records import Example

EMPTY: dict[str, Any] = {"str": "", "bool": False, "int": 0, "float": 0.0, "strs": [], "ints": [], "floats": []}
DIGITS = 4


def export(source: Source, out: Path, settings: Settings) -> dict[str, int]:
    """Write the layout below ``out``; return how many rows of each kind.

    One batch of features is in memory at a time.

    Raises
    ------
    UsageError : cache or corpus are not at hand, the hook has no layer, or a row is not as Neuronpedia wants it.
    """
    cache, corpus = source.needs_contexts("an export for Neuronpedia")
    names = Names(source, settings)
    folder = out / names.model / names.source
    rows = Rows(source, settings, names, Contexts(cache, corpus, settings.context))
    for kind, row in rows.about():
        _write_lines(folder / f"{kind}.jsonl", kind, [row])
    features, written = source.features, dict.fromkeys(("feature", "activation", "explanation", "score"), 0)
    for number, begin in enumerate(range(0, len(features), settings.batch)):
        part = features[begin : begin + settings.batch]
        told = source.results(part)
        with ExitStack() as stack:
            files = {
                kind: stack.enter_context(batch_file(folder / f"{plural(kind)}/batch-{number}.jsonl.gz"))
                for kind in written
            }
            for known, feature in zip(source.rows(part), part, strict=True):
                for kind, row in rows.of(feature, known, told.get(feature, ())):
                    files[kind].write(_line(kind, row))
                    written[kind] += 1
    return written


def plural(kind: str) -> str:
    """The folder of a kind of row."""
    return {"activation": "activations", "feature": "features", "explanation": "explanations", "score": "scores"}[kind]


class batch_file:
    """A gzipped file, whole or not at all; its bytes depend on what is written alone."""

    def __init__(self, path: Path) -> None:
        self._stack, self._path = ExitStack(), path

    def __enter__(self) -> BinaryIO:
        raw = self._stack.enter_context(atomic_open(self._path))
        packed = gzip.GzipFile("", "wb", compresslevel=5, fileobj=raw, mtime=0)
        return self._stack.enter_context(packed)  # type: ignore[return-value]

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)


def _line(kind: str, row: Mapping[str, Any]) -> bytes:
    if wrong := problem(kind, row):
        raise UsageError(f"Neuronpedia would not take this: {wrong}")
    return orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)


def _write_lines(path: Path, kind: str, rows: Iterable[Mapping[str, Any]]) -> None:
    with atomic_open(path) as handle:
        for row in rows:
            handle.write(_line(kind, row))


class Names:
    """What the model, the source and the release are called."""

    def __init__(self, source: Source, settings: Settings) -> None:
        layer = settings.layer
        if layer is None:
            number = re.search(r"\d+", source.hook)
            if number is None:
                raise UsageError(f"hook {source.hook!r} has no number: give --layer")
            layer = int(number[0])
        self.model = (
            settings.model_id or re.sub(r"[^\w.-]+", "-", source.subject.rstrip("/").rpartition("/")[2]).lower()
        )
        self.set = settings.source_set
        self.source, self.layer = f"{layer}-{self.set}", layer
        self.release = settings.release or self.set
        self.created = settings.created or datetime.now(UTC).isoformat(timespec="seconds")


class Rows:
    """Makes the rows."""

    def __init__(self, source: Source, settings: Settings, names: Names, contexts: Contexts) -> None:
        self.source, self.settings, self.names, self.contexts = source, settings, names, contexts
        self.creator = {"creatorId": settings.creator_id}

    def about(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """The rows that describe release, model, set and source."""
        n, s, cache = self.names, self.settings, self.contexts.cache
        shown = {"creatorName": s.creator_name, "visibility": "PUBLIC", "createdAt": n.created} | self.creator
        told = f"Features of {self.source.subject} at {self.source.hook}, explained with autointerp"
        yield "release", _row("release", shown, name=n.release, description=told, descriptionShort=told)
        facts: dict[str, Any] = {
            "id": n.model,
            "displayName": self.source.subject,
            "displayNameShort": self.source.subject,
        }
        yield "model", _row("model", shown, **facts, updatedAt=n.created)
        facts = {"modelId": n.model, "name": n.set, "description": told, "releaseName": n.release, "defaultRange": 1}
        yield "sourceset", _row("sourceset", shown, **facts, hasDashboards=True, defaultShowBreaks=True)
        facts = {"id": n.source, "modelId": n.model, "setName": n.set, "num_prompts": cache.n_sequences}
        context: dict[str, Any] = {"num_tokens_in_prompt": s.context, "dataset": self.contexts.corpus.path.name}
        yield "source", _row("source", shown, **facts, **context, hasDashboards=True)

    def of(
        self, feature: int, known: Mapping[str, Any], told: Iterable[Mapping[str, Any]]
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """The rows of one feature: itself, its activations, its explanations and their scores."""
        place = {"modelId": self.names.model, "layer": self.names.source, "index": str(feature)}
        stamp = {"createdAt": self.names.created}
        yield "feature", _row("feature", place | stamp | self.creator, **self._feature(feature, known))
        s = self.settings
        groups = self.contexts.groups(feature, n_top=s.n_top, n_bins=s.n_bins, per_bin=s.per_bin, seed=s.seed)
        for i, (group, example) in enumerate((g, example) for g in groups for example in g.examples):
            row = self._activation(group, example) | {"id": self._id(feature, "activation", i)}
            yield "activation", _row("activation", place | stamp | self.creator, **row)
        for one in told:
            name = self._id(feature, one["explainer"], one["client"])
            facts = {"description": one["text"], "typeName": one["explainer"], "explanationModelName": one["client"]}
            author = {"id": name, "authorId": s.creator_id}
            yield "explanation", _row("explanation", place | stamp, **facts, **author)
            for score in one["scores"]:
                if score["value"] is not None:
                    yield "score", _score(name, score)

    def _id(self, feature: int, *parts: Any) -> str:
        """25 characters that begin with c, as Neuronpedia's; the same for the same thing whenever it is exported."""
        text = "\0".join(map(str, (self.names.model, self.names.source, feature, *parts)))
        return "c" + hashlib.blake2b(text.encode(), digest_size=12).hexdigest()

    def _feature(self, feature: int, known: Mapping[str, Any]) -> dict[str, Any]:
        cache, analysis = self.contexts.cache, self.source.analysis
        histogram = cache.statistics["histogram"][feature]
        top = float(cache.statistics["max"][feature])
        row: dict[str, Any] = {
            "maxActApprox": _rounded(top),
            "frac_nonzero": float(known.get("frequency") or 0.0),
            "hookName": self.source.hook,
            "sourceSetName": self.names.set,
            "freq_hist_data_bar_heights": histogram.astype(float).tolist() if top else [],
            "freq_hist_data_bar_values": middles(0.0, top, len(histogram)) if top else [],
        }
        if analysis is None:
            return row
        logits = analysis.logits(feature) or {}
        for side, name in (("promoted", "pos"), ("suppressed", "neg")):
            pairs = logits.get(side, ())
            row |= {f"{name}_str": [t for t, _ in pairs], f"{name}_values": [_rounded(v) for _, v in pairs]}
        near = (analysis.neighbours(feature) or {}).get("decoder", ())
        row |= {"topkCosSimIndices": [f for f, _ in near], "topkCosSimValues": [_rounded(v) for _, v in near]}
        if (moments := analysis.moments(feature)) and moments["histogram"]:
            bars = moments["histogram"]
            row["logits_hist_data_bar_heights"] = [float(n) for n in bars]
            row["logits_hist_data_bar_values"] = middles(moments["low"], moments["high"], len(bars))
        return row

    def _activation(self, group: Group, example: Example) -> dict[str, Any]:
        values = np.round(example.activations.astype(float), DIGITS).tolist()
        peak = int(np.argmax(example.activations))
        return {
            "tokens": example.tokens,
            "values": values,
            "maxValue": max(values),
            "maxValueTokenIndex": peak,
            "minValue": min(values),
            "binMin": _rounded(group.low),
            "binMax": _rounded(group.high),
            "binContains": _rounded(group.share),
            "qualifyingTokenIndex": peak,
            "dataIndex": f"{example.sequence}:{example.start}",
            "dataSource": self.contexts.corpus.ids[example.sequence],
        }


def middles(low: float, high: float, n: int) -> list[float]:
    """Middles of ``n`` equal bins."""
    edges = np.linspace(low, high, n + 1)
    return [_rounded(v) for v in ((edges[1:] + edges[:-1]) / 2).tolist()]


def _score(explanation: str, score: Mapping[str, Any]) -> dict[str, Any]:
    details = {name: score[name] for name in ("ci_low", "ci_high", "n", "n_failed", "null")}
    return _row(
        "score",
        value=score["value"],
        explanationId=explanation,
        explanationScoreTypeName=score["scorer"],
        explanationScoreModelName=score["client"],
        jsonDetails=orjson.dumps(details).decode(),
    )


def _row(kind: str, *parts: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """A row with all fields in order: what is given, what is empty elsewhere."""
    given: dict[str, Any] = {}
    for part in (*parts, more):
        given |= part
    fields = FIELDS[kind]
    return {name: given.get(name, None if wanted.endswith("?") else EMPTY[wanted]) for name, wanted in fields.items()}


def _rounded(value: float) -> float:
    return round(float(value), DIGITS)
