"""Which features fire where on given sequences, and what is known of them, from a run's saved tables."""

from autointerp.annotating.firing import Annotated, Firing, annotate, iter_annotated
from autointerp.annotating.studied import load_studied
from autointerp.annotating.tables import FeatureTables

__all__ = ["Annotated", "FeatureTables", "Firing", "annotate", "iter_annotated", "load_studied"]
