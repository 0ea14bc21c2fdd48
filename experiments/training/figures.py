"""The figures and the summary of the experiment, from its tables alone.

``python -m experiments.training.figures [FOLDER …]`` draws those of every folder in ``results`` again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.common.drawing import COLOURS, GREY, drawn_from, save, spread
from experiments.common.tables import conditions_of, read
from experiments.training.summary import write_summary

Row = dict[str, Any]
ARCHITECTURES = ("relu", "gated", "topk", "batchtopk", "jumprelu", "matryoshka")
MARKERS = "osD^vP"
CONTROLS = {"neurons": "X", "random coder": "*"}
WIRINGS = ("SAE", "SAE, next layer", "transcoder", "skip transcoder", "difference transcoder",
           "skip difference transcoder", "neurons", "random coder")  # fmt: skip
LABELS = {"l0": "L0: features active on a residue", "fvu": "FVU", "recovered": "loss recovered"}
K = "k 16"


def draw(folder: Path) -> None:
    """Draw every figure of the tables in ``folder``, and write their summary."""
    write_summary(folder)
    rows, about = read(folder, "coders"), conditions_of(folder)
    save(pareto(rows), folder / "pareto.svg")
    save(wirings(rows), folder / "wirings.svg")
    save(subjects(rows, about["residue_means_fvu"]), folder / "subjects.svg")
    save(concepts(read(folder, "concepts")), folder / "concepts.svg")


def pareto(rows: Sequence[Row]) -> Figure:
    """Every architecture at every sparsity: L0, FVU and loss recovered against each other."""
    figure, axes = _figure(3)
    own = [row for row in rows if (row["subject"], row["level"], row["hook"]) == ("trained", "token", "layer:2")]
    for axis, (x, y) in zip(axes, (("l0", "fvu"), ("l0", "recovered"), ("fvu", "recovered")), strict=True):
        for colour, marker, name in zip(COLOURS, MARKERS, ARCHITECTURES, strict=False):
            some = [row for row in own if row["wiring"] == "SAE" and row["architecture"] == name]
            line = sorted((row for row in some if row["seed"] == 0), key=lambda row: row[x])
            axis.plot([row[x] for row in line], [row[y] for row in line], color=colour, lw=1.2)
            axis.plot(
                [row[x] for row in some], [row[y] for row in some], marker, color=colour, ms=4.5, ls="", label=name
            )
        for name, marker in CONTROLS.items():
            some = [row for row in own if row["wiring"] == name and row["setting"] == K]
            axis.plot([row[x] for row in some], [row[y] for row in some], marker, color=GREY, ms=7, ls="",
                      label=f"{name}, {K}")  # fmt: skip
        axis.set(xlabel=LABELS[x], ylabel=LABELS[y], xscale="log", yscale="log" if y == "fvu" else "linear")
        if y == "recovered":
            _near_one(axis, [row["recovered"] for row in own if row["wiring"] == "SAE"])
    _plain(axes)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", frameon=False, fontsize=8, ncols=8)
    return figure


def _near_one(axis: Axes, shown: Sequence[float]) -> None:
    """Show where the trained coders are; what lies below is marked at the edge."""
    low = min(shown)
    edge = low - 0.12 * (max(*shown, 1.0) - low)
    for line in axis.lines:
        heights = np.asarray(line.get_ydata(), float)
        if line.get_color() == GREY and (heights < edge).any():
            line.set_ydata(np.maximum(heights, edge))
            for x, y in sorted({(float(a), float(b)) for a, b in zip(line.get_xdata(), heights, strict=True)})[:1]:
                axis.annotate(f"{y:.2f}", (x, edge), (5, 3), textcoords="offset points", fontsize=7, color="#666666")
    axis.axhline(1, color="black", lw=0.7, ls=":")


def wirings(rows: Sequence[Row]) -> Figure:
    """SAE, transcoders and controls: FVU of what each predicts, of residues and of proteins, and what is lost."""
    figure, axes = _figure(3, height=3.4, sharey=True)
    own = [row for row in rows if row["subject"] == "trained" and row["setting"] == K and row["architecture"] in
           ("topk", "neurons", "random")]  # fmt: skip
    panels: tuple[tuple[str, str, str], ...] = (
        ("token", "fvu", "FVU of what it predicts"),
        ("token", "kl", "KL from the clean prediction [nats]"),
        ("sequence", "fvu", "FVU of what it predicts"),
    )
    for axis, (level, measure, label) in zip(axes, panels, strict=True):
        for place, wiring in enumerate(WIRINGS):
            for hook, colour, shift in (("layer:2", COLOURS[0], -0.12), ("layer:3", COLOURS[1], 0.12)):
                found = [
                    row[measure] for row in own if (row["level"], row["wiring"], row["hook"]) == (level, wiring, hook)
                ]
                both = wiring in CONTROLS
                axis.plot(found, [place + shift * both] * len(found), "o", color=colour, ms=5, alpha=0.75, mew=0)
        axis.set(xscale="log", xlabel=label, title={"token": "residues", "sequence": "means over proteins"}[level])
        axis.grid(axis="y", lw=0.4, color="#dddddd")
    axes[0].set_yticks(range(len(WIRINGS)), WIRINGS)
    axes[0].invert_yaxis()
    for colour, label in zip(COLOURS, ("reads layer:2", "reads layer:3"), strict=False):
        axes[0].plot([], [], "o", color=colour, label=label)
    _plain(axes)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", frameon=False, fontsize=8, ncols=2)
    return figure


def subjects(rows: Sequence[Row], residue_means: dict[str, float]) -> Figure:
    """The same training on the trained and on untrained subjects, each measured on itself."""
    figure, axes = _figure(2)
    measures: tuple[tuple[str, Callable[[Row], float]], ...] = (
        ("FVU", lambda row: row["fvu"]),
        ("KL from the clean prediction [nats]", lambda row: row["kl"]),
    )
    names = sorted({row["subject"] for row in rows})
    for axis, (label, value) in zip(axes, measures, strict=True):
        for colour, name in zip(COLOURS, names, strict=False):
            own = [row for row in rows if (row["subject"], row["level"], row["wiring"]) == (name, "token", "SAE")]
            own = [row for row in own if row["architecture"] == "topk" and row["seed"] == 0]
            axis.plot([row["l0"] for row in own], [value(row) for row in own], "o-", color=colour, ms=5, label=name)
            if label == "FVU":
                axis.axhline(residue_means[name], color=colour, lw=0.9, ls=":")
        axis.set(xlabel=LABELS["l0"], ylabel=label, xscale="log", yscale="log")
    axes[0].plot([], [], color=GREY, ls=":", label="mean state of each amino acid")
    _plain(axes)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", frameon=False, fontsize=8, ncols=4)
    return figure


def concepts(rows: Sequence[Row]) -> Figure:
    """F1 of every annotated element's best feature, by coder and subject."""
    figure, (axis,) = _figure(1, width=8.0, height=3.8)
    parts: dict[str, np.ndarray] = {}
    for row in rows:
        parts.setdefault(f"{row['wiring']}\n{row['subject']}", []).append(row["f1"])  # type: ignore[attr-defined]
    shades = [COLOURS[0 if name.endswith("\ntrained") else 1] for name in parts]
    spread(axis, {name: np.array(found) for name, found in parts.items()}, shades)
    axis.axhline(0.5, color="black", lw=0.8, ls=":")
    axis.set(ylabel="F1 of a concept's best feature,\non groups it was not chosen on", ylim=(-0.02, 1))
    axis.tick_params("x", labelsize=7)
    _plain([axis])
    return figure


def _figure(n: int, width: float = 0.0, height: float = 3.4, **options: Any) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width or 3.5 * n, height), layout="constrained", dpi=150)
    return figure, list(np.atleast_1d(figure.subplots(1, n, **options)))


def _plain(axes: Sequence[Axes]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        for one, scale in ((axis.xaxis, axis.get_xscale()), (axis.yaxis, axis.get_yscale())):
            if scale == "log":
                low, high = sorted(one.get_view_interval())
                one.set_major_locator(LogLocator(subs=(1, 3) if high > 100 * low else (1, 2, 5)))
                one.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
                one.set_minor_formatter(NullFormatter())


if __name__ == "__main__":
    drawn_from(draw, __file__)
