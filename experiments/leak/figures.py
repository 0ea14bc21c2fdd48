"""Redraw the figure from the tables: ``python -m experiments.leak.figures [FOLDER…]``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from autointerp.report.figures import grid
from experiments.common.drawing import COLOURS, chance, drawn_from, save, spread
from experiments.common.tables import conditions_of, read


def draw(folder: Path) -> None:
    """What of the test side was seen, and what the judges make of it."""
    rows, about = read(folder, "scores"), conditions_of(folder)
    names = list(dict.fromkeys(row["condition"] for row in rows))
    panels = [(about["judge"], "detection"), (about["judge"], "fuzzing"), ("memory", "detection")]
    figure, axes = grid(4, across=4)
    figure.set_size_inches(15, 3.6)
    for offset, (colour, kind) in enumerate(zip(COLOURS[:3], ("context", "sequence", "group"), strict=True)):
        seen = read(folder, "shared")
        means = [np.mean([r[kind] for r in seen if r["condition"] == name]) for name in names]
        axes[0].bar(np.arange(len(names)) + 0.25 * (offset - 1), means, 0.23, color=colour, label=f"same {kind}")
    axes[0].axhline(0.235, color="#D55E00", lw=0.8, ls="--", label="delphi: same context, measured")
    axes[0].set_xticks(range(len(names)), names, fontsize=8)
    axes[0].set(ylabel="share of activating test contexts", title="what the explainer has seen", ylim=(0, 0.7))
    axes[0].legend(frameon=False, fontsize=7, ncol=2, loc="upper center")
    for axis, (judge, scorer) in zip(axes[1:], panels, strict=True):
        parts = {
            name: np.array(
                [r["value"] for r in rows if (r["condition"], r["judge"], r["scorer"]) == (name, judge, scorer)], float
            )
            for name in names
        }
        spread(axis, parts)
        axis.set_xticks(range(len(names)), names, fontsize=8)
        chance(axis, 0.5)
        axis.set(ylabel="balanced accuracy", title=f"{scorer}, judged by {judge}")
    figure.suptitle(f"Shared sides: {about['material']}, {about['n_features']} features", fontsize=10)
    save(figure, folder / "leak.svg")


if __name__ == "__main__":
    drawn_from(draw, __file__)
