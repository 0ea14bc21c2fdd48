"""Negatives: contexts drawn without replacement from the side's own sequences, silent but for ``near-miss``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, update_wrapper

import numpy as np

from autointerp.errors import UsageError, nearest
from autointerp.features.contexts import Bins, span
from autointerp.features.sites import Ranked, Sites


@dataclass
class Scene:
    """One side of one feature, as a source of negatives sees it.

    Attributes
    ----------
    feature : its index.
    bins : how sequences are cut into contexts; :meth:`Bins.extent` gives the context around a position.
    stored : the feature's tokens and activations as the cache holds them; :attr:`tokens` and :attr:`values` are wider.
    active : ids of all bins with an activation. candidates : ids of the side's bins.
    on_side : (n_sequences,) whether a sequence is on the side and can be shown.
    ranked : the side's activating contexts by rank of their peaks.
    neighbours : (k,) features near this one, the nearest first, negative numbers standing for none.
    families : (n_sequences,) family of each sequence, -1 for none.
    near : (windows, k) -> the (n, k) windows of the side most like each of ``windows``, the nearest first; -1 for none.
    sites_of : the activating contexts of another feature, on all sides.
    shown : ranks of those of ``ranked`` that are examples, the strongest first.
    """

    feature: int
    bins: Bins
    stored: tuple[np.ndarray, np.ndarray]
    active: np.ndarray
    candidates: np.ndarray
    on_side: np.ndarray
    ranked: Ranked
    neighbours: np.ndarray | None
    families: np.ndarray | None
    near: Callable[[np.ndarray, int], np.ndarray] | None
    sites_of: Callable[[int], Sites]
    shown: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))

    @cached_property
    def tokens(self) -> np.ndarray:
        """(nnz,) int64 ascending flat positions at which the feature fires, on any side; rows at level ``sequence``."""
        return self.stored[0].astype(np.int64)

    @cached_property
    def values(self) -> np.ndarray:
        """(nnz,) float32 activations."""
        return self.stored[1].astype(np.float32)

    @cached_property
    def sites(self) -> Sites:
        """The side's activating contexts, ascending by peak."""
        return self.ranked.take(slice(None))

    def starts(self, sites: Sites) -> np.ndarray:
        """First token of each context, by which a context is known."""
        return self.bins.extent(sites.sequence, sites.position)[0]

    def silent(self, sites: Sites) -> Sites:
        """Those whose whole context is silent."""
        first, last = span(self.stored[0], *self.bins.extent(sites.sequence, sites.position))
        return sites.take(first == last)


Negatives = Callable[[Scene, int, np.random.Generator], np.ndarray]
"""A user's source: (scene, n, rng) -> flat positions on the side that at most n contexts are cut around."""
Source = Callable[[Scene, int, np.random.Generator], Sites]
"""(scene, n, rng) -> the sites of at most n contexts, none twice, all on the side and none of them an example."""


def uniform(scene: Scene, n: int, rng: np.random.Generator) -> Sites:
    """Silent contexts of any sequence, at random."""
    return random_silent(scene, scene.candidates, n, rng)


def near_miss(scene: Scene, n: int, rng: np.random.Generator) -> Sites:
    """The feature's own weakest contexts, at random from the lowest tenth of ranks, those shown as activating left out.

    The feature does fire in them, weakly, and their ``activations`` say so. Detection and fuzzing count them as
    negatives all the same: they ask whether an explanation tells strong activations from weak ones. A judge who says
    "fires" is counted wrong, which is why ``by_kind`` reports them apart; the accuracy over all kinds is not
    comparable with one over silent negatives. What compares activations as numbers can take them as they are.
    """
    free = np.setdiff1d(np.arange(-(-len(scene.ranked) // 10)), scene.shown)
    return scene.ranked.take(rng.choice(free, min(n, len(free)), replace=False))


def neighbour(scene: Scene, n: int, rng: np.random.Generator) -> Sites:
    """The strongest contexts of near features in which this one is silent: the best of each neighbour, then the next.

    They come with peak 0: it is this feature's activation that an example shows.
    """
    assert scene.neighbours is not None
    found, rank = [], []
    for other in scene.neighbours[scene.neighbours >= 0].tolist():
        sites = scene.sites_of(other)
        sites = scene.silent(sites.take(scene.on_side[sites.sequence]))
        found.append(sites.take(np.argsort(-sites.peak, kind="stable")[:n]))
        rank.append(np.arange(len(found[-1])))
    if not found:
        return scene.ranked.take(slice(0))
    every = found[0].join(*found[1:])
    every = every.take(np.argsort(np.concatenate(rank), kind="stable"))
    first = np.sort(np.unique(scene.starts(every), return_index=True)[1])[:n]
    return Sites(every.sequence[first], every.position[first], np.zeros(len(first), np.float32))


def family(scene: Scene, n: int, rng: np.random.Generator) -> Sites:
    """Silent contexts, at random, of sequences with a relative on the side (another of the family) where it fires."""
    assert scene.families is not None
    fires = np.zeros(len(scene.on_side), np.int64)
    fires[scene.sites.sequence] = 1
    has_one = scene.families >= 0
    firing = np.bincount(scene.families[has_one], fires[has_one], minlength=1)
    rows = np.flatnonzero(scene.on_side & has_one & (firing[scene.families] > fires))
    base = scene.bins.base
    counts = base[rows + 1] - base[rows]
    relatives = np.repeat(base[rows] - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())
    return random_silent(scene, relatives, n, rng)


def similar(scene: Scene, n: int, rng: np.random.Generator) -> Sites:
    """The silent windows most like those of the ten strongest contexts shown: the nearest of each, then the next.

    At most ``FARTHEST`` windows of each are looked at: if the feature fires in nearly all of them, there are too few.
    """
    assert scene.near is not None
    queries = np.unique(scene.bins.holding(scene.ranked.take(scene.shown[:10])))
    k = min(8 + 4 * n // len(queries), FARTHEST)
    while True:
        turns = scene.near(queries, k).T.ravel()
        bins = turns[np.sort(np.unique(turns, return_index=True)[1])]
        sites = scene.bins.middles(bins[bins >= 0])
        sites = scene.silent(sites.take(scene.on_side[sites.sequence]))
        if len(sites) >= n or k >= min(FARTHEST, len(scene.candidates)):
            return sites.take(slice(n))
        k = min(4 * k, FARTHEST)


NEGATIVES: dict[str, Source] = {
    "random": uniform,
    "near-miss": near_miss,
    "neighbour": neighbour,
    "similar": similar,
    "family": family,
}
FARTHEST = 4096
"""Windows like a given one that ``similar`` looks at."""


def find_negatives(choice: str | Negatives | Sequence[str | Negatives]) -> dict[str, Source]:
    """Sources by the kind that their examples carry; a user's own callable is checked and goes by its name."""
    choices: Sequence[str | Negatives] = [choice] if isinstance(choice, str) or callable(choice) else choice
    found: dict[str, Source] = {}
    for one in choices:
        if isinstance(one, str) and one not in NEGATIVES:
            raise UsageError(f"unknown negatives {one!r}; {nearest(one, NEGATIVES)}")
        kind = one if isinstance(one, str) else getattr(one, "__name__", type(one).__name__)
        if kind in found:
            raise UsageError(f"negatives {kind!r} are given twice: name each kind once")
        found[kind] = NEGATIVES[one] if isinstance(one, str) else _checked(one)
    if not found:
        raise UsageError(f"no negatives: name at least one kind; valid: {', '.join(NEGATIVES)}")
    return found


def draw_negatives(
    scene: Scene, sources: dict[str, Source], n: int, rng: np.random.Generator
) -> dict[str, tuple[Sites, int]]:
    """By kind, the contexts and how many were asked for: ``n`` in equal shares, the first ones larger; none twice."""
    result: dict[str, tuple[Sites, int]] = {}
    taken = np.zeros(0, np.int64)
    for place, (kind, source) in enumerate(sources.items()):
        share = n // len(sources) + (place < n % len(sources))
        found = source(scene, share + len(taken), rng)
        if len(sources) > 1:
            starts = scene.starts(found)
            fresh = np.flatnonzero(~np.isin(starts, taken))[:share]
            found, taken = found.take(fresh), np.append(taken, starts[fresh])
        result[kind] = found, share
    return result


def _checked(source: Negatives) -> Source:
    """A user's source under the rules of all: on the side, none twice, none that is an activating example."""

    def checked(scene: Scene, n: int, rng: np.random.Generator) -> Sites:
        position = scene.bins.checked(source(scene, n + len(scene.shown), rng))
        sequence = scene.bins.sequences_of(position)
        if not scene.on_side[sequence].all():
            off = sequence[~scene.on_side[sequence]][0]
            raise UsageError(
                f"negatives of feature {scene.feature}: sequence {off} is not on the side that is drawn "
                "(scene.on_side), a score on it would leak the answer"
            )
        where = np.minimum(np.searchsorted(scene.tokens, position), len(scene.tokens) - 1)
        peak = np.where(scene.tokens[where] == position, scene.values[where], 0).astype(np.float32)
        sites = Sites(sequence, position, peak)
        starts = scene.starts(sites)
        first = np.sort(np.unique(starts, return_index=True)[1])
        return sites.take(first[~np.isin(starts[first], scene.starts(scene.ranked.take(scene.shown)))][:n])

    named = source if hasattr(source, "__qualname__") else type(source)
    return update_wrapper(checked, named, updated=())


def random_silent(scene: Scene, candidates: np.ndarray, n: int, rng: np.random.Generator) -> Sites:
    """The middles of ``n`` random bins around which the feature is silent for a whole context, or of all if fewer.

    ``candidates`` (m,) are the ids of the bins to draw from. A context holds its bin, which may be shorter.
    """
    # a few draws serve nearly every feature; only one that fires almost everywhere needs the whole list
    bins, active = scene.bins, scene.active
    few = 10 + 3 * n * len(bins) // (2 * max(len(bins) - len(active), 1))
    if few < len(candidates) // 2:
        drawn = rng.choice(candidates, few, replace=False)
        at = np.minimum(np.searchsorted(active, drawn.astype(active.dtype)), len(active) - 1)
        found = scene.silent(bins.middles(drawn[active[at] != drawn]))
        if len(found) >= n:
            return found.take(slice(n))
    fires = np.zeros(len(bins), bool)
    fires[active] = True
    return scene.silent(bins.middles(rng.permutation(candidates[~fires[candidates]]))).take(slice(n))
