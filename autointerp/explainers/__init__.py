"""Explainers: what a feature responds to, in words. One file each."""

from autointerp.explainers.default import DefaultExplainer
from autointerp.explainers.registry import explainer

__all__ = ["DefaultExplainer", "explainer"]
