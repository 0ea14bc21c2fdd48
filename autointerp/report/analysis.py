"""Figures of an analysis: how often features fire and in what shape, their map by cluster and GO namespace, logos."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autointerp.analysis import Analysis
from autointerp.files import atomic, write_text
from autointerp.report.drawing import COLOURS, FULL, NULL, RASTER, figure_of, grid, legend, plain, svg, titled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMESPACES = {
    "biological_process": COLOURS[0],
    "molecular_function": COLOURS[1],
    "cellular_component": COLOURS[2],
}
PATTERNS = ("point", "short", "medium", "long", "whole", "periodic", "other", "few", "dead")
CHEMISTRY = {
    "KRH": COLOURS[0],
    "DE": COLOURS[1],
    "AVILMC": NULL,
    "FWY": COLOURS[3],
    "STNQ": COLOURS[2],
    "GP": COLOURS[4],
}
"""Residues of a logo by chemistry: basic, acidic, hydrophobic, aromatic, polar, special."""
SHOWN = 8
"""Logos in the figure."""


def write_figures(run: Path) -> list[str]:
    """Draw what the analysis in ``run`` has into its folder ``figures``, as SVG and PNG; return the names."""
    analysis = Analysis.open(run)
    if analysis is None:
        return []
    drawn = {"overview": overview(analysis), "map": feature_map(analysis), "logos": logos(analysis)}
    if (found := namespaces(run, len(analysis.features))) is not None:
        drawn["map_go"] = go_map(analysis, found)
    names = []
    for name, figure in drawn.items():
        if figure is None:
            continue
        names.append(f"figures/{name}")
        write_text(analysis.path / f"{names[-1]}.svg", svg(figure))
        with atomic(analysis.path / f"{names[-1]}.png") as path:
            figure.savefig(path, format="png", dpi=130)
    return names


def overview(analysis: Analysis) -> Figure:
    """How often features fire; with positions also in what shape, and where in the sequence."""
    table = {name: analysis.features[name].to_numpy(zero_copy_only=False) for name in analysis.features.column_names}
    shaped = analysis.features["pattern"].null_count < len(analysis.features)
    figure, axes = grid(3 if shaped else 1, 3, 2.9)
    alive = table["frequency"] > 0
    rate = np.log10(table["frequency"][alive])
    axes[0].hist(rate, 40, color=COLOURS[0], alpha=0.7)
    axes[0].axvline(np.log10(analysis.manifest["settings"]["dense"]), color=COLOURS[1], lw=1.2, ls="--", label="dense")
    silent = f", {int((~alive).sum()):,} never" if not alive.all() else ""
    titled(axes[0], f"how often they fire{silent}", xlabel="log10 of the share of tokens", ylabel="features")
    legend(axes[0], loc="upper left")
    if shaped:
        _patterns(axes[1], table["pattern"])
        mean, spread = table["position_mean"][alive].astype(float), table["position_sd"][alive].astype(float)
        for name, colour in (("none", NULL), ("start", COLOURS[0]), ("end", COLOURS[1])):
            here = table["position_class"][alive] == name
            _points(
                axes[2], mean[here], spread[here], colour, f"{name if name != 'none' else 'neither'}, {here.sum():,}"
            )
        plain(axes[2], lines="both")
        axes[2].axhline(12**-0.5, color=NULL, lw=0.9, ls=":")
        titled(axes[2], "where they fire", xlabel="mean relative position", ylabel="standard deviation", xlim=(0, 1))
        axes[2].set_ylim(0, None)
        legend(axes[2], loc="lower center")
    return figure


def _patterns(axis: Axes, pattern: np.ndarray) -> None:
    counts = {name: int((pattern == name).sum()) for name in PATTERNS}
    shown = [name for name in PATTERNS if counts[name]][::-1]
    bars = axis.barh(shown, [counts[name] for name in shown], color=COLOURS[0], alpha=0.7, height=0.65)
    axis.bar_label(bars, [f"{counts[name]:,}" for name in shown], padding=3, fontsize=8)
    plain(axis, lines="x")
    axis.grid(visible=False, axis="y")
    axis.margins(x=0.18)
    titled(axis, "pattern", xlabel="features")


def _points(axis: Axes, x: np.ndarray, y: np.ndarray, colour: str, label: str, size: float = 9) -> None:
    axis.scatter(x, y, s=size, color=colour, alpha=0.65, edgecolors="none", rasterized=len(x) > RASTER)
    axis.plot([], [], "o", ms=4, color=colour, label=label)


def _map(analysis: Analysis) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """x, y and cluster of all features, NaN where there is no place."""
    table = analysis.features
    if table["x"].null_count == len(table):
        return None
    return tuple(table[name].to_numpy(zero_copy_only=False).astype(float) for name in ("x", "y", "cluster"))  # type: ignore[return-value]


def feature_map(analysis: Analysis) -> Figure | None:
    """The map with its clusters in colour; neighbouring clusters may share one."""
    if (found := _map(analysis)) is None:
        return None
    x, y, cluster = found
    figure = figure_of(FULL * 0.7, FULL * 0.55)
    axis = _bare(figure.add_subplot())
    size = _size(len(x))
    alone = cluster == -1
    _points(axis, x[alone], y[alone], NULL, "", size)
    for i, colour in enumerate(COLOURS):
        here = (cluster >= 0) & (cluster % len(COLOURS) == i)
        axis.scatter(x[here], y[here], s=size, color=colour, alpha=0.75, edgecolors="none", rasterized=len(x) > RASTER)
    n = len(np.unique(cluster[cluster >= 0]))
    axis.set_title(
        f"{n:,} clusters of {int((cluster >= 0).sum()):,} features; {alone.sum():,} in none (grey)",
        fontsize=9, loc="left", fontweight="bold",
    )  # fmt: skip
    return figure


def go_map(analysis: Analysis, namespace: np.ndarray) -> Figure | None:
    """The map by the GO namespace of each feature's strongest term, and what each cluster's features have."""
    if (found := _map(analysis)) is None:
        return None
    x, y, cluster = found
    figure = figure_of(FULL, FULL * 0.46)
    layout = figure.add_gridspec(1, 2, width_ratios=(3, 2))
    axis = _bare(figure.add_subplot(layout[0]))
    placed, size = ~np.isnan(x), _size(len(x))
    for name, colour in {"": NULL, **NAMESPACES}.items():
        here = placed & (namespace == name)
        _points(axis, x[here], y[here], colour, f"{_said(name)}, {here.sum():,}", size)
    titled(axis, "namespace of the strongest term")
    legend(axis, loc="upper left", bbox_to_anchor=(0, -0.01), ncols=2)
    _bars(plain(figure.add_subplot(layout[1]), lines="x"), cluster, namespace)
    return figure


def _bars(axis: Axes, cluster: np.ndarray, namespace: np.ndarray, most: int = 20) -> None:
    """The largest clusters as bars of shares by namespace."""
    sizes = np.bincount(cluster[cluster >= 0].astype(int))
    largest = np.argsort(-sizes, kind="stable")[:most][::-1]
    largest = largest[sizes[largest] > 0]
    left = np.zeros(len(largest))
    for name, colour in {**NAMESPACES, "": NULL}.items():
        share = np.array([(namespace[cluster == c] == name).mean() for c in largest])
        axis.barh(range(len(largest)), share, left=left, color=colour, alpha=0.75, height=0.75)
        left += share
    axis.set_yticks(range(len(largest)), [f"{c} ({sizes[c]})" for c in largest])
    axis.grid(visible=False)
    own, shuffled = same_namespace(cluster, namespace)
    said = f"pairs of a cluster that agree: {own:.0%}, shuffled {shuffled:.0%}"
    titled(axis, said, xlabel="share of features, largest clusters", ylabel="cluster (features)", xlim=(0, 1))


def same_namespace(cluster: np.ndarray, namespace: np.ndarray, draws: int = 100, seed: int = 0) -> tuple[float, float]:
    """Share of the pairs of features of one cluster that have one namespace, and its mean with the namespaces shuffled.

    Features without a cluster or a namespace are left out; NaN where no pair remains.
    """
    kept = (cluster >= 0) & (namespace != "")
    _, place = np.unique(cluster[kept], return_inverse=True)
    _, kind = np.unique(namespace[kept].astype(str), return_inverse=True)
    rng, shares = np.random.default_rng(seed), []
    for draw in range(draws + 1):
        drawn = rng.permutation(kind) if draw else kind
        counts = np.zeros((place.max(initial=-1) + 1, kind.max(initial=-1) + 1))
        np.add.at(counts, (place, drawn), 1)
        total = counts.sum(1)
        pairs = (total * (total - 1)).sum()
        shares.append(float((counts * (counts - 1)).sum() / pairs) if pairs else float("nan"))
    return shares[0], float(np.mean(shares[1:]))


def _said(namespace: str) -> str:
    return namespace.replace("_", " ") or "none"


def _size(n: int) -> float:
    """Area of a point on a map of ``n``."""
    return float(np.clip(16000 / max(n, 1), 1.5, 14))


def _bare(axis: Axes) -> Axes:
    """An axis of a map, whose numbers mean nothing."""
    plain(axis)
    axis.grid(visible=False)
    axis.set(xticks=[], yticks=[], aspect="equal")
    axis.spines["bottom"].set_visible(False)
    return axis


def namespaces(run: Path, n_features: int) -> np.ndarray | None:
    """(n_features,) namespace of each feature's most significant over-represented GO term, "" for none.

    None where ``autointerp go`` has not written into RUN/go.
    """
    path = run / "go" / "enrichment.parquet"
    if not path.exists():
        return None
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = ("feature", "namespace", "fold", "p")
    table = pq.read_table(path, columns=[n for n in names if n in pq.read_schema(path).names])
    columns: dict[str, Any] = {n: table[n] for n in table.column_names}
    columns["namespace"] = columns["namespace"].cast(pa.string())
    arrays = {n: np.asarray(c.to_numpy(zero_copy_only=False)) for n, c in columns.items()}
    order = np.argsort(arrays["p"], kind="stable")[::-1]
    if "fold" in arrays:
        order = order[arrays["fold"][order] > 1]
    found = np.full(n_features, "", object)
    found[arrays["feature"][order]] = arrays["namespace"][order]  # the strongest is written last
    return found


def logos(analysis: Analysis) -> Figure | None:
    """Residue logos of the features with most information around their peak, no two with the same middle."""
    table = analysis.table("logo")
    if table is None or analysis.manifest["kind"] != "protein" or not table.num_rows:
        return None
    rows = {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}
    n = np.zeros(len(analysis.features))
    np.maximum.at(n, rows["feature"], rows["n"])
    bits = np.bincount(rows["feature"], rows["bits"], len(n)) * (n >= 20)
    chosen: dict[str, int] = {}
    middle = (np.abs(rows["offset"]) <= 1) & np.append(True, np.diff(rows["offset"]) != 0)  # the highest stands first
    for feature in np.argsort(-bits, kind="stable")[: 50 * SHOWN].tolist():
        consensus = "".join(rows["symbol"][middle & (rows["feature"] == feature)])
        if bits[feature] > 0 and len(chosen) < SHOWN:
            chosen.setdefault(consensus, feature)
    figure, axes = grid(len(chosen), 2, 1.55) if chosen else (None, [])
    for axis, feature in zip(axes, sorted(chosen.values()), strict=True):
        _logo(axis, rows, feature)
        titled(axis, f"feature {feature}, {n[feature]:.0f} peaks", ylabel="bits")
    return figure


def _logo(axis: Axes, rows: dict[str, np.ndarray], feature: int) -> None:
    """Letters as high as their bits, the highest on top, at each offset from the peak."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.patches import PathPatch
    from matplotlib.textpath import TextPath
    from matplotlib.transforms import Affine2D

    font = FontProperties(family="DejaVu Sans", weight="bold")
    here = rows["feature"] == feature
    offsets, symbols, heights = (rows[name][here] for name in ("offset", "symbol", "bits"))
    top = 0.0
    for offset in np.unique(offsets):
        base = 0.0
        for i in np.flatnonzero(offsets == offset)[::-1]:
            path = TextPath((0, 0), symbols[i], size=1, prop=font)
            box = path.get_extents()
            scale = Affine2D().translate(-box.x0, -box.y0).scale(0.86 / box.width, heights[i] / box.height)
            colour = next((c for residues, c in CHEMISTRY.items() if symbols[i] in residues), NULL)
            axis.add_patch(PathPatch(scale.translate(offset - 0.43, base).transform_path(path), color=colour, lw=0))
            base += heights[i]
        top = max(top, base)
    axis.set(xlim=(-10.6, 10.6), ylim=(0, top * 1.05), xticks=range(-10, 11, 5))
