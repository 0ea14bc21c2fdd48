"""Figures of a report, drawn with matplotlib and returned as SVG text."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe & Ito's colour-blind-safe palette."""
NULL = "#999999"


def svg(figure: Figure) -> str:
    """The figure as an ``<svg>`` element; the same figure gives the same bytes."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "autointerp", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None}, bbox_inches="tight")
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def distributions(scores: dict[str, dict[str, np.ndarray]]) -> str | None:
    """Histogram of each scorer over features, with its paired null behind it and the medians marked."""
    if not scores:
        return None
    figure, axes = _row(len(scores))
    bins = np.linspace(0, 1, 26)
    for axis, colour, (name, s) in zip(axes, COLOURS * 9, scores.items(), strict=False):
        for values, shade, label in ((s["null"], NULL, "null"), (s["value"], colour, name)):
            values = values[~np.isnan(values)]
            if len(values):
                label = f"{label}, median {np.median(values):.2f}"
                axis.hist(np.clip(values, 0, 1), bins, color=shade, alpha=0.65, label=label)
                axis.axvline(np.median(values), color=shade, lw=1.5)
        axis.axvline(0.5, color="black", lw=0.8, ls=":")
        axis.set(xlabel="balanced accuracy", ylabel="features", title=name)
        _legend(axis)
    return svg(figure)


def by_quantile(scores: dict[str, dict[str, np.ndarray]]) -> str | None:
    """Share of activating examples recognised, by quantile of activation, with Wilson intervals over trials."""
    from autointerp.statistics.intervals import wilson

    if not scores:
        return None
    figure, (axis,) = _row(1)
    for colour, (name, s) in zip(COLOURS * 9, scores.items(), strict=False):
        totals: dict[int, np.ndarray] = {}
        for metrics in s["metrics"]:
            for quantile, counts in metrics.get("hits_by_quantile", {}).items():
                totals[int(quantile)] = totals.get(int(quantile), np.zeros(2)) + np.array(counts)
        if not totals:
            continue
        x = np.array(sorted(totals))
        rate = np.array([totals[q][0] / max(totals[q][1], 1) for q in x])
        limits = np.array([wilson(r, totals[q][1]) for r, q in zip(rate, x, strict=True)])
        errors = np.abs(limits.T - rate)
        axis.errorbar(x + 1, rate, errors, color=colour, marker="o", ms=4, capsize=2, label=name)
    axis.set(xlabel="quantile of activation (1 weakest)", ylabel="share recognised", ylim=(0, 1.02))
    axis.set_title("Hits by quantile")
    _legend(axis)
    return svg(figure)


def pairs(scores: dict[str, dict[str, np.ndarray]], table: dict[str, list[Any]]) -> str | None:
    """Scatter of the first two scorers over features, with Spearman's correlation; None with fewer than two."""
    names = list(scores)[:2]
    if len(names) < 2:
        return None
    from scipy.stats import spearmanr

    x, y = (np.array([np.nan if v is None else v for v in table[f"{n}_value"]], float) for n in names)
    both = ~np.isnan(x) & ~np.isnan(y)
    if both.sum() < 3:
        return None
    figure, (axis,) = _row(1)
    axis.scatter(x[both], y[both], s=14, color=COLOURS[0], alpha=0.6, edgecolors="none")
    varied = np.ptp(x[both]) > 0 and np.ptp(y[both]) > 0
    rho = f"Spearman {spearmanr(x[both], y[both]).statistic:.2f}" if varied else "one of them is constant"
    axis.plot([0, 1], [0, 1], color="black", lw=0.6, ls=":")
    axis.set(xlabel=names[0], ylabel=names[1], xlim=(0, 1.02), ylim=(0, 1.02), title=f"{rho}, {both.sum()} features")
    return svg(figure)


def frequency(table: dict[str, list[Any]], scores: dict[str, dict[str, np.ndarray]]) -> str | None:
    """How often a feature fires against how well its explanation does, for the first scorer."""
    if not scores:
        return None
    name = next(iter(scores))
    x = np.array(table["frequency"], float)
    y = np.array([np.nan if v is None else v for v in table[f"{name}_value"]], float)
    figure, (axis,) = _row(1)
    axis.scatter(x, y, s=14, color=COLOURS[2], alpha=0.6, edgecolors="none")
    axis.set(xscale="log", xlabel="share of tokens at which it fires", ylabel=name, ylim=(0, 1.02))
    axis.set_title("Frequency and score")
    return svg(figure)


def _legend(axis: Any) -> None:
    if axis.get_legend_handles_labels()[0]:  # where nothing was drawn matplotlib would complain
        axis.legend(frameon=False, fontsize=8)


def _row(n: int) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6 * n, 3.2))
    axes = [figure.add_subplot(1, n, i + 1) for i in range(n)]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes
