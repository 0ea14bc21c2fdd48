"""From sites to examples: the text, the tokens and the activations of each context."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice, repeat
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from autointerp.cache.reader import ActivationCache
from autointerp.features.contexts import Bins, span
from autointerp.features.sites import Sites
from autointerp.records import Example, Side

if TYPE_CHECKING:
    from autointerp.corpus import Corpus


class Drawn(NamedTuple):
    """The contexts chosen for one side: activating ones with their quantiles, and others by their kind."""

    positives: Sites
    quantiles: list[int]
    negatives: list[tuple[str, Sites]]


class Cutter:
    """Cuts contexts out of a corpus.

    Parameters
    ----------
    cache, corpus : they must belong together. bins : how sequences are cut. context : the most tokens of a context.
    groups : (n_sequences,) what an example's group is; the corpus's by default.
    """

    def __init__(
        self, cache: ActivationCache, corpus: Corpus, bins: Bins, context: int, groups: np.ndarray | None = None
    ) -> None:
        self.cache, self.corpus, self.bins, self.context = cache, corpus, bins, context
        self.groups = corpus.groups if groups is None else groups
        self.by_sequence = cache.level == "sequence"
        self._characters, self._at = corpus.utf8

    def sides(self, drawn: Sequence[Drawn], tokens: np.ndarray, values: np.ndarray) -> Iterator[Side]:
        """The examples of each side, cut together: that is most of a loader's time.

        ``tokens`` and ``values`` are where the feature fires.
        """
        parts = [part for one in drawn for part in (one.positives, *(sites for _, sites in one.negatives))]
        kinds, quantiles, counts = [], [], []
        for one in drawn:
            n = sum(len(sites) for _, sites in one.negatives)
            kinds += ["activating"] * len(one.positives)
            for kind, sites in one.negatives:
                kinds += [kind] * len(sites)
            quantiles += one.quantiles + [-1] * n
            counts.append((len(one.positives), n))
        examples = self.examples(parts[0].join(*parts[1:]), kinds, quantiles, tokens, values)
        for n_positives, n_negatives in counts:
            yield Side(tuple(islice(examples, n_positives)), tuple(islice(examples, n_negatives)))

    def examples(
        self, sites: Sites, kinds: list[str], quantiles: list[int], tokens: np.ndarray, values: np.ndarray
    ) -> Iterator[Example]:
        """The examples at ``sites``, each with its kind and quantile."""
        offsets, context = self.cache.offsets, self.context
        base, after = offsets[sites.sequence], offsets[sites.sequence + 1]
        if self.by_sequence:
            start, stop = base, np.minimum(after, base + context)
            activations = np.broadcast_to(sites.peak[:, None], (len(sites), context))
        else:
            start, stop = self.bins.extent(sites.sequence, sites.position)
            activations = self._activations(start, stop, tokens, values)
        # lists of Python numbers and `map`: 200 examples a feature are most of the loader's time
        first, size = start - base, stop - start
        texts, ends = self._cut(sites.sequence, first, size, base)
        rows, sizes = sites.sequence.tolist(), size.tolist()
        strength = list(activations)
        for i in np.flatnonzero(size < context).tolist():
            strength[i] = strength[i][: sizes[i]]
        groups, lengths = self.groups[sites.sequence].tolist(), (after - base).tolist()
        metadata = map(_Metadata, repeat(self.corpus), rows)
        return map(Example, rows, first.tolist(), texts, ends, strength, groups, kinds, quantiles, lengths, metadata)

    def texts(self, bins: np.ndarray) -> list[str]:
        """The text of each of some bins; at level ``sequence`` the beginning of the sequence."""
        offsets, base = self.cache.offsets, self.bins.base
        rows = np.searchsorted(base, bins, "right") - 1
        first = 0 * rows if self.by_sequence else (bins - base[rows]) * self.context
        size = np.minimum(offsets[rows + 1] - offsets[rows] - first, self.context)
        texts, some = [""] * len(bins), np.flatnonzero(size)
        if len(some):
            found = self._cut(rows[some], first[some], size[some], offsets[rows[some]])[0]
            for i, text in zip(some.tolist(), found, strict=True):
                texts[i] = text
        return texts

    def _cut(
        self, rows: np.ndarray, first: np.ndarray, size: np.ndarray, base: np.ndarray
    ) -> tuple[list[str], list[np.ndarray]]:
        """Texts of ``size`` tokens from ``first`` on, of sequences that begin at flat ``base``; and their ends."""
        ends = self.cache.ends
        if ends is None:
            full = self._residue_ends
            return self._texts(rows, first, size), [full if n == self.context else full[:n] for n in size.tolist()]
        bounds = np.concatenate([[0], np.cumsum(size)])
        index = np.repeat(base + first - bounds[:-1], size) + np.arange(bounds[-1])
        left = np.where(first > 0, ends[base + first - 1], 0).astype(np.int64)
        flat = ends[index].astype(np.int64) - np.repeat(left, size)
        return self._texts(rows, left, flat[bounds[1:] - 1]), np.split(flat, bounds[1:-1])

    def _texts(self, rows: np.ndarray, left: np.ndarray, length: np.ndarray) -> list[str]:
        """``length`` characters from ``left`` on, of some rows."""
        begin, stop = self._at[rows], self._at[rows + 1]
        width = max(int(length.max()), 1)
        places = (begin + left)[:, None] + np.arange(width)
        joined, sizes = self._characters.take(places, mode="clip").tobytes().decode("latin-1"), length.tolist()
        texts = [joined[a : a + n] for a, n in zip(range(0, len(joined), width), sizes, strict=True)]
        for i in np.flatnonzero(stop - begin != self.corpus.lengths[rows]).tolist():  # not a byte a character
            texts[i] = self.corpus.text(int(rows[i]))[left[i] : left[i] + length[i]]
        return texts

    @cached_property
    def _residue_ends(self) -> np.ndarray:
        ends = np.arange(1, self.context + 1)
        ends.setflags(write=False)  # shared by all examples
        return ends

    def _activations(self, start: np.ndarray, stop: np.ndarray, tokens: np.ndarray, values: np.ndarray) -> np.ndarray:
        """(n_contexts, context) float32, 0 where the feature is silent."""
        dense = np.zeros((len(start), self.context), np.float32)
        first, last = span(tokens, start, stop)
        count = last - first
        row = np.repeat(np.arange(len(start)), count)
        source = np.arange(len(row)) + (first - (np.cumsum(count) - count))[row]
        dense[row, tokens[source] - start[row]] = values[source]
        return dense


class _Metadata(Mapping[str, Any]):
    """A sequence's metadata, read from the corpus when looked at."""

    __slots__ = ("_corpus", "_row")

    def __init__(self, corpus: Corpus, row: int) -> None:
        self._corpus, self._row = corpus, row

    def __getitem__(self, key: str) -> Any:
        return self._corpus.metadata(self._row)[key]

    @property
    def annotations(self) -> list[dict[str, Any]]:
        """Annotated regions of the sequence."""
        return self._corpus.annotations_of(self._row)

    def __iter__(self) -> Iterator[str]:
        return iter(self._corpus.metadata_columns)

    def __len__(self) -> int:
        return len(self._corpus.metadata_columns)
