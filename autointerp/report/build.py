"""Build a report: report.html, tables of explanations and of features, and figures in the run's folder."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autointerp.errors import UsageError
from autointerp.files import atomic, write_text
from autointerp.report import figures
from autointerp.report.joined import write_joined
from autointerp.report.page import (
    STYLE,
    Number,
    Section,
    figures_html,
    html_page,
    html_table,
    name_cell,
    score_cell,
    text_cell,
)
from autointerp.report.reading import Column, Study, read_study
from autointerp.report.tables import Finding, correlated, feature_table, finding_of

if TYPE_CHECKING:
    import pyarrow as pa

    from autointerp.statistics.clusters import Estimate
    from autointerp.store import RunStore

__all__ = ["STYLE", "Number", "html_page", "html_table", "write_report", "write_tables"]

MOST = 1000
"""Features that the page shows."""
BINDING = ("coder", "cache", "neighbours", "embeddings")
"""Settings of a study that are long digests."""


def write_report(store: RunStore, *, extra: Sequence[Section] = ()) -> Path:
    """Write ``report.html``, ``explanations``, ``features`` (.csv, .parquet) and ``figures/``; return the page.

    ``features`` has a row for every feature, with all that the run knows of it: :mod:`autointerp.report.joined`.

    Parameters
    ----------
    extra : further sections, (heading, HTML), shown after the figures.

    Raises
    ------
    UsageError : the run has no explanations yet.
    """
    study = read_study(store, trials=True)
    if not len(study):
        raise UsageError(f"{store.where}: no explanations yet, so there is nothing to report")
    write_tables(feature_table(study), store.folder / "explanations")
    write_joined(store)
    drawn = _figures(store, study)
    for name, _, _, drawing in drawn:
        write_text(store.folder / "figures" / f"{name}.svg", drawing)
    found = [finding_of(study, column) for column in study.columns.values()]
    sections: list[Section] = [
        ("Scores", _findings(study, found)),
        ("Figures", figures_html([(title, told, drawing) for _, title, told, drawing in drawn])),
        *extra,
        ("Features", _features(study)),
        ("Conditions", html_table(("condition", "value"), list(conditions(store, study).items()))),
    ]
    title = f"{study.n_features:,} features of {'/'.join(store.folder.absolute().parts[-2:])}"
    page = store.folder / "report.html"
    write_text(page, html_page(title, [s for s in sections if s[1]], _lead(store, study)))
    return page


def write_tables(table: pa.Table, path: Path) -> None:
    """The table as ``path`` with the endings ``.csv`` and ``.parquet``."""
    import pyarrow.csv
    import pyarrow.parquet

    with atomic(path.with_name(f"{path.name}.parquet")) as place:
        pyarrow.parquet.write_table(table, place)
    with atomic(path.with_name(f"{path.name}.csv")) as place:
        pyarrow.csv.write_csv(table, place)


def _figures(store: RunStore, study: Study) -> list[tuple[str, str, str, str]]:
    """(file, title, what is seen, SVG) of each figure that there is something for."""
    columns = study.columns
    values = {name: study.spread(column) for name, column in columns.items()}
    first = next((name for name in columns if not np.isnan(values[name]).all()), None)
    per_feature, unit = _costs(store, max(len(study), 1))
    fires = [s.get("frequency") for s in study.statistics]
    drawn = [
        ("scores", "Scores", "of features, the same trials judged with another feature's explanation (null) behind "
         "them; lines are medians, dotted is what guessing gives.", figures.distributions(columns)),
        ("hits", "Hits", "over all features with 95 % intervals that take a feature for the unit.",
         figures.hits(columns)),
        ("correlations", "Scorers against each other", "Spearman's ρ over features, 95 % interval.",
         figures.matrix(values)),
        ("pairs", "Scorers against each other", "a point is a feature.", figures.pairs(values)),
        ("calibration", "Calibration", "how often the feature fired where the judge said so much; a dot's size is its "
         "share of the trials, dotted is a judge that is right about itself.", figures.calibration(columns)),
        ("frequency", "Frequency and score", "a point is a feature.",
         figures.frequency(fires, columns[first], values[first]) if first else None),
        ("costs", "Cost of a feature", "by what the requests were for.", figures.costs(per_feature, unit)),
        ("failures", "Failures", "trials without an answer are left out of a value; the bar spans what it would be if "
         "all of them were wrong, or right.", figures.failures(columns)),
    ]  # fmt: skip
    return [(name, title, told, drawing) for name, title, told, drawing in drawn if drawing]


# ------------------------------------------------------------------------------------------------------------ sections


def _lead(store: RunStore, study: Study) -> str:
    """What was attempted, what it took."""
    spend, failed = store.spend(), int((~study.parsed).sum())
    reasons = Counter(store.skipped()["reason"].to_pylist())
    single = sum(s.get("n_groups") == 1 for s in study.statistics)
    skipped = "; ".join(f"too few {reason}: {n:,}" for reason, n in sorted(reasons.items()))
    lines = [
        f"{study.n_features + study.n_skipped:,} features attempted, {study.n_skipped:,} skipped"
        + (f" ({skipped})" if skipped else "")
        + f", {failed:,} explanations failed, {single:,} features fire in one group only",
        f"{spend.attempts:,} requests, {spend.input_tokens:,} tokens in ({spend.cached_tokens:,} cached), "
        f"{spend.output_tokens:,} out, ${spend.confirmed_usd:.4f} confirmed, "
        f"up to ${spend.maybe_usd:.4f} for attempts cut off, {spend.unpriced:,} answers unpriced",
    ]
    if problems := store.failures():
        lines.append("failed attempts: " + ", ".join(f"{kind} {n:,}" for kind, n in problems.items()))
    if spend.in_flight:
        lines.append(f"{spend.in_flight:,} requests in flight: the run is under way, this is how far it is")
    return _quiet(lines)


def _quiet(lines: Sequence[str]) -> str:
    return "".join(f'<p class="quiet">{html.escape(line)}</p>' for line in lines)


def _findings(study: Study, found: Sequence[Finding]) -> str:
    """A line for each scorer, and one for each whose values are correlations with a p."""
    if not found:
        return _quiet(["nothing is scored yet"])
    header = ("scorer", "attempted / eligible / parsed / scored", "median [95 %]", "quartiles", "null",
              "lift [95 %]", "above the null", "precision", "failed", "if wrong – if right")  # fmt: skip
    rows = [_finding(study.columns[f.name], f) for f in found]
    notes = [
        "Every number is over features, never over pooled trials. Null: median of the values with another feature's "
        "explanation on the same trials; lift: median of each feature's difference from its null; above the null: at "
        "a false discovery rate of 5 % (Benjamini–Hochberg on p-values against all nulls). Precision: median share "
        "of true ones among the contexts called active, were those as rare as they are in the corpus.",
    ]
    predicted = [(f.name, known) for f in found if (known := correlated(study.columns[f.name]))]
    more = ""
    if predicted:
        header_2 = ("scorer", "features", "mean r", "median r", "share with p < .05", "constant predictions, r = 0")
        names = ("n", "mean", "median", "share_significant", "n_constant")
        more = html_table(header_2, [[name, *(known[key] for key in names)] for name, known in predicted])
    return html_table(header, rows) + _quiet(notes) + more


def _finding(column: Column, f: Finding) -> list[object]:
    c = f.counts
    return [
        name_cell(f.name, column.scale.label),
        Number(f"{c.attempted:,} / {c.eligible:,} / {c.parsed:,} / {c.scored:,}"),
        interval(f.median),
        Number("–" if np.isnan(f.quartiles[0]) else f"{f.quartiles[0]:.2f} – {f.quartiles[1]:.2f}"),
        Number(_rounded(f.null)),
        interval(f.lift, "+"),
        Number("–" if f.above is None else f"{f.above:,} of {f.tested:,}"),
        Number(_rounded(f.precision)),
        Number(f"{f.failed:.1%}"),
        Number("–" if np.isnan(f.worst) or not f.failed else f"{f.worst:.2f} – {f.best:.2f}"),
    ]


def interval(found: Estimate, sign: str = "") -> Number:
    """``0.712 [0.690, 0.730]``, a dash for NaN."""
    if np.isnan(found.value):
        return Number("–")
    return Number(f"{found.value:{sign}.3f} [{found.low:{sign}.3f}, {found.high:{sign}.3f}]")


def _rounded(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.2g}" if 0 < abs(value) < 0.01 else f"{value:.2f}"


def _costs(store: RunStore, n_features: int) -> tuple[dict[str, float], str]:
    """By what requests were for: dollars a feature where every price is known, else tokens, else requests."""
    priced, totals = True, {unit: Counter[str]() for unit in ("dollars", "tokens", "requests")}
    for spec in store.spend_by_model():
        for tag, used in store.usage_by_tag(spec, here=True).items():
            priced &= used.cost_usd is not None
            size = (used.input_tokens or 0.0) + (used.output_tokens or 0.0)
            for unit, each in (("dollars", used.cost_usd or 0.0), ("tokens", size), ("requests", 1.0)):
                totals[unit][tag or "other"] += used.n * each / n_features  # type: ignore[assignment]
    units = ("dollars", "tokens", "requests") if priced else ("tokens", "requests")
    unit = next((unit for unit in units if any(totals[unit].values())), "requests")
    return dict(totals[unit]), f"{unit} a feature"


def _features(study: Study) -> str:
    """The best features first, by the first scorer that has values."""
    told, columns = study.explanations, study.columns
    values = {name: study.spread(column) for name, column in columns.items()}
    by = next((v for v in values.values() if not np.isnan(v).all()), np.zeros(len(study)))
    order = np.argsort(-np.nan_to_num(by, nan=-np.inf), kind="stable")[:MOST].tolist()
    ends = {name: (-1.0 if np.nanmin(np.append(values[name], 0)) < 0 else 0.0, 1.0) for name in columns}
    drawn = {n: [study.spread(c, v) for v in (c.value, c.low, c.high, c.null)] for n, c in columns.items()}
    feature, text, failure = (told[n].to_pylist() for n in ("feature", "text", "failure"))
    several = len(set(zip(told["explainer"].to_pylist(), told["client"].to_pylist(), strict=True))) > 1
    rows = []
    for i in order:
        cells: list[object] = [Number(feature[i]), text_cell(text[i] if failure[i] is None else f"({failure[i]})")]
        if several:
            cells.append(f"{told['explainer'][i]}, {told['client'][i]}")
        cells.append(study.statistics[i].get("frequency"))
        rows.append([*cells, *(score_cell([v[i] for v in drawn[name]], ends[name]) for name in columns)])
    header = ["feature", "explanation", *(["explainer"] if several else []), "frequency", *columns]
    note = "Bars are 95 % intervals, the grey tick is the null."
    if len(study) > MOST:
        note += f" The best {MOST:,} of {len(study):,} are shown; explanations.csv and explanations.parquet hold all."
    return _quiet([note] if columns else []) + html_table(header, rows)


def conditions(store: RunStore, study: Study) -> dict[str, str]:
    """Under which the numbers were found."""

    def words(values: Any) -> str:
        return ", ".join(sorted(set(values)))

    facts = {
        "explainer": words(study.explanations["explainer"].to_pylist()),
        "explained by": words(study.explanations["client"].to_pylist()),
        "scorers": words(c.scorer for c in study.columns.values()),
        "judged by": words(c.client for c in study.columns.values()),
    }
    shown = {k: v[:12] if k in BINDING and isinstance(v, str) else v for k, v in store.study().items()}
    return (
        facts
        | {name: _plain(value) for name, value in shown.items()}
        | {
            "intervals": "95 %: Wilson's with an effective number of trials where prompts agree, TPR and TNR combined "
            "by MOVER; of medians by bootstrap over features",
            "null": "the same trials judged with another feature's explanation",
        }
    )


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "–" if value is None else str(value)
