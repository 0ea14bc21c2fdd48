"""Redraw the figures from the tables: ``python -m experiments.go.figures [FOLDER…]``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from autointerp.report import go
from autointerp.report.figures import grid
from experiments.common.drawing import COLOURS, GREY, drawn_from, save
from experiments.common.tables import conditions_of, read

DRAWN = ("SAE", "trained")
"""The coder and the subject whose terms' structure is drawn; ``tests.csv`` has every case's."""


def draw(folder: Path) -> None:
    """Findings beside their nulls; the seed's joint and grouped box plots, and the measures, of the SAE's features."""
    about = conditions_of(folder)
    title = f"{about['subject']} at {about['hook']}, {about['n_sequences']:,} proteins"
    save(findings(read(folder, "summary"), title), folder / "findings.svg")
    units, boxes = (read(folder, name) for name in ("units", "boxes"))
    if not units:
        return
    columns = {name: np.array([row[name] for row in units]) for name in units[0]}
    save(go.joint(columns), folder / "jointplot.svg")
    for namespace in dict.fromkeys(row["namespace"] for row in units):
        own = {name: column[columns["namespace"] == namespace] for name, column in columns.items()}
        save(go.measures(own), folder / f"measures_{namespace}.svg")
        for baseline in ("constrained", "whole"):
            here = [box for box in boxes if (box["namespace"], box["baseline"]) == (namespace, baseline)]
            for box in here:
                box["stars"] = box["stars"] if isinstance(box["stars"], str) else ""
            if here:
                words = f"{namespace.replace('_', ' ')}, {go.SAID[baseline]}"
                save(go.by_depth(here, words), folder / f"groupplot_{namespace}_{baseline}.svg")


def findings(rows: list[dict[str, Any]], title: str) -> Any:
    """Findings of every case, beside those with annotations shuffled and shuffled among proteins of like length."""
    thresholds = sorted({row["threshold"] for row in rows})
    figure, axes = grid(len(thresholds), across=2, height=3.2)
    bars = (
        ("findings", "findings", COLOURS[0]),
        ("findings_with_annotations_shuffled_among_like_lengths", "shuffled among like lengths", COLOURS[1]),
        ("findings_with_annotations_shuffled", "shuffled among all", GREY),
    )
    for axis, threshold in zip(axes, thresholds, strict=True):
        own = [row for row in rows if row["threshold"] == threshold]
        names = list(dict.fromkeys(row["case"] for row in own))
        for i, (column, label, colour) in enumerate(bars):
            sums = [sum(row[column] for row in own if row["case"] == name) for name in names]
            axis.barh(np.arange(len(names)) + 0.27 * (i - 1), sums, 0.25, color=colour, label=label)
            for y, n in enumerate(sums):
                axis.text(n, y + 0.27 * (i - 1), f" {n:,.0f}", va="center", fontsize=6)
        axis.set_yticks(range(len(names)), names, fontsize=7)
        axis.invert_yaxis()
        axis.set(xscale="symlog", xlabel="features × terms, all namespaces")
        where = f"fires above {threshold:g} of its maximum" if threshold else "fires at all"
        axis.set_title(f"where a feature {where}", loc="left", fontsize=8.5, fontweight="bold")
    axes[0].legend(frameon=False, fontsize=6.5, loc="upper left", bbox_to_anchor=(0, -0.18), ncols=3)
    figure.suptitle(title, fontsize=9)
    return figure


if __name__ == "__main__":
    drawn_from(draw, __file__)
