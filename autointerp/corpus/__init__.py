"""Corpora on disk: sequences with metadata, groups and annotations, and the importers that make them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autointerp.corpus.corpus import Corpus as Corpus
    from autointerp.corpus.corpus import Sequence_ as Sequence_
    from autointerp.corpus.entries import Source as Source
    from autointerp.corpus.filters import Filters as Filters
    from autointerp.corpus.importing import Imported as Imported
    from autointerp.corpus.importing import import_corpus as import_corpus
    from autointerp.corpus.planted import Planted as Planted
    from autointerp.corpus.planted import planted_proteome as planted_proteome

_HOMES = {
    "Corpus": "corpus",
    "Sequence_": "corpus",
    "Source": "entries",
    "Filters": "filters",
    "Imported": "importing",
    "import_corpus": "importing",
    "Planted": "planted",
    "planted_proteome": "planted",
}
__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
