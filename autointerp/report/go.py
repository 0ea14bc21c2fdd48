"""Tables and figures of a GO study, in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autointerp.biology.writing import write_table
from autointerp.files import atomic, write_json, write_text
from autointerp.report.drawing import COLOURS, NULL, dots, figure_of, grid, legend, plain, svg, titled

if TYPE_CHECKING:
    import pyarrow as pa
    from matplotlib.figure import Figure

    from autointerp.biology.go_study import GoStudy
    from autointerp.biology.structure import Structure

SHADES = {"feature": COLOURS[0], "constrained": COLOURS[1], "whole": NULL}
SAID = {"feature": "features", "constrained": "random, annotated terms", "whole": "random, all terms"}
LABELS = {
    "path": "terms on the shortest path",
    "lca_depth": "depth of the common ancestor",
    "lin": "Lin",
    "wang": "Wang",
}
LEAST = 5
"""Boxes of fewer values are not drawn."""
NOTCHED = 20
"""Of fewer values a median's interval reaches past the quartiles, and a notch shows nothing."""


def write_go(study: GoStudy, structure: Structure | None, out: Path, *, seed: bool = False) -> list[str]:
    """Write the tables, ``summary.json`` and ``figures/`` of a study into ``out``; return the names.

    Parameters
    ----------
    seed : write ``goe_per_feature.csv`` too, with the protein seed's columns.
    """
    tables = {"enrichment": study.rows(), "features": study.features(), "terms": study.terms()}
    summary = study.summary()
    if structure is not None:
        tables |= {"structure": structure.units, "pairs": structure.pairs}
        summary["structure_tests"] = structure.tests()
    for name, table in tables.items():
        write_table(out / name, table, csv=name != "pairs")
    if seed:
        write_table(out / "goe_per_feature", seed_columns(tables["enrichment"]), parquet=False)
    write_json(out / "summary.json", summary)
    drawn = {} if structure is None else figures(structure)
    for name, figure in drawn.items():
        write_text(out / "figures" / f"{name}.svg", svg(figure))
        with atomic(out / "figures" / f"{name}.png") as path:
            figure.savefig(path, format="png", dpi=130)
    return [*tables, *(["goe_per_feature"] if seed else []), *(f"figures/{name}" for name in drawn)]


def seed_columns(table: pa.Table) -> pa.Table:
    """Feature, Term, Name and pvalues (after Bonferroni), as the protein seed writes them for each feature."""
    return table.select(["feature", "term", "name", "bonferroni"]).rename_columns(
        ["Feature", "Term", "Name", "pvalues"]
    )


def figures(structure: Structure) -> dict[str, Figure]:
    """By name: one joint plot, and for each namespace the measures and the paths by depth."""
    units, pairs = columns_of(structure.units), columns_of(structure.pairs)
    if not len(units["feature"]):
        return {}
    drawn = {"jointplot": joint(units)}
    for namespace in dict.fromkeys(units["namespace"].tolist()):
        drawn[f"measures_{namespace}"] = measures({k: v[units["namespace"] == namespace] for k, v in units.items()})
        here = {k: v[pairs["namespace"] == namespace] for k, v in pairs.items()}
        for kind in ("constrained", "whole"):
            title = f"{namespace.replace('_', ' ')}, {SAID[kind]}"
            drawn[f"groupplot_{namespace}_{kind}"] = by_depth(boxes_by_depth(here, kind), title)
    return drawn


def columns_of(table: pa.Table) -> dict[str, np.ndarray]:
    """Columns as NumPy arrays, names as text."""
    import pyarrow as pa

    kept = [n for n in table.column_names if not n.startswith("term_")]
    columns = {n: table[n].cast(pa.string()) if pa.types.is_dictionary(table[n].type) else table[n] for n in kept}
    return {name: np.asarray(column.to_numpy()) for name, column in columns.items()}


def joint(units: dict[str, np.ndarray]) -> Figure:
    """The seed's joint plot: mean depth of the common ancestors against mean path of each feature, with histograms."""
    figure = figure_of(6.4, 5.6)
    layout = figure.add_gridspec(2, 2, width_ratios=(4, 1), height_ratios=(1, 4))
    axis = plain(figure.add_subplot(layout[1, 0]), lines="both")
    top = plain(figure.add_subplot(layout[0, 0], sharex=axis))
    side = plain(figure.add_subplot(layout[1, 1], sharey=axis))
    known = ~np.isnan(units["lca_depth"]) & ~np.isnan(units["path"])
    across, up = (np.histogram_bin_edges(units[name][known], 30) for name in ("lca_depth", "path"))
    for kind in ("whole", "constrained", "feature"):
        mine = known & (units["kind"] == kind)
        x, y = units["lca_depth"][mine], units["path"][mine]
        dots(axis, x, y, SHADES[kind])
        axis.plot([], [], "o", ms=4, color=SHADES[kind], label=f"{SAID[kind]}, {len(x):,}")
        if len(x):
            top.hist(x, across, color=SHADES[kind], alpha=0.6, density=True)
            side.hist(y, up, color=SHADES[kind], alpha=0.6, density=True, orientation="horizontal")
    axis.set(xlabel=f"mean {LABELS['lca_depth']}", ylabel=f"mean {LABELS['path']}")
    for other in (top, side):
        other.tick_params(labelleft=False, labelbottom=False, length=0)
        other.spines["bottom"].set_visible(False)
        other.grid(False)
    titled(top, "Terms of a feature")
    legend(axis)
    return figure


def measures(units: dict[str, np.ndarray]) -> Figure:
    """Ours: each feature's mean of each measure beside as many random terms; a dot a feature."""
    figure, axes = grid(len(LABELS), across=4)
    jitter = np.random.default_rng(0)
    for axis, (name, label) in zip(axes, LABELS.items(), strict=True):
        for place, kind in enumerate(SHADES):
            values = units[name][units["kind"] == kind]
            values = values[~np.isnan(values)]
            if len(values) >= LEAST:
                axis.boxplot(values, positions=[place], widths=0.6, showfliers=False, medianprops={"color": "black"})
            shown = jitter.choice(values, min(len(values), 1500), replace=False) if len(values) else values
            axis.scatter(
                place + jitter.uniform(-0.22, 0.22, len(shown)), shown, s=5, color=SHADES[kind], alpha=0.4, lw=0
            )
        axis.set_xticks(range(len(SHADES)), ["features", "random,\nannotated", "random,\nall"], fontsize=8)
        titled(axis, label)
        axis.set(xlim=(-0.6, len(SHADES) - 0.4))
    axes[0].set(ylabel="mean over a feature's pairs of terms")
    n = int((units["kind"] == "feature").sum())
    figure.suptitle(
        f"{str(units['namespace'][0]).replace('_', ' ')}: {n:,} features with two terms or more", fontsize=9
    )
    return figure


def by_depth(boxes: list[dict[str, Any]], title: str) -> Figure:
    """The seed's grouped box plot: paths of pairs by the depth of their common ancestor, features and random terms.

    Stars are of Welch's test between the means of each feature's pairs in the box, not between pairs: * p < .05,
    ** p < .001, *** p < .0001.

    Parameters
    ----------
    boxes : of :func:`boxes_by_depth`.
    """
    figure, (axis,) = grid(1)
    deepest = int(max((box["depth"] for box in boxes), default=0))
    kinds = [kind for kind in SHADES if any(box["kind"] == kind for box in boxes)]
    figure.set_size_inches(max(4.6, 0.62 * (deepest + 1) + 1.5), 3.4)
    for box in boxes:
        place = box["depth"] + (-0.2 if box["kind"] == "feature" else 0.2)
        drawn: Any = axis.bxp(
            [box], positions=[place], widths=0.34, shownotches=box["n"] >= NOTCHED, patch_artist=True, showfliers=False,
            medianprops={"color": "black"}, manage_ticks=False,
        )  # fmt: skip
        drawn["boxes"][0].set(facecolor=SHADES[box["kind"]], alpha=0.75)
        if box["stars"]:
            axis.text(box["depth"], 1.0, box["stars"], transform=axis.get_xaxis_transform(), ha="center", fontsize=9)
    for kind in kinds:
        axis.plot([], [], color=SHADES[kind], lw=6, alpha=0.75, label=SAID[kind])
    axis.set_xticks(range(deepest + 1))
    axis.set(xlabel=LABELS["lca_depth"], ylabel=LABELS["path"], xlim=(-0.6, deepest + 0.6))
    axis.set_title(title, loc="left", fontsize=9, fontweight="bold", pad=16)
    legend(axis, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def boxes_by_depth(pairs: dict[str, np.ndarray], baseline: str) -> list[dict[str, Any]]:
    """Quartiles, whiskers and notches of the paths at each depth, of features and of ``baseline``; few numbers a box.

    ``stars`` compares both, and stands at the features' box.
    """
    from matplotlib.cbook import boxplot_stats

    known = ~np.isnan(pairs["lca_depth"]) & ~np.isnan(pairs["path"])
    boxes = []
    for depth in range(int(pairs["lca_depth"][known].max(initial=0)) + 1):
        here = known & (pairs["lca_depth"] == depth)
        both = {kind: here & (pairs["kind"] == kind) for kind in ("feature", baseline)}
        stars = _stars(*(_means(pairs, rows) for rows in both.values()))
        for kind, rows in both.items():
            if rows.sum() < LEAST:
                continue
            (found,) = boxplot_stats(pairs["path"][rows])
            numbers = {name: float(found[name]) for name in ("whislo", "q1", "cilo", "med", "cihi", "q3", "whishi")}
            own = stars if kind == "feature" else ""
            boxes.append({"depth": depth, "kind": kind, "n": int(rows.sum()), **numbers, "stars": own})
    return boxes


def _means(pairs: dict[str, np.ndarray], rows: np.ndarray) -> np.ndarray:
    """Mean path of each feature over the pairs in ``rows``."""
    _, unit = np.unique(pairs["feature"][rows], return_inverse=True)
    return np.bincount(unit, pairs["path"][rows]) / np.bincount(unit).clip(1)


def _stars(own: np.ndarray, other: np.ndarray) -> str:
    from autointerp.biology.structure import welch

    if min(len(own), len(other)) < LEAST:
        return ""
    p = welch(own, other)[2]
    return "*" * sum(bool(p < level) for level in (0.05, 0.001, 0.0001)) or "n.s."
