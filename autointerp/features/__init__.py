"""From a cache to examples: lazy, group-disjoint, the same for a feature whatever the order it is asked in."""

from autointerp.features.loader import FeatureLoader

__all__ = ["FeatureLoader"]
