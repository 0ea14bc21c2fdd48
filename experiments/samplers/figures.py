"""Redraw the figure from the tables: ``python -m experiments.samplers.figures [FOLDER…]``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from autointerp.report.figures import grid
from experiments.common.drawing import chance, drawn_from, save, spread
from experiments.common.tables import conditions_of, read

PUBLISHED = {
    "quantiles, 10": 0.73,
    "quantiles, 20": 0.74,
    "quantiles, 40": 0.76,
    "quantiles, 60": 0.75,
    "top, 40": 0.73,
}
"""Median fuzzing, Paulo et al. 2024 (arXiv 2410.13928): Gemma-2-9B, Llama-3.1-70B, by examples shown. Where they
compare samplers they state .73 for the top ones against .77 for quantiles."""
ORDER = ("quantiles, 10", "quantiles, 20", "quantiles, 40", "quantiles, 60", "random, 40", "top, 40")


def draw(folder: Path) -> None:
    """One panel for each scorer."""
    rows, about = read(folder, "scores"), conditions_of(folder)
    figure, axes = grid(2)
    figure.set_size_inches(11, 3.8)
    for axis, scorer in zip(axes, ("detection", "fuzzing"), strict=True):
        parts = {
            name: np.array([r["value"] for r in rows if r["scorer"] == scorer and r["condition"] == name], float)
            for name in ORDER
        }
        known = PUBLISHED if scorer == "fuzzing" else {}
        spread(axis, parts, published=known, source="Paulo et al. 2024, median")
        axis.set_xticks(range(len(ORDER)), [name.replace(", ", "\n") for name in ORDER], fontsize=8)
        chance(axis, 0.5)
        axis.set(ylabel="balanced accuracy", title=scorer, ylim=(0.35, 1.1), yticks=np.arange(4, 11) / 10)
        if known:
            axis.legend(frameon=False, fontsize=8, loc="upper right")
    figure.suptitle(
        f"Contexts shown to the explainer: {about['judge']} on {about['material']}, {about['n_features']} features",
        fontsize=10,
    )  # fmt: skip
    save(figure, folder / "samplers.svg")


if __name__ == "__main__":
    drawn_from(draw, __file__)
