"""Negatives: contexts drawn without replacement from the side's own sequences, silent but for ``near-miss``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from autointerp.errors import UsageError, nearest
from autointerp.features.contexts import Bins, Sites


@dataclass(frozen=True)
class Scene:
    """One side of one feature, as a source of negatives sees it.

    Attributes
    ----------
    feature : its index.
    bins : how sequences are cut into contexts; :meth:`Bins.extent` gives the context around a position.
    tokens, values : (nnz,) int64 ascending flat positions at which the feature fires, on any side, and float32
        activations; at level ``sequence`` a position is a row of the corpus.
    active : ids of all bins with an activation. candidates : ids of the side's bins.
    on_side : (n_sequences,) whether a sequence is on the side and can be shown.
    sites : the side's activating contexts, ascending by peak. shown : indices of those that are examples.
    neighbours : (k,) features near this one, the nearest first, negative numbers standing for none.
    families : (n_sequences,) family of each sequence, -1 for none.
    sites_of : the activating contexts of another feature, on all sides.
    """

    feature: int
    bins: Bins
    tokens: np.ndarray
    values: np.ndarray
    active: np.ndarray
    candidates: np.ndarray
    on_side: np.ndarray
    sites: Sites
    shown: np.ndarray
    neighbours: np.ndarray | None
    families: np.ndarray | None
    sites_of: Callable[[int], Sites]

    def starts(self, sites: Sites) -> np.ndarray:
        """First token of each context, by which a context is known."""
        return self.bins.extent(sites.sequence, sites.position)[0]

    def silent(self, sites: Sites) -> Sites:
        """Those whose whole context is silent."""
        start, stop = self.bins.extent(sites.sequence, sites.position)
        return sites.take(np.searchsorted(self.tokens, start) == np.searchsorted(self.tokens, stop))


Negatives = Callable[[Scene, int, np.random.Generator], np.ndarray]
"""A user's source: (scene, n, rng) -> flat positions on the side that at most n contexts are cut around."""
Source = Callable[[Scene, int, np.random.Generator], Sites]
"""(scene, n, rng) -> the sites of at most n contexts, none twice, all on the side and none of them an example."""


def uniform(scene: Scene, n: int, rng: np.random.Generator) -> Sites:
    """Silent contexts of any sequence, at random."""
    return random_silent(scene.bins, scene.candidates, scene.active, scene.tokens, n, rng)


def near_miss(scene: Scene, n: int, rng: np.random.Generator) -> Sites:
    """The feature's own weakest contexts, at random from the lowest tenth of ranks, those shown as activating left out.

    The feature does fire in them, weakly, and their ``activations`` say so. Detection and fuzzing count them as
    negatives all the same: they ask whether an explanation tells strong activations from weak ones. A judge who says
    "fires" is counted wrong, which is why ``by_kind`` reports them apart; the accuracy over all kinds is not
    comparable with one over silent negatives. What compares activations as numbers can take them as they are.
    """
    free = np.setdiff1d(np.arange(-(-len(scene.sites) // 10)), scene.shown)
    return scene.sites.take(rng.choice(free, min(n, len(free)), replace=False))


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
        return scene.sites.take(slice(0))
    every = Sites(*(np.concatenate([getattr(s, name) for s in found]) for name in ("sequence", "position", "peak")))
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
    return random_silent(scene.bins, relatives, scene.active, scene.tokens, n, rng)


NEGATIVES: dict[str, Source] = {"random": uniform, "near-miss": near_miss, "neighbour": neighbour, "family": family}


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
        return sites.take(first[~np.isin(starts[first], scene.starts(scene.sites.take(scene.shown)))][:n])

    return checked


def random_silent(
    bins: Bins, candidates: np.ndarray, active: np.ndarray, tokens: np.ndarray, n: int, rng: np.random.Generator
) -> Sites:
    """The middles of ``n`` random bins around which the feature is silent for a whole context, or of all if fewer.

    Parameters
    ----------
    candidates : (m,) ids of the bins on the side. active : (n_active,) ids of all bins with an activation.
    tokens : (nnz,) int64, ascending positions at which the feature fires.
    """
    # a few draws serve nearly every feature; only one that fires almost everywhere needs the whole list
    few = 10 + 3 * n * len(bins) // (2 * max(len(bins) - len(active), 1))
    fires = np.zeros(len(bins), bool)
    fires[active] = True
    if few < len(candidates) // 2:
        drawn = rng.choice(candidates, few, replace=False)
        found = _silent_only(bins, drawn[~fires[drawn]], tokens)
        if len(found) >= n:
            return found.take(slice(n))
    return _silent_only(bins, rng.permutation(candidates[~fires[candidates]]), tokens).take(slice(n))


def _silent_only(bins: Bins, drawn: np.ndarray, tokens: np.ndarray) -> Sites:
    """Sites at the middles of silent bins whose context is silent too: it differs from the bin where that is short."""
    sites = bins.middles(drawn)
    start, stop = bins.extent(sites.sequence, sites.position)
    own = bins.offsets[sites.sequence] + (drawn - bins.base[sites.sequence]) * bins.length
    beyond = np.flatnonzero(start != own)
    silent = np.ones(len(sites), bool)
    silent[beyond] = np.searchsorted(tokens, start[beyond]) == np.searchsorted(tokens, stop[beyond])
    return sites.take(silent)
