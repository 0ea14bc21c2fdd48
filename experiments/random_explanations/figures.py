"""Redraw the figure from the tables: ``python -m experiments.random_explanations.figures [FOLDER…]``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from autointerp.report.figures import grid
from autointerp.report.scales import scale_of
from experiments.common.drawing import chance, drawn_from, save, spread
from experiments.common.tables import conditions_of, read

PUBLISHED: dict[str, dict[str, float | tuple[float, float, float]]] = {
    "fuzzing": {"own": (0.67, 0.76, 0.86), "random 0": (0.45, 0.51, 0.57)},
    "detection": {"own": (0.63, 0.74, 0.85), "random 0": (0.45, 0.51, 0.58)},
    "simulation": {"random 0": -0.02},
}
"""Quartile, median, quartile: Paulo et al. 2024 (arXiv 2410.13928), Gemma-2-9B, judge Llama-3.1-70B."""


def draw(folder: Path) -> None:
    """One panel for each scorer: own explanations, paired nulls, random ones."""
    rows, about = read(folder, "scores"), conditions_of(folder)
    scorers = list(dict.fromkeys(row["scorer"] for row in rows))
    names = list(dict.fromkeys(row["condition"] for row in rows))
    figure, axes = grid(len(scorers), across=4)
    figure.set_size_inches(3.6 * len(scorers), 3.6)
    for axis, scorer in zip(axes, scorers, strict=True):
        chosen = {name: [r["value"] for r in rows if (r["scorer"], r["condition"]) == (scorer, name)] for name in names}
        parts = {name: np.array(found, float) for name, found in chosen.items()}
        spread(axis, parts, published=PUBLISHED.get(scorer), source="Paulo et al. 2024")
        axis.set_xticks(range(len(names)), [name.replace(" ", "\n") for name in names], fontsize=8)
        scale = scale_of(scorer)
        chance(axis, scale.chance)
        axis.set(ylabel=scale.label, title=scorer)
        if scorer in PUBLISHED:
            axis.legend(frameon=False, fontsize=8)
    figure.suptitle(
        f"Own and other explanations: {about['judge']} on {about['material']}, {about['n_features']} features",
        fontsize=10,
    )  # fmt: skip
    save(figure, folder / "random_explanations.svg")


if __name__ == "__main__":
    drawn_from(draw, __file__)
