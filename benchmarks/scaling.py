"""How cost grows: caching with tokens, features and active features a token; loading with a feature's activations.

CPU seconds, one thread, the best of some turns at each size. Each series is fitted by a straight line `fixed + each ·
size` (least squares of relative errors) and by a power law over the sizes; where the fixed part is large (the model's
forward pass does not depend on the coder) the exponent is below 1 and the line is the statement. Caching runs the
package's `planted-esm` with TopK coders, 2,048 features and k 32 where they do not vary, so that what is measured is
mostly the coder and the writing; loading makes records of features that fire in short runs in a cache of 10 M tokens.
Prints JSON; `--plot FILE` draws it, `--read JSON` takes the numbers of an earlier run instead of measuring.

    python benchmarks/scaling.py --plot docs/images/scaling.svg
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from synthetic import make_cache, make_families, make_topk

HOOK = "layer:3"
TOKENS, FEATURES, K = 100_000, 2048, 32
SIZES = {
    "caching by tokens": (250_000, 500_000, 1_000_000, 2_000_000),
    "caching by features": (2048, 4096, 8192, 16_384),
    "caching by active features a token": (8, 16, 32, 64),
    "loading by activations": (3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000),
}
LOADED = 10_000_000
EACH = 5  # features of one size
LABELS = {
    "caching by tokens": ("tokens", "caching, CPU s", "token"),
    "caching by features": ("features of the coder", f"caching {TOKENS:,} tokens, CPU s", "feature"),
    "caching by active features a token": (
        "active features a token (k)", f"caching {TOKENS:,} tokens, CPU s", "active feature"
    ),
    "loading by activations": ("activations of the feature", "loading one feature, CPU s", "activation"),
}  # fmt: skip
"""Of both axes, and what one unit of the horizontal one is."""


def cpu_seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def caching(folder: Path, turns: int) -> dict[str, list[tuple[float, float]]]:
    """(size, CPU seconds) of every point of the three caching series, all of them once a turn."""
    import torch

    from autointerp.subjects import load_subject
    from caching.run import cache_activations
    from caching.settings import CacheSettings

    torch.set_num_threads(1)
    subject = load_subject("planted-esm")
    corpus = make_families(folder / "corpus", SIZES["caching by tokens"][-1] + 2000, np.random.default_rng(0))
    d = subject.hook(HOOK).d

    def once(n_tokens: int = TOKENS, n_features: int = FEATURES, k: int = K) -> tuple[int, float]:
        settings, coder, out = (
            CacheSettings(hook=HOOK, max_tokens=n_tokens),
            make_topk(n_features, d, k),
            folder / "out",
        )
        cache: Any = None

        def work() -> None:
            nonlocal cache
            cache = cache_activations(subject, coder, corpus, out, settings)

        seconds, tokens = cpu_seconds(work), cache.n_tokens
        shutil.rmtree(out)
        return tokens, seconds

    best: dict[tuple[str, float], float] = {}
    once(50_000)  # what happens at a first run only
    for _ in range(turns):
        for name, vary in zip(list(SIZES)[:3], ("n_tokens", "n_features", "k"), strict=True):
            for size in SIZES[name]:
                tokens, seconds = once(**{vary: size})
                key = name, tokens if vary == "n_tokens" else size
                best[key] = min(best.get(key, np.inf), seconds)
    return {name: [(size, s) for (series, size), s in best.items() if series == name] for name in list(SIZES)[:3]}


def loading(folder: Path, turns: int) -> list[tuple[float, float]]:
    """(activations, CPU seconds) of records, medians over features of one size."""
    from autointerp.features import FeatureLoader

    rng = np.random.default_rng(0)
    sizes = SIZES["loading by activations"]
    wanted = [-int(np.log1p(-n / LOADED) * LOADED) for n in sizes for _ in range(EACH)]
    corpus = make_families(folder / "loaded-corpus", LOADED, rng)
    cache = make_cache(folder / "loaded", corpus, wanted, [1.7] * len(wanted), rng)
    loader = FeatureLoader(cache, corpus, seed=0)
    loader[0]  # what is made once for all features
    seconds = np.full(len(wanted), np.inf)
    for _ in range(turns):
        for feature in range(len(wanted)):
            seconds[feature] = min(seconds[feature], cpu_seconds(lambda f=feature: loader[f]))
    counts = [len(cache[f][0]) for f in range(len(wanted))]
    columns = np.array([counts, seconds]).reshape(2, len(sizes), EACH)
    return [(int(n), float(s)) for n, s in np.median(columns, axis=2).T]


def fit(points: list[tuple[float, float]]) -> dict[str, float]:
    """A straight line by least squares of relative errors, and a power law."""
    size, seconds = np.array(points).T
    design = np.stack([np.ones_like(size), size], 1) / seconds[:, None]
    (fixed, each), *_ = np.linalg.lstsq(design, np.ones_like(seconds), rcond=None)
    return {
        "fixed_s": float(fixed),
        "each_ns": float(1e9 * each),
        "largest_relative_residual": float(np.abs((fixed + each * size) / seconds - 1).max()),
        "exponent": float(np.polyfit(np.log(size), np.log(seconds), 1)[0]),
    }


def draw(series: dict[str, dict[str, Any]], path: Path) -> None:
    """Both axes logarithmic; points, the straight line, and what was fitted."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams.update({"svg.hashsalt": "scaling", "font.size": 9, "svg.fonttype": "none"})
    figure = Figure(figsize=(8, 6), facecolor="white", layout="constrained")
    for axes, (name, found) in zip(figure.subplots(2, 2).flat, series.items(), strict=True):
        size, seconds = np.array(found["points"]).T
        line = found["fit"]
        x = np.geomspace(size.min(), size.max(), 100)
        axes.plot(x, line["fixed_s"] + 1e-9 * line["each_ns"] * x, color="#999999", lw=1.2)
        axes.plot(size, seconds, "o", color="#1f5a99", ms=5)
        axes.set(xscale="log", yscale="log", xlabel=LABELS[name][0], ylabel=LABELS[name][1])
        axes.set_xticks(SIZES[name], [short(n) for n in SIZES[name]])
        axes.minorticks_off()
        low, high = seconds.min(), seconds.max()
        marks = [m * 10.0**e for e in range(-5, 5) for m in (1, 2, 5)]
        inside = [m for m in marks if low / 1.5 <= m <= high * 1.5]
        inside = inside if len(inside) <= 7 else [m for m in inside if f"{m:e}".startswith("1")]
        axes.set_yticks(inside, [f"{m:g}" for m in inside])
        axes.set_title(
            f"{short_time(1e9 * line['fixed_s'])} + {short_time(line['each_ns'])} per {LABELS[name][2]} "
            f"(within {line['largest_relative_residual']:.0%})\nexponent {line['exponent']:.2f}",
            fontsize=9,
        )
        axes.set_axisbelow(True)
        axes.grid(color="#eeeeee")
        axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=120)


def short(n: int) -> str:
    """``2,048``, ``250k``, ``1M``."""
    for unit, name in ((1_000_000, "M"), (1000, "k")):
        if n % unit == 0:
            return f"{n // unit}{name}"
    return f"{n:,}"


def short_time(ns: float) -> str:
    """Nanoseconds in the unit that suits them."""
    for unit, name in ((1e9, "s"), (1e6, "ms"), (1e3, "µs")):
        if abs(ns) >= unit:
            return f"{ns / unit:.3g} {name}"
    return f"{ns:.3g} ns"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--read", type=Path)
    options = parser.parse_args()
    if options.read:
        result = json.loads(options.read.read_text())
    else:
        with tempfile.TemporaryDirectory() as name:
            points = caching(Path(name), options.turns)
            points["loading by activations"] = loading(Path(name), options.turns + 1)
        series = {name: {"points": found, "fit": fit(found)} for name, found in points.items()}
        versions = {"python": platform.python_version(), "numpy": np.__version__}
        result = {"benchmark": "scaling", "series": series, **versions}
        print(json.dumps(result, indent=1))
    if options.plot:
        draw(result["series"], options.plot)


if __name__ == "__main__":
    main()
