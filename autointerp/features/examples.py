"""From sites to examples: the text, the tokens and the activations of each context."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from autointerp.cache.reader import ActivationCache
from autointerp.features.contexts import Bins, Sites
from autointerp.records import Example

if TYPE_CHECKING:
    from autointerp.corpus import Corpus


class Cutter:
    """Cuts contexts out of a corpus.

    Parameters
    ----------
    cache, corpus : they must belong together. bins : how sequences are cut. context : the most tokens of a context.
    """

    def __init__(self, cache: ActivationCache, corpus: Corpus, bins: Bins, context: int) -> None:
        self.cache, self.corpus, self.bins, self.context = cache, corpus, bins, context
        self.by_sequence = cache.level == "sequence"

    def examples(
        self, sites: Sites, kinds: list[str], quantile: np.ndarray, tokens: np.ndarray, values: np.ndarray
    ) -> Iterator[Example]:
        """The examples at ``sites``.

        Parameters
        ----------
        kinds, quantile : one for each site. tokens, values : where the feature fires, int64, and float32 activations.
        """
        base, after = self.cache.offsets[sites.sequence], self.cache.offsets[sites.sequence + 1]
        if self.by_sequence:
            start, stop = base, np.minimum(after, base + self.context)
            activations = np.broadcast_to(sites.peak[:, None], (len(sites), self.context))
        else:
            start, stop = self.bins.extent(sites.sequence, sites.position)
            activations = self._activations(start, stop, tokens, values)
        # lists of Python numbers and `map`: 200 examples a feature are most of the loader's time
        rows, first, size = sites.sequence.tolist(), (start - base).tolist(), (stop - start).tolist()
        texts, ends = self._cut(rows, first, size, base.tolist())
        strength = [a if n == self.context else a[:n] for a, n in zip(activations, size, strict=True)]
        groups, lengths = self.corpus.groups[sites.sequence].tolist(), (after - base).tolist()
        metadata = map(partial(_Metadata, self.corpus), rows)
        return map(Example, rows, first, texts, ends, strength, groups, kinds, quantile.tolist(), lengths, metadata)

    def _cut(
        self, rows: list[int], first: list[int], size: list[int], base: list[int]
    ) -> tuple[list[str], list[np.ndarray]]:
        """Texts of ``size`` tokens from ``first`` on, of sequences that begin at flat ``base``; and their ends."""
        text, ends = self.corpus.text, self.cache.ends
        if ends is None:
            full = self._residue_ends
            texts = [text(row)[a : a + n] for row, a, n in zip(rows, first, size, strict=True)]
            return texts, [full if n == self.context else full[:n] for n in size]
        texts, cuts = [], []
        for row, a, n, origin in zip(rows, first, size, base, strict=True):
            left = int(ends[origin + a - 1]) if a else 0
            cuts.append(ends[origin + a : origin + a + n].astype(np.int64) - left)
            texts.append(text(row)[left : left + int(cuts[-1][-1])])
        return texts, cuts

    @cached_property
    def _residue_ends(self) -> np.ndarray:
        ends = np.arange(1, self.context + 1)
        ends.setflags(write=False)  # shared by all examples
        return ends

    def _activations(self, start: np.ndarray, stop: np.ndarray, tokens: np.ndarray, values: np.ndarray) -> np.ndarray:
        """(n_contexts, context) float32, 0 where the feature is silent."""
        dense = np.zeros((len(start), self.context), np.float32)
        first, last = np.searchsorted(tokens, start), np.searchsorted(tokens, stop)
        counts = last - first
        source = np.repeat(first - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())
        row = np.repeat(np.arange(len(start)), counts)
        dense[row, tokens[source] - start[row]] = values[source]
        return dense


class _Metadata(Mapping[str, Any]):
    """A sequence's metadata, read from the corpus when looked at."""

    __slots__ = ("_corpus", "_row")

    def __init__(self, corpus: Corpus, row: int) -> None:
        self._corpus, self._row = corpus, row

    def __getitem__(self, key: str) -> Any:
        return self._corpus.metadata(self._row)[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._corpus.metadata_columns)

    def __len__(self) -> int:
        return len(self._corpus.metadata_columns)
