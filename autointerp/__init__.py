"""autointerp: explain and score the features of sparse coders on protein and text language models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autointerp.cache import ActivationCache as ActivationCache
    from autointerp.clients import connect as connect
    from autointerp.coders import load_coder as load_coder
    from autointerp.corpus import Corpus as Corpus
    from autointerp.explainers import DefaultExplainer as DefaultExplainer
    from autointerp.features import FeatureLoader as FeatureLoader
    from autointerp.pipeline import Pipeline as Pipeline
    from autointerp.pipeline import drive as drive
    from autointerp.pipeline import flow as flow
    from autointerp.pipeline import pipe as pipe
    from autointerp.report import write_report as write_report
    from autointerp.scorers import DetectionScorer as DetectionScorer
    from autointerp.scorers import FuzzingScorer as FuzzingScorer
    from autointerp.store import RunStore as RunStore
    from autointerp.subjects import load_subject as load_subject

_HOMES = {
    "ActivationCache": "cache",
    "Corpus": "corpus",
    "DefaultExplainer": "explainers",
    "DetectionScorer": "scorers",
    "FeatureLoader": "features",
    "FuzzingScorer": "scorers",
    "Pipeline": "pipeline",
    "RunStore": "store",
    "connect": "clients",
    "drive": "pipeline",
    "flow": "pipeline",
    "load_coder": "coders",
    "load_subject": "subjects",
    "pipe": "pipeline",
    "write_report": "report",
}
__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'autointerp' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"autointerp.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
