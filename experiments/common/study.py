"""Runs of an experiment: which features, and a pipeline over them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from autointerp import Pipeline, RunStore, connect
from autointerp.errors import NotEnoughExamples
from autointerp.progress import Bars
from experiments.common.options import Options

if TYPE_CHECKING:
    from autointerp.records import Explainer, Scorer

Row = dict[str, Any]
METRICS = ("p", "spearman", "constant")
"""Further numbers of a score that a row holds, where its scorer gives them."""


def eligible(loaders: Sequence[Any], n: int, seed: int = 0) -> list[int]:
    """The first ``n`` features of a seeded draw of which every loader has enough examples."""
    found: list[int] = []
    for feature in np.random.default_rng([seed, len(loaders[0])]).permutation(len(loaders[0])).tolist():
        if len(found) == n:
            break
        try:
            for loader in loaders:
                loader[feature]
        except NotEnoughExamples:
            continue
        found.append(feature)
    return found


async def study(
    out: Path,
    loader: Any,
    explainer: Explainer,
    scorers: Sequence[Scorer],
    features: Sequence[int],
    options: Options,
    *,
    client: Any = None,
    score_client: Any = None,
    nulls: bool = False,
    local: Any = None,
) -> list[Row]:
    """Explain and score ``features`` into the run ``out``; one row for each score, empty where there is none.

    ``client`` explains and ``score_client`` judges; by default those of ``options``.
    """
    with RunStore.open(out) as store:
        explains = connect(client or options.client, store=store)
        judges = connect(score_client or client or options.judge, store=store)
        async with explains, judges:
            pipeline = Pipeline(
                loader,
                explainer,
                scorers,
                client=explains,
                score_client=judges,
                store=store,
                nulls=nulls,
                local=local,
            )
            report = await pipeline.run(features, budget_usd=options.budget, observer=Bars())
        print(f"{out.name}: {report.explained} explained, ${report.spend.confirmed_usd:.2f}", file=sys.stderr)
        rows = rows_of(store)
    judged = pipeline.results.scorers  # they know which local models they ask, and their ids say so
    wanted = {_key(row): row for row in unscored(judged, features, nulls)}
    return list((wanted | {_key(row): row for row in rows if row["feature"] in set(features)}).values())


def rows_of(store: RunStore) -> list[Row]:
    """One row for each score of a run, with the feature's explanation."""
    texts = {row["feature"]: row["text"] for row in store.explanations().to_pylist()}
    rows = []
    for row in store.scores().to_pylist():
        metrics = orjson.loads(row["metrics"])
        kept = {key: row[key] for key in ("feature", "value", "ci_low", "ci_high", "n", "n_failed")}
        more = {key: metrics[key] for key in METRICS if key in metrics}
        rows.append(
            {**_named(row["scorer"], row["is_null"]), **kept, **more, "explanation": texts.get(row["feature"], "")}
        )
    return rows


def unscored(scorers: Sequence[Scorer], features: Sequence[int], nulls: bool = False) -> list[Row]:
    """Rows as of :func:`rows_of` with nothing in them: a feature without an explanation was attempted, too."""
    empty = {"value": None, "ci_low": None, "ci_high": None, "n": 0, "n_failed": 0}
    return [
        {**_named(judge.id, null), "feature": feature, **empty, "explanation": ""}
        for null in (False, True)[: 1 + nulls]
        for judge in scorers
        for feature in features
    ]


def _named(scorer: str, null: bool) -> Row:
    name, _, version = scorer.partition("@")
    return {"scorer": name, "settings": version.partition("?")[2], "null": null}


def _key(row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("scorer", "settings", "null", "feature"))


def n_explained(out: Path) -> int:
    """Features of a run whose explanation could be read."""
    with RunStore.open(out) as store:
        return sum(bool(row["text"]) for row in store.explanations().to_pylist())
