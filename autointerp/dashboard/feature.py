"""A feature's page: explanations and why they scored so, contexts, and what the optional tables say."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from autointerp.dashboard import terms
from autointerp.dashboard.page import Page, missing
from autointerp.dashboard.run import Run
from autointerp.errors import UsageError
from autointerp.report.reading import column_names
from autointerp.report.reading import short as short_name
from autointerp.report.scales import scale_of

MOST_SCORED = 16
"""Scores whose trials are sent; of the others the values alone."""
MOST_TEXT = 4000
"""Characters of an explanation or of its details that are sent."""
MOST_NEIGHBOURS = 12
GIVEN = ("example", "kind", "quantile", "truth", "prompt")
"""Columns of what a judge is asked."""
ANSWER = ("predicted", "probability")
"""Columns of what it said."""
CONTEXT_ID = re.compile(r"\d+:\d+:\d+")
METRICS = ("tpr", "tnr", "tpr_interval", "tnr_interval", "precision", "auroc", "f1", "spearman", "p", "worst", "best",
           "hits_by_quantile", "by_kind", "failures", "constant")  # fmt: skip


def feature(run: Run, feature: str) -> dict[str, Any]:
    """Everything about one feature."""
    if not feature.isdigit() or len(feature) > 12:
        raise UsageError(f"feature {feature!r}: a number is needed")
    number = int(feature)
    at = int(np.searchsorted(run.features, number))
    if at == len(run.features) or run.features[at] != number:
        raise UsageError(f"feature {number}: this run has {len(run.features):,} features, none of that number")
    told, examples = explanations(run, number)
    return {
        "feature": number,
        "before": int(run.features[at - 1]) if at else None,
        "after": int(run.features[at + 1]) if at + 1 < len(run.features) else None,
        "statistics": statistics(run, number),
        "explanations": told,
        "skipped": skipped(run, number),
        **contexts(run, number, examples),
        "histogram": histogram(run, number),
        "logits": logits(run, number),
        "logo": logo(run, number),
        "neighbours": neighbours(run, number),
        "concepts": concepts(run, number),
        "go": terms.of_feature(run, number),
        "families": _optional(run, "families/families", number),
        "probes": _optional(run, "probes/probes", number),
    }


# -------------------------------------------------------------------------------------------- explanations and scores


def explanations(run: Run, number: int) -> tuple[list[dict[str, Any]], list[str]]:
    """The explanations with their scores, and the ids of the contexts that their trials point at."""
    if not run.has_study:
        return [], []
    told, judged = run.store.told_of(number), run.store.judged_of(number)
    names = column_names(sorted({(t["explainer"], t["client"]) for t in told}))
    judges = column_names(sorted({(s["scorer"], s["client"]) for s in judged}))
    order = {maker: i for i, maker in enumerate(run.makers)}
    told.sort(key=lambda t: order.get((t["explainer"], t["client"]), len(order)))
    shown = _with_trials(judged, told)
    trials = run.store.trials_of([s["id"] for s in shown if not s["is_null"]])
    answers = run.store.trials_of([s["id"] for s in shown if s["is_null"]], ANSWER)
    asked = Asked()
    result = []
    for one in told:
        maker = (one["explainer"], one["client"])
        mine = [s for s in judged if (s["explainer"], s["explainer_client"]) == maker]
        nulls = {(s["scorer"], s["client"]): s for s in mine if s["is_null"]}
        scores = [
            _score(s, judges, trials.get(s["id"], {}), asked)
            | _null(run, nulls.get((s["scorer"], s["client"])), answers)
            for s in mine
            if not s["is_null"]
        ]
        details = {} if one["details"] == "{}" else orjson.loads(one["details"])
        result.append(
            {
                "name": names[maker],
                "explainer": one["explainer"],
                "client": one["client"],
                "model": one["model"],
                "text": one["text"][:MOST_TEXT],
                "failure": one["failure"],
                "details": {k: str(v)[:MOST_TEXT] for k, v in details.items() if v not in (None, "", [], {})},
                "scores": scores,
            }
        )
    return result, list(asked.place)


def _with_trials(judged: Sequence[Mapping[str, Any]], told: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The scores and their nulls whose trials are sent, of the first explanations first."""
    order = {(t["explainer"], t["client"]): i for i, t in enumerate(told)}
    ranked = sorted(judged, key=lambda s: (s["is_null"], order.get((s["explainer"], s["explainer_client"]), 99)))
    chosen: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for score in ranked:
        key = (score["explainer"], score["explainer_client"], score["scorer"], score["client"])
        if key in chosen or len(chosen) < MOST_SCORED:
            chosen.setdefault(key, []).append(score)
    return [score for scores in chosen.values() for score in scores]


def _score(
    own: Mapping[str, Any],
    judges: Mapping[tuple[str, str], str],
    trials: Mapping[str, list[Any]],
    asked: Asked,
) -> dict[str, Any]:
    scale = scale_of(short_name(own["scorer"]))
    metrics = orjson.loads(own["metrics"])
    return {
        "name": judges[own["scorer"], own["client"]],
        **{n: own[n] for n in ("scorer", "client", "value", "n", "n_failed", "model")},
        "low": own["ci_low"],
        "high": own["ci_high"],
        "label": scale.label,
        "chance": scale.chance,
        "range": (scale.low, scale.high),
        "metrics": {k: metrics[k] for k in METRICS if metrics.get(k) not in (None, {}, [])},
        "trials": asked.columns(trials) | _answers(trials) if trials else {},
    }


def _null(
    run: Run, null: Mapping[str, Any] | None, answers: Mapping[int, Mapping[str, list[Any]]]
) -> dict[str, dict[str, Any]]:
    """The same trials judged with another feature's explanation; nothing where there is no null."""
    if null is None:
        return {}
    partner = null["partner"]
    found = {"value": null["value"], "partner": partner, "trials": _answers(answers.get(null["id"], {}))}
    return {"null": found | ({} if partner is None else {"text": run.explanation(partner)[:300]})}


class Asked:
    """What the judges of a feature were asked; ``place`` has the contexts that are sent.

    Explanations are mostly judged on the same trials: those are described once.
    """

    def __init__(self) -> None:
        self.place: dict[str, int] = {}
        self._known: list[tuple[list[list[Any]], dict[str, Any]]] = []

    def columns(self, trials: Mapping[str, list[Any]]) -> dict[str, Any]:
        """Trials as columns; ``example`` is a place among the contexts that are sent, or a text."""
        given = [trials[name] for name in GIVEN]
        for known, found in self._known:
            if known == given:
                return found
        example, kind, quantile, truth, prompt = given
        kinds = sorted(set(kind))
        found = {
            "example": [self._placed(one) for one in example],
            "kinds": kinds,
            "kind": [kinds.index(k) for k in kind],
            "quantile": quantile,
            "truth": "".join(["1" if t else "0" for t in truth]),
            "prompt": prompt,
        }
        self._known.append((given, found))
        return found

    def _placed(self, example: str | None) -> int | str:
        """The place of a context among those that are sent; what is no context's id stays a text."""
        if example in self.place:
            return self.place[example]
        if example and CONTEXT_ID.fullmatch(example):
            return self.place.setdefault(example, len(self.place))
        return (example or "")[:600]


def _answers(trials: Mapping[str, list[Any]]) -> dict[str, Any]:
    """What the judge said of each trial: 1, 0, or ? where there was no answer; and how sure it was, and what failed."""
    if not trials:
        return {}
    said, sure = trials["predicted"], trials["probability"]
    found: dict[str, Any] = {"predicted": "".join(["?" if p is None else "1" if p else "0" for p in said])}
    if sure.count(None) < len(sure):
        found["probability"] = [None if p is None else round(p, 3) for p in sure]
    if any(trials.get("failure", ())):
        found["failure"] = trials["failure"]
    return found


def skipped(run: Run, number: int) -> str | None:
    """Why the feature was skipped."""
    found = run.cached("skipped", lambda: _skipped(run)) if run.has_study else {}
    return found.get(number)


def _skipped(run: Run) -> dict[int, str]:
    rows = run.store.skipped().to_pylist()
    return {r["feature"]: f"too few {r['reason']}: {r['have']}, {r['need']} are needed" for r in rows}


# ---------------------------------------------------------------------------------------------------- cache and tables


def contexts(run: Run, number: int, examples: list[str]) -> dict[str, Any]:
    """Contexts by quantile, the contexts of the trials, and what the annotations' codes mean."""
    if run.contexts is None:
        return {"contexts": run.why_no_cache, "examples": [], "kinds": {}}
    groups = run.contexts.of(number)
    judged = run.contexts.examples(number, examples)
    every = [c for c in judged if c] + [c for g in groups.get("groups", ()) for c in g["contexts"]]
    return {"contexts": groups, "examples": judged, "kinds": run.contexts.kinds(every)}


def statistics(run: Run, number: int) -> dict[str, Any]:
    """Numbers about the feature, from the analysis, the cache and the explanations' own."""
    found: dict[str, Any] = {}
    if run.has_study and (told := run.store.told_of(number)):
        found |= {k: v for k, v in orjson.loads(told[0]["statistics"]).items() if v is not None}
    cache = run.cache
    if cache is not None and cache.complete and number < cache.n_features:
        of, total = cache.statistics, cache.n_sequences if cache.level == "sequence" else cache.n_tokens
        found |= {key: of[key][number].item() for key in ("count", "max", "mean", "n_sequences")}
        found["frequency"] = found["count"] / max(total, 1)
    if (table := run.table("analysis/features")) is not None and (rows := table.records(number)):
        found |= {name: value for name, value in rows[0].items() if value is not None}
    return found


def histogram(run: Run, number: int) -> dict[str, Any]:
    """Activations in equal bins from 0 to the largest."""
    cache = run.cache
    if cache is None:
        return run.why_no_cache or {}
    if not cache.complete:
        command = f"autointerp cache … --out {cache.path}"
        return missing("The cache is unfinished; its histograms are written last.", command)
    if number >= cache.n_features or not cache.statistics["count"][number]:
        return missing("This feature never fires on the cached corpus.")
    return {"counts": cache.statistics["histogram"][number], "max": float(cache.statistics["max"][number])}


def logits(run: Run, number: int) -> dict[str, Any]:
    """Tokens that the feature's decoder direction promotes and suppresses."""
    table = run.table("analysis/logits")
    if table is None:
        return run.why_no("analysis/logits", "The feature's effect on the logits has not been computed.", run.analyze)
    rows = table.records(number)
    sides: dict[str, list[tuple[Any, float]]] = {"promoted": [], "suppressed": []}
    for row in sorted(rows, key=lambda row: row["rank"]):
        sides[row["side"]].append((row["token"], _rounded(row["value"])))
    moments = run.table("analysis/logit_moments")
    found = moments.records(number) if moments is not None else []
    return {**sides, "moments": {k: _rounded(v) for k, v in (found[0] if found else {}).items()}}


def logo(run: Run, number: int) -> dict[str, Any]:
    """Symbols around the feature's peaks: [symbol, bits] by offset."""
    table = run.table("analysis/logo")
    if table is None:
        return run.why_no("analysis/logo", "No logo has been made.", run.analyze)
    columns: dict[int, list[tuple[Any, float]]] = {}
    for row in table.records(number):
        columns.setdefault(int(row["offset"]), []).append((row["symbol"], _rounded(row["bits"])))
    best = {o: sorted(c, key=lambda pair: -(pair[1] or 0))[:8] for o, c in sorted(columns.items())}
    return {"offsets": list(best), "columns": list(best.values())}


def neighbours(run: Run, number: int) -> dict[str, Any]:
    """The nearest features by decoder, encoder and co-activation: [feature, similarity, explanation]."""
    table = run.table("analysis/neighbours")
    if table is None:
        return run.why_no("analysis/neighbours", "The nearest features have not been computed.", run.analyze)
    found: dict[str, list[tuple[int, float | None, str]]] = {}
    for row in sorted(table.records(number), key=lambda row: row["rank"]):
        other, mine = int(row["neighbour"]), found.setdefault(str(row["by"]), [])
        if len(mine) < MOST_NEIGHBOURS:
            mine.append((other, _rounded(row["similarity"]), run.explanation(other)[:160]))
    return found


def concepts(run: Run, number: int) -> Any:
    """Concepts that the feature finds, the best first."""
    table = run.table("concepts/pairs")
    table = run.table("concepts/features") if table is None else table
    if table is None:
        command = f"autointerp concepts {run.place('cache') or 'CACHE'} --corpus {run.place('corpus') or 'CORPUS'}"
        text = "Concepts have not been matched with the features."
        return run.why_no("concepts/pairs", text, f"{command} --out {run.folder}/concepts")
    kept = ("concept", "threshold", "f1", "precision", "recall", "valid_f1", "n_instances")
    rows = table.records(number)
    if not rows and (best := run.table("concepts/features")) is not None:
        rows = best.records(number)
    rows.sort(key=lambda row: -(row.get("f1") or 0))
    return [{k: _rounded(row[k]) for k in kept if k in row} for row in rows[:12]]


def _optional(run: Run, name: str, number: int) -> list[dict[str, Any]]:
    table = run.table(name)
    rows = [] if table is None else table.records(number)
    return [{k: _rounded(v) for k, v in row.items()} for row in rows[:12]]


def _rounded(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _exported(run: Run) -> Iterator[str]:
    return (f"feature/{number}" for number in run.features.tolist())


PAGE = Page(
    scripts=("trials.js", "panels.js", "feature.js"),
    payloads={"feature/{feature}": feature},
    exported=_exported,
)
