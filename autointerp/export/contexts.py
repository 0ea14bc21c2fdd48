"""The contexts of a feature as other tools show them: the strongest, and some from each interval of activation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from autointerp.features.checks import check_corpus
from autointerp.features.contexts import Bins, bins_of
from autointerp.features.examples import Cutter
from autointerp.features.sites import Sites

if TYPE_CHECKING:
    from autointerp.cache import ActivationCache
    from autointerp.corpus import Corpus
    from autointerp.records import Example

TOP = -1.0
"""``low`` and ``share`` of the group of strongest contexts, as Neuronpedia has it."""


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Some contexts: the strongest, or those whose peak lies in an interval.

    Attributes
    ----------
    low, high : ends of the interval, the upper one included. share : of the feature's activations in it. For the
        strongest contexts ``low`` and ``share`` are −1 and ``high`` is the feature's maximum.
    """

    low: float
    high: float
    share: float
    examples: tuple[Example, ...]


class Contexts:
    """Cuts the contexts of a cache's features.

    Raises
    ------
    UsageError : the cache was made from another corpus.
    """

    def __init__(self, cache: ActivationCache, corpus: Corpus, length: int) -> None:
        check_corpus(cache, corpus)
        self.cache, self.corpus = cache, corpus
        self.bins: Bins = bins_of(cache, length, centred=True)
        self.cutter = Cutter(cache, corpus, self.bins, length)

    def groups(self, feature: int, *, n_top: int, n_bins: int, per_bin: int, seed: int = 0) -> Iterator[Group]:
        """The ``n_top`` strongest contexts, then up to ``per_bin`` of each of ``n_bins`` equal intervals, high to low.

        No two contexts are the same place; a feature that never fires has no group.
        """
        tokens, values = self.cache[feature]
        if not len(tokens):
            return
        strength = values.astype(np.float32)
        sites = self.bins.active(tokens, values)[1].wide()
        order = np.argsort(-sites.peak, kind="stable")
        top = float(strength.max())
        chosen = [order[:n_top]]
        edges = np.linspace(0, top, n_bins + 1)
        rest = order[n_top:]
        which = np.ceil(sites.peak[rest] / top * n_bins).astype(int) - 1
        inside = np.bincount(np.ceil(strength / top * n_bins).astype(int) - 1, minlength=n_bins) / len(strength)
        rng = np.random.default_rng([seed, feature])
        for i in range(n_bins - 1, -1, -1):
            own = rest[which == i]
            chosen.append(rng.choice(own, per_bin, replace=False) if len(own) > per_bin else own)
        heads = [(TOP, top, TOP), *((edges[i], edges[i + 1], inside[i]) for i in range(n_bins - 1, -1, -1))]
        cut = iter(self.cut(sites.take(np.concatenate(chosen)), tokens, values))
        for (low, high, share), index in zip(heads, chosen, strict=True):
            examples = tuple(next(cut) for _ in index)
            if examples:
                yield Group(float(low), float(high), float(share), examples)

    def cut(self, sites: Sites, tokens: np.ndarray, values: np.ndarray) -> Iterator[Example]:
        """The examples at ``sites``."""
        n = len(sites)
        return iter(self.cutter.examples(sites, ["activating"] * n, [0] * n, tokens, values)) if n else iter(())

    def at(self, feature: int, places: Sequence[str]) -> list[tuple[list[str], np.ndarray]]:
        """Tokens and activations of the contexts that trials name: ``sequence:start:length``."""
        tokens, values = self.cache[feature]
        found = []
        for place in places:
            row, start, length = map(int, place.split(":"))
            base = int(self.cache.offsets[row])
            if self.cache.level == "sequence":
                fires = np.flatnonzero(tokens == row)
                strength = np.full(length, values[fires[0]] if len(fires) else 0.0, np.float32)
            else:
                first, last = np.searchsorted(tokens, [base + start, base + start + length])
                strength = np.zeros(length, np.float32)
                strength[tokens[first:last].astype(np.int64) - base - start] = values[first:last]
            found.append((self._tokens(row, base, start, length), strength))
        return found

    def _tokens(self, row: int, base: int, start: int, length: int) -> list[str]:
        text, ends = self.corpus.text(row), self.cache.ends
        if ends is None:
            return list(text[start : start + length])
        own = ends[base + start : base + start + length].tolist()
        left = int(ends[base + start - 1]) if start else 0
        return [text[a:b] for a, b in zip([left, *own], own, strict=False)]
