"""From a cache to examples: lazy, group-disjoint, the same for a feature whatever the order it is asked in."""

from autointerp.features.embedding import embed_windows
from autointerp.features.loader import FeatureLoader
from autointerp.features.neighbours import co_occurring, nearest_features

__all__ = ["FeatureLoader", "co_occurring", "embed_windows", "nearest_features"]
