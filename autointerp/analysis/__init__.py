"""What can be said of features without an LLM: statistics, shapes, logos, neighbours, maps, effects on the logits."""

from autointerp.analysis.reading import Analysis

__all__ = ["Analysis"]
