"""The columns of the overview's table: explanations, scores, statistics, and what the optional tables say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson

from autointerp.dashboard.page import Column, short
from autointerp.dashboard.run import Run
from autointerp.report.reading import column_names
from autointerp.report.reading import short as short_name
from autointerp.report.scales import scale_of

STATISTICS = {
    "frequency": "frequency",
    "max": "largest activation",
    "mean": "mean activation",
    "count": "activations",
    "n_sequences": "sequences",
    "n_groups": "groups",
}
LOGARITHMIC = ("frequency", "count", "n_sequences", "n_groups")
ANALYSIS = {
    "x": "map x",
    "y": "map y",
    "median_run": "median run",
    "coverage": "coverage",
    "period": "period",
    "position_mean": "mean position",
    "duplicate_of": "duplicate of",
}
CATEGORIES = {"pattern": "pattern", "position_class": "position", "cluster": "cluster"}
FLAGS = {"dead": "dead", "dense": "dense"}
MOST_TERMS = 6
"""GO terms of a feature in the table."""


class Frame:
    """Where each feature stands in the table, to spread values over it."""

    def __init__(self, features: np.ndarray) -> None:
        self.features = features

    def at(self, feature: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(rows, which of ``feature`` they are of) for the features that the table has."""
        if not len(self.features):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        rows = np.searchsorted(self.features, feature).clip(max=len(self.features) - 1)
        known = np.flatnonzero(self.features[rows] == feature)
        return rows[known], known

    def numbers(self, feature: np.ndarray, values: np.ndarray, digits: int = 4) -> np.ndarray:
        """(n,) float32, NaN for features without a value."""
        spread = np.full(len(self.features), np.nan)
        rows, known = self.at(feature)
        spread[rows] = np.asarray(values, np.float64)[known]
        return short(spread, digits)

    def codes(self, feature: np.ndarray, values: np.ndarray) -> np.ndarray:
        """(n,) int32 codes, −1 for features without one."""
        spread = np.full(len(self.features), -1, np.int32)
        rows, known = self.at(feature)
        spread[rows] = values[known]
        return spread


def all_columns(run: Run) -> Iterator[Column]:
    """Every column that there is something for."""
    frame = Frame(run.features)
    if run.has_study:
        yield from told(run, frame)
        yield from scores(run, frame)
    yield from statistics(run, frame)
    yield from analysed(run, frame)
    yield from found(run, frame)


def told(run: Run, frame: Frame) -> Iterator[Column]:
    """The explanation that is shown, and who made it."""
    makers = run.makers
    names = maker_names(makers)
    texts: list[str | None] = [None] * len(frame.features)
    codes = np.full(len(frame.features), -1, np.int32)
    first = run.shown
    every = list(first.values())
    rows, known = frame.at(np.fromiter(first, np.int64, len(first)))  # a running study may have more of them by now
    for row, at in zip(rows.tolist(), known.tolist(), strict=True):
        one = every[at]
        texts[row] = one.text if one.failure is None else f"({one.failure})"
        codes[row] = one.maker
    yield Column("explanation", "explanation", "text", texts, "explanation")
    yield Column("explainer", "explainer", "category", codes, "explanation", tuple(names))
    skipped = run.store.skipped()
    if len(skipped):
        reasons = skipped["reason"].to_pylist()
        words = sorted(set(reasons))
        code = np.array([words.index(reason) for reason in reasons])
        values = frame.codes(skipped["feature"].to_numpy(), code)
        yield Column("skipped", "skipped: too few", "category", values, "explanation", tuple(words))


def maker_names(makers: list[tuple[str, str]]) -> list[str]:
    """A short name for every (explainer, client)."""
    known = column_names(makers)
    return [known[maker] for maker in makers]


def scores(run: Run, frame: Frame) -> Iterator[Column]:
    """A column for each explainer, scorer and judge; intervals and nulls beside those of the first explainer."""
    makers = run.makers
    by_maker = dict(zip(makers, maker_names(makers), strict=True))
    order = {maker: i for i, maker in enumerate(makers)}
    judges = sorted(run.store.judges(), key=lambda judge: order.get(judge[:2], len(order)))
    names = column_names(sorted({judge[2:] for judge in judges}))
    values = run.store.values(judges)
    values = values[np.argsort(values[:, 0], kind="stable")]
    bounds = np.searchsorted(values[:, 0], np.arange(len(judges) + 1))
    for judge, own in zip(judges, np.split(values, bounds)[1:-1], strict=True):
        scale, first = scale_of(short_name(judge.scorer)), order.get(judge[:2]) == 0
        maker, scorer = by_maker.get(judge[:2], judge.explainer), names[judge[2:]]
        more: dict[str, Any] = {"range": (scale.low, scale.high), "chance": scale.chance, "told": scale.label}
        more |= {"maker": maker, "scorer": scorer, "first": first}
        if first:
            limits = run.store.intervals(judge)
            more |= {
                "low": frame.numbers(limits[:, 0], limits[:, 2]),
                "high": frame.numbers(limits[:, 0], limits[:, 3]),
            }
            if len(null := run.store.intervals(judge, null=True)):
                more["null"] = frame.numbers(null[:, 0], null[:, 1])
        name = scorer if first else f"{maker}/{scorer}"
        yield Column(f"score.{name}", name, "number", frame.numbers(own[:, 1], own[:, 2]), "score", more=more)


def statistics(run: Run, frame: Frame) -> Iterator[Column]:
    """Of the cache where it is whole, else as the explanations hold them."""
    known: dict[str, np.ndarray] = _told_statistics(run, frame)
    if run.cache is not None and run.cache.complete:
        of = run.cache.statistics
        total = run.cache.n_sequences if run.cache.level == "sequence" else run.cache.n_tokens
        every = np.arange(run.cache.n_features)
        for key in ("max", "mean", "count", "n_sequences"):
            known[key] = frame.numbers(every, of[key])
        known["frequency"] = frame.numbers(every, of["count"] / max(total, 1))
    for key, label in STATISTICS.items():
        if key in known:
            more = {"log": True} if key in LOGARITHMIC else {}
            yield Column(key, label, "number", short(known[key]), "statistics", more=more)


def _told_statistics(run: Run, frame: Frame) -> dict[str, np.ndarray]:
    """What the explanations say of their features."""
    feature = np.fromiter(run.shown, np.int64, len(run.shown))
    facts = [orjson.loads(one.statistics) for one in run.shown.values()]
    known = {}
    for key in STATISTICS:
        if any(fact.get(key) is not None for fact in facts):
            values = np.array([np.nan if fact.get(key) is None else fact[key] for fact in facts], np.float64)
            known[key] = frame.numbers(feature, values)
    return known


def analysed(run: Run, frame: Frame) -> Iterator[Column]:
    """Columns of ``analysis/features.parquet``."""
    table = run.table("analysis/features")
    if table is None:
        return
    for key, label in CATEGORIES.items():
        if key not in table:
            continue
        values, words = table.column(key), table.words(key)
        if key == "cluster":
            values = np.nan_to_num(values.astype(np.float64), nan=-1).astype(np.int64)
            words = tuple(f"cluster {i}" for i in range(int(values.max(initial=-1)) + 1))
        if words and (values >= 0).any():
            yield Column(key, label, "category", frame.codes(table.feature, values), "analysis", words)
    for key, label in ANALYSIS.items():
        if key in table and table.column(key).dtype.kind in "fiu":
            yield Column(key, label, "number", frame.numbers(table.feature, table.column(key)), "analysis")
    for key, label in FLAGS.items():
        if key in table:
            values = frame.codes(table.feature, np.nan_to_num(table.column(key)).astype(np.int64) - 1)
            yield Column(key, label, "category", np.where(values == 0, 0, -1), "analysis", (label,))


def found(run: Run, frame: Frame) -> Iterator[Column]:
    """The best concept, family and GO terms of each feature."""
    for name, key, label in (("concepts/features", "concept", "concept"), ("families/families", "family", "family")):
        table = run.table(name)
        if table is None or key not in table or not table.words(key):
            continue
        best = _best(table.feature, table.column("f1") if "f1" in table else np.zeros(len(table)))
        feature, codes = table.feature[best], table.column(key)[best]
        yield Column(key, label, "category", frame.codes(feature, codes), "biology", table.words(key))
        if "f1" in table:
            more = {"range": (0, 1)}
            values = frame.numbers(feature, table.column("f1")[best])
            yield Column(f"{key}_f1", f"{label} F1", "number", values, "biology", more=more)
    if (terms := run.table("go/enrichment")) is not None and {"term", "name"} <= set(terms.names):
        names = dict(zip(terms.text("term"), terms.text("name"), strict=True))
        words = tuple(f"{names[term] or term} ({term})" for term in terms.words("term"))
        code, lists = terms.column("term"), []
        for feature in frame.features.tolist():
            where = terms.span(feature)
            lists.append(code[where.start : min(where.stop, where.start + MOST_TERMS)].tolist())
        yield Column("go", "GO terms", "tags", lists, "biology", words)


def _best(feature: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Row with the largest value of each feature."""
    order = np.lexsort((-np.nan_to_num(np.asarray(value, np.float64), nan=-1.0), feature))
    return order[np.unique(feature[order], return_index=True)[1]]
