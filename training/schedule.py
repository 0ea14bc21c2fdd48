"""The learning rate over a training."""

from __future__ import annotations


def trapezoid(step: int, n_steps: int, warmup: float, decay: float) -> float:
    """Multiplier of the peak rate at ``step`` (0 … n_steps − 1): linear rise, plateau, linear fall.

    Parameters
    ----------
    warmup, decay : shares of the steps; the first and the last step are above zero.
    """
    rise = (step + 1) / (warmup * n_steps + 1)
    fall = (n_steps - step) / (decay * n_steps + 1)
    return min(1.0, rise, fall)
