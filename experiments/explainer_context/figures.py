"""Redraw the figure from the tables: ``python -m experiments.explainer_context.figures [FOLDER…]``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from autointerp.report.figures import grid
from experiments.common.drawing import chance, drawn_from, save, spread
from experiments.common.tables import conditions_of, read


def draw(folder: Path) -> None:
    """One panel for each scorer."""
    rows, about = read(folder, "scores"), conditions_of(folder)
    names = list(dict.fromkeys(row["condition"] for row in rows))
    figure, axes = grid(2)
    figure.set_size_inches(11, 3.8)
    for axis, scorer in zip(axes, ("detection", "fuzzing"), strict=True):
        chosen = {name: [r["value"] for r in rows if (r["scorer"], r["condition"]) == (scorer, name)] for name in names}
        spread(axis, {name: np.array(found, float) for name, found in chosen.items()})
        labels = [name.replace(", ", "\n").replace("chain of thought", "thought") for name in names]
        axis.set_xticks(range(len(names)), labels, fontsize=7.5)
        chance(axis, 0.5)
        axis.set(ylabel="balanced accuracy", title=scorer, ylim=(0.35, 1.02))
    figure.suptitle(
        f"What the explainer sees: {about['judge']} on {about['material']}, {about['n_features']} features",
        fontsize=10,
    )  # fmt: skip
    save(figure, folder / "explainer_context.svg")


if __name__ == "__main__":
    drawn_from(draw, __file__)
