"""Scorers: how well an explanation predicts held-out examples. One file each, its prompts beside it."""

from autointerp.scorers.detection import DetectionScorer
from autointerp.scorers.fuzzing import FuzzingScorer
from autointerp.scorers.injection import flip_rate, inject
from autointerp.scorers.registry import scorer

__all__ = ["DetectionScorer", "FuzzingScorer", "flip_rate", "inject", "scorer"]
