"""What shape a feature's activations have in a sequence, and where in it they stand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from autointerp.analysis.firing import Fired

ABOVE = 0.1
"""Share of a feature's maximum that an activation must exceed to count for its pattern and its logo."""
LONGEST_GAP = 512
"""Distances between the starts of two runs from which on they are one class, which counts as no period."""
LEAST = 5
"""Sequences that a pattern needs."""
AT_AN_END = 0.5
"""Share of the activation in the first or the last fifth of the sequences that makes a feature one of that end."""


def shapes(fired: Fired, strongest: np.ndarray, length: np.ndarray) -> dict[str, np.ndarray]:
    """Pattern and position of each feature of a chunk: columns of ``features.parquet``.

    Medians are over the strongest sequences: ``median_run`` of the length of the run around the peak, ``coverage`` of
    the share of tokens that are active. ``period`` is the commonest distance between the starts of consecutive runs
    (0 for none) and ``periodicity`` the share of the two commonest. Positions are over all activations.

    Parameters
    ----------
    strongest : rows of ``fired``, those of a feature behind each other. length : (n_sequences,) tokens of each.

    Notes
    -----
    The classes are InterProt's (Adams et al. 2025): periodic (periodicity above .5, more than 10 runs a sequence,
    shorter than 10), point (a run of 1), short (up to 20), medium (up to 50), long (up to 300, less than 80 % of the
    sequence), whole (80 % or more), else other; ``few`` in fewer than 5 sequences, ``dead`` never.
    """
    n_rows = np.bincount(fired.feature, minlength=fired.n)
    sizes = np.bincount(fired.feature[strongest], minlength=fired.n)
    run = medians(fired.run[strongest], sizes)
    runs = medians(fired.runs[strongest], sizes)
    coverage = medians(fired.active[strongest] / length[fired.sequence[strongest]], sizes)
    gaps = _gaps(fired, strongest)
    known, n_gaps = gaps[:, :-1], gaps.sum(1)
    of_two = np.partition(known, -2, axis=1)[:, -2:].sum(1) / np.maximum(n_gaps, 1)
    mass, silent = fired.mass, fired.mass[:, 0] == 0
    classes = {
        "dead": silent,
        "few": n_rows < LEAST,
        "periodic": (of_two > 0.5) & (runs > 10) & (run < 10),
        "point": run == 1,
        "short": run <= 20,
        "medium": run <= 50,
        "long": (run <= 300) & (coverage < 0.8),
        "whole": coverage >= 0.8,
    }
    total = np.where(silent, np.nan, mass[:, 0])
    mean, square, start, end = (mass[:, i] / total for i in range(1, 5))
    ends = [(n_rows >= LEAST) & (share >= AT_AN_END) for share in (start, end)]
    return {
        "pattern": np.select(list(classes.values()), list(classes), "other"),
        "median_run": run,
        "coverage": coverage,
        "period": known.argmax(1),
        "periodicity": np.where(n_gaps > 0, of_two, np.nan),
        "position_mean": mean,
        "position_sd": np.sqrt(np.maximum(square - mean**2, 0)),
        "position_start": start,
        "position_end": end,
        "position_class": np.select(ends, ["start", "end"], "none"),
    }


def _gaps(fired: Fired, rows: np.ndarray) -> np.ndarray:
    """(n, LONGEST_GAP + 1) how often runs in these rows start so far from the next; the last column is all longer."""
    kept = np.zeros(len(fired.feature), bool)
    kept[rows] = True
    gap, row = fired.gap[kept[fired.gap_row]], fired.gap_row[kept[fired.gap_row]]
    cell = fired.feature[row] * np.int64(LONGEST_GAP + 1) + np.minimum(gap, LONGEST_GAP)
    return np.bincount(cell, minlength=fired.n * (LONGEST_GAP + 1)).reshape(fired.n, -1)


def medians(values: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Median of each of the segments, of ``sizes``, that lie behind each other in ``values``; NaN of an empty one."""
    first = np.cumsum(sizes) - sizes
    ordered = values[np.lexsort((values, np.repeat(np.arange(len(sizes)), sizes)))].astype(np.float64)
    if not len(ordered):
        return np.full(len(sizes), np.nan)
    low, high = first + np.maximum(sizes - 1, 0) // 2, first + sizes // 2
    last = len(ordered) - 1
    return np.where(sizes > 0, (ordered[np.minimum(low, last)] + ordered[np.minimum(high, last)]) / 2, np.nan)
