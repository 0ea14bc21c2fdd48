"""The area under the ROC curve: how well a judge's probabilities rank active contexts above silent ones."""

from __future__ import annotations

import math

import numpy as np


def auroc(truth: np.ndarray, values: np.ndarray) -> float:
    """Probability that a random positive's value exceeds a random negative's, ties counting half; NaN without both.

    Parameters
    ----------
    truth : (n,) booleans. values : (n,) finite numbers, larger where the positive class is likelier.

    Notes
    -----
    The Mann–Whitney statistic (Hanley & McNeil 1982): (R − m(m + 1)/2) / (m (n − m)), R being the sum of the mid-ranks
    of the m positives.
    """
    truth = np.asarray(truth, bool)
    m = int(truth.sum())
    if m in (0, len(truth)):
        return math.nan
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - (counts - 1) / 2
    ranks = float(middle[place][truth].sum())
    return (ranks - m * (m + 1) / 2) / (m * (len(truth) - m))
