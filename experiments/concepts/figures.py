"""Redraw the figures from the tables: ``python -m experiments.concepts.figures [FOLDER…]``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from autointerp.report.figures import grid
from experiments.common.drawing import COLOURS, GREY, drawn_from, save
from experiments.common.tables import conditions_of, read

Row = dict[str, Any]
CODERS = {"SAE": COLOURS[0], "random coder": COLOURS[1], "neurons": COLOURS[2]}
LINES = {"trained": "-", "random": ":"}
MARKERS = {0: "s", 8: "o"}
SHOWN = 24


def draw(folder: Path) -> None:
    """Features above each F1, by how often they fire, and every concept's best."""
    about = conditions_of(folder)
    title = f"{about['subject']} at {about['hook']}, {about['n_tokens']:,} residues, {about['n_concepts']} concepts"
    save(curves(read(folder, "curve"), title), folder / "curve.svg")
    save(rates(read(folder, "rates"), title), folder / "rates.svg")
    save(concepts(read(folder, "concepts"), title), folder / "concepts.svg")


def curves(rows: list[Row], title: str) -> Any:
    """Features whose best concept has a higher test F1, a panel for each k; grey: with the labels in other places."""
    ks = sorted({row["k"] for row in rows if row["k"]})
    figure, axes = grid(len(ks), across=2, height=3.8)
    for axis, k in zip(axes, ks, strict=True):
        here = [row for row in rows if row["k"] in (k, 0)]
        for name in dict.fromkeys(row["case"] for row in here):
            own = [row for row in here if row["case"] == name]
            x = [row["above"] for row in own]
            look = {"color": CODERS[own[0]["coder"]], "ls": LINES[own[0]["weights"]], "lw": 1.6}
            axis.step(x, [row["features"] or np.nan for row in own], where="post", label=name, **look)
            axis.step(x, [row["null"] or np.nan for row in own], where="post", color=GREY, ls=look["ls"], lw=0.8)
        axis.plot([], [], color=GREY, lw=0.8, label="labels in other places")
        axis.set(yscale="log", xlabel="test F1 of a feature's concept, above", ylabel="features", xlim=(0, 0.9))
        axis.set_title(f"k {k:g}", loc="left", fontsize=9, fontweight="bold")
        axis.axvline(0.5, color="black", lw=0.7, ls=":")
        axis.set_ylim(0.8, None)
        axis.legend(frameon=False, fontsize=6.5, loc="upper left", bbox_to_anchor=(0, -0.18), ncols=2)
    figure.suptitle(title, fontsize=9)
    return figure


def rates(rows: list[Row], title: str) -> Any:
    """Share of features with test F1 > .2, by the share of residues at which they fire."""
    names = list(dict.fromkeys(row["case"] for row in rows))
    figure, (axis,) = grid(1, height=3.4)
    figure.set_size_inches(9, 3.6)
    bins = list(dict.fromkeys((row["rate_from"], row["rate_to"]) for row in rows))
    width = 0.8 / len(names)
    for i, name in enumerate(names):
        own = {(row["rate_from"], row["rate_to"]): row for row in rows if row["case"] == name}
        first = next(iter(own.values()))
        place = np.arange(len(bins)) + (i - (len(names) - 1) / 2) * width
        share = [own[b]["found"] / max(own[b]["features"], 1) for b in bins]
        null = [own[b]["null"] / max(own[b]["features"], 1) for b in bins]
        hatch = "" if first["weights"] == "trained" else "////"
        axis.bar(place, share, width * 0.9, color=CODERS[first["coder"]], alpha=1 if first["k"] != 32 else 0.55,
                 hatch=hatch, edgecolor="white", lw=0, label=name)  # fmt: skip
        axis.plot(place, null, "_", color="black", ms=5)
        for x, y, b in zip(place, share, bins, strict=True):
            axis.text(x, y, f"{own[b]['features']:g}", ha="center", va="bottom", fontsize=4.5)
    axis.plot([], [], "_", color="black", label="labels in other places")
    axis.set_xticks(range(len(bins)), [f"{a:.0%} – {b:.0%}" for a, b in bins])
    axis.set(xlabel="share of residues at which a feature fires", ylabel="share with test F1 > .2")
    axis.legend(frameon=False, fontsize=6.5, loc="upper left", bbox_to_anchor=(1, 1))
    figure.suptitle(title, fontsize=9)
    return figure


def concepts(rows: list[Row], title: str) -> Any:
    """Test F1 of the feature that was chosen for each concept on valid, the best concepts on top."""
    names = list(dict.fromkeys(row["case"] for row in rows))
    best: dict[str, float] = {}
    for row in rows:
        best[row["concept"]] = max(best.get(row["concept"], 0.0), row["f1"])
    shown = sorted(best, key=lambda c: -best[c])[:SHOWN]
    figure, (axis,) = grid(1)
    figure.set_size_inches(8, 0.22 * len(shown) + 1.4)
    for name in names:
        own = {row["concept"]: row for row in rows if row["case"] == name}
        first = next(iter(own.values()))
        trained = first["weights"] == "trained"
        places = [i for i, c in enumerate(shown) if c in own]
        colour, marker = CODERS[first["coder"]], MARKERS.get(int(first["k"]), "D")
        look = {"color": colour, "mfc": colour if trained else "none", "ms": 4, "ls": "none", "alpha": 0.85}
        axis.plot([own[shown[i]]["f1"] for i in places], places, marker, label=name, **look)
    axis.set_yticks(range(len(shown)), shown, fontsize=7)
    axis.invert_yaxis()
    axis.axvline(0.5, color="black", lw=0.7, ls=":")
    axis.set(xlabel="F1 on test", xlim=(0, 1))
    axis.legend(frameon=False, fontsize=6.5, loc="upper left", bbox_to_anchor=(1, 1))
    figure.suptitle(title, fontsize=9)
    return figure


if __name__ == "__main__":
    drawn_from(draw, __file__)
