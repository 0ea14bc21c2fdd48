"""What biology already knows beside what a feature does: annotated concepts and the features that find them."""

from autointerp.biology.concepts import ConceptMatch, match_concepts

__all__ = ["ConceptMatch", "match_concepts"]
