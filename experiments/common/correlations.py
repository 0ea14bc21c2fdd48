"""Pearson's r of predicted and true activations: the summary of the protein papers, and their histogram."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from autointerp.report.figures import grid
from autointerp.statistics.bootstrap import aggregate
from experiments.common.drawing import COLOURS, save
from experiments.common.tables import conditions_of, read


def summarised(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """For every condition and what the judge was shown: features, mean, median with its interval, share with p < .05.

    A constant prediction counts as r = 0 and p = 1, and how many there are is said.
    """
    table = []
    for condition, shown in dict.fromkeys((row["condition"], row["shown"]) for row in rows):
        part = [row for row in rows if (row["condition"], row["shown"]) == (condition, shown)]
        judged = [row for row in part if row["value"] is not None]
        median = aggregate(np.array([row["value"] for row in judged], float))["median"]
        table.append({
            "condition": condition, "shown": shown, "n_features": len(part), "n_scored": len(judged),
            "mean": np.mean([row["value"] for row in judged]) if judged else None,
            "median": median.value, "low": median.low, "high": median.high,
            "share_significant": np.mean([row["p"] < 0.05 for row in judged]) if judged else None,
            "n_constant": sum(bool(row["constant"]) for row in judged),
        })  # fmt: skip
    return table


def histograms(
    folder: Path, name: str, titles: Mapping[str, str], published: Mapping[str, Mapping[str, float]] | None = None
) -> None:
    """Histograms of r over features, a panel for each of ``titles``, the medians marked; ``name.svg``.

    ``published``: medians to mark, by panel and label.
    """
    rows, about = read(folder, "scores"), conditions_of(folder)
    figure, axes = grid(len(titles))
    bins = np.linspace(-1, 1, 31)
    for axis, (shown, title) in zip(axes, titles.items(), strict=True):
        for colour, condition in zip(COLOURS, dict.fromkeys(row["condition"] for row in rows), strict=False):
            found = [r["value"] for r in rows if (r["condition"], r["shown"]) == (condition, shown)]
            found = np.array([r for r in found if not np.isnan(r)])
            if not len(found):
                continue
            weights = np.full(len(found), 1 / len(found))  # conditions may have different numbers of features
            label = f"{condition}, n {len(found)}, median {np.median(found):.2f}"
            axis.hist(found, bins, weights=weights, color=colour, alpha=0.35)
            axis.hist(found, bins, weights=weights, color=colour, histtype="step", lw=1.4, label=label)
            axis.axvline(np.median(found), color=colour, lw=1.4, ls="--")
        for label, value in (published or {}).get(shown, {}).items():
            axis.axvline(value, color="black", lw=1.2, ls=":", label=label)
        axis.set(xlabel="Pearson's r of predicted and true activation", ylabel="share of features", title=title)
        top = axis.get_ylim()[1]
        axis.set_ylim(0, 1.35 * top)
        axis.legend(frameon=False, fontsize=7.5, loc="upper left")
    figure.suptitle(f"{about['judge']}, {about['subject']} at {about['hook']}", fontsize=10)
    save(figure, folder / f"{name}.svg")
