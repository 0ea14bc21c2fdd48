"""The FeatureLoader: records of features, built when asked for."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from autointerp.cache.reader import ActivationCache
from autointerp.errors import NotEnoughExamples, UsageError
from autointerp.features.checks import (
    at_least,
    check_corpus,
    checked_embeddings,
    checked_neighbours,
    family_numbers,
    name_of,
)
from autointerp.features.contexts import Constructor, bins_of, default_context
from autointerp.features.examples import Cutter, Drawn
from autointerp.features.negatives import NEGATIVES, Negatives, Scene, draw_negatives, find_negatives
from autointerp.features.samplers import BY_RANK, Sampler, find_sampler
from autointerp.features.sides import Sides
from autointerp.features.sites import Ranked, Sites, ordinal
from autointerp.features.splits import GROUP, SIDES, assign_sides, units_of
from autointerp.features.streaming import work_ahead
from autointerp.files import digest_json
from autointerp.records import FeatureRecord, FeatureStatistics, Side, Skipped

if TYPE_CHECKING:
    from autointerp.corpus import Corpus


class FeatureLoader:
    """Examples of every feature of a cache, lazily.

    ``loader[i]`` depends on the settings and ``i`` alone: not on order, subset or process.

    Parameters
    ----------
    cache, corpus : they must belong together.
    n_explain, n_test : activating contexts for the explainer and for the scorers.
    n_non_activating : non-activating contexts on each side.
    n_validation, split : contexts and shares of groups for explain, validation and test.
    split_by : what goes to a side as a whole: ``"group"``; ``"sequence"``, which leaks and is for comparison; or a
        metadata column of families (see ``splits.py``). It is what an example's ``group`` is.
    context : tokens of a context (32); at level ``sequence`` the most tokens of a sequence that are shown (512).
    contexts : ``"centred"`` on the peak, or ``"fixed"`` windows.
    constructor : a callable that says where a feature's activating contexts lie, instead of the peaks (``Constructor``
        in ``contexts.py``); sides, samplers and negatives treat them as they do others.
    sampler, test_sampler : of the explain side, and of the others: ``quantiles``, ``top``, ``random``, ``mix``,
        ``importance``, ``even``, ``blocks``, ``blocks-legacy``, ``bins`` (see ``samplers.py``), or a callable.
    negatives : kind of non-activating contexts, or several in equal shares: ``random``, ``near-miss``, ``neighbour``,
        ``similar``, ``family`` (see ``negatives.py``), or a callable; an example's ``kind`` says which it is.
    neighbours : (n_features, k) near features, the nearest first (``nearest_features`` finds them; a negative number
        is none); needed for ``neighbour``.
    embeddings : (n_windows, d) of every window of ``context`` tokens (``embed_windows`` makes them); for ``similar``.
    family : the metadata column that holds a sequence's family, instead of its group, for ``family``.
    n_quantiles : quantiles of the peak, within a side.
    min_examples : with fewer activating or non-activating contexts than this on any side the feature is skipped.
    seed : decides the split and every draw.

    Raises
    ------
    UsageError : the cache was not made from this corpus, or a setting is out of range.
    """

    def __init__(
        self,
        cache: ActivationCache,
        corpus: Corpus,
        *,
        n_explain: int = 40,
        n_test: int = 50,
        n_non_activating: int = 50,
        n_validation: int = 0,
        split: tuple[float, float, float] = (0.5, 0.0, 0.5),
        split_by: str = GROUP,
        context: int | None = None,
        contexts: str = "centred",
        constructor: Constructor | None = None,
        sampler: str | Sampler = "quantiles",
        test_sampler: str | Sampler = "quantiles",
        negatives: str | Negatives | Sequence[str | Negatives] = "random",
        neighbours: np.ndarray | None = None,
        embeddings: np.ndarray | None = None,
        family: str | None = None,
        n_quantiles: int = 10,
        min_examples: int = 10,
        seed: int = 0,
    ) -> None:
        check_corpus(cache, corpus)
        if contexts not in ("centred", "fixed"):
            raise UsageError(f"contexts {contexts!r}: valid are centred, fixed")
        at_least(0, n_validation=n_validation, n_non_activating=n_non_activating)
        at_least(1, n_explain=n_explain, n_test=n_test, n_quantiles=n_quantiles, min_examples=min_examples)
        context = default_context(cache.level) if context is None else context
        at_least(2, context=context)
        self.cache, self.corpus, self.seed = cache, corpus, seed
        self.n_examples = {"explain": n_explain, "validation": n_validation, "test": n_test}
        self.n_non_activating, self.min_examples, self.n_quantiles = n_non_activating, min_examples, n_quantiles
        self.samplers = {name: find_sampler(sampler if name == "explain" else test_sampler) for name in SIDES}
        self.sampler, self.test_sampler = name_of(sampler), name_of(test_sampler)
        self.context, self.split, self.split_by, self.constructor = context, split, split_by, constructor
        self._group_number = np.unique(corpus.groups[: cache.n_sequences], return_inverse=True)[1]
        self.negatives = find_negatives(negatives)
        self.family, self._families = family, None
        if "family" in self.negatives:
            self._families = self._group_number if family is None else family_numbers(corpus, family, cache.n_sequences)
        self.centred = contexts == "centred" and cache.level != "sequence"
        self.neighbours = checked_neighbours(neighbours, cache.n_features, "neighbour" in self.negatives)
        self._bins = bins_of(cache, context, self.centred)
        units = units_of(corpus, split_by, cache.n_sequences)
        self._cutter = Cutter(cache, corpus, self._bins, context, units)
        self.embeddings = checked_embeddings(embeddings, len(self._bins), "similar" in self.negatives)
        self._sides = Sides(cache, self._bins, assign_sides(units, split, seed), self.embeddings)
        for share, (side, n) in zip(split, self.n_examples.items(), strict=True):
            if n and not share:
                raise UsageError(f"split {split} leaves no group to the {side} side, {n} contexts are asked of it")

    def __len__(self) -> int:
        return self.cache.n_features

    def __getitem__(self, feature: int) -> FeatureRecord:
        """The record of one feature.

        Raises
        ------
        NotEnoughExamples : fewer than ``min_examples`` contexts of a kind on a side that is asked for.
        """
        tokens, values = self.cache[feature]
        if not len(tokens):
            raise NotEnoughExamples(feature, 0, self.min_examples)
        active, sites = self._bins.active(tokens, values)
        known = self.cache.known(feature)
        statistics = self._statistics(values, sites.sequence, None if known is None else feature, len(active))
        if self.constructor is not None:
            wide = tokens.astype(np.int64), values.astype(np.float32)
            sites = self._bins.around(self.constructor(*wide, self._bins), tokens, values)
        side_of_site = self._sides.of_sequence.take(sites.sequence)
        drawn = {}
        for code, name in enumerate(SIDES):
            if self.n_examples[name]:
                index = np.flatnonzero(side_of_site == code)
                ranked = Ranked(sites, index)
                if len(ranked) < self.min_examples:
                    what = f"activating contexts on the {name} side"
                    raise NotEnoughExamples(feature, len(ranked), self.min_examples, what)
                scene = self._scene(feature, code, known, (tokens, values), active, ranked)
                drawn[name] = self._draw(scene, code, np.float32(statistics.max))
        sides = dict(zip(drawn, self._cutter.sides(list(drawn.values()), tokens, values), strict=True))
        return FeatureRecord(
            feature,
            sides["explain"],
            sides.get("validation", Side()),
            sides["test"],
            statistics,
            modality=self.corpus.kind,
            level=self.cache.level,
        )

    def iterate(self, features: Iterable[int] | None = None) -> Iterator[FeatureRecord | Skipped]:
        """Records of ``features`` (all by default), a :class:`Skipped` where there are too few examples."""
        return map(self._record_or_skipped, range(len(self)) if features is None else features)

    def stream(
        self, features: Iterable[int] | None = None, *, ahead: int = 8
    ) -> AsyncGenerator[FeatureRecord | Skipped]:
        """As :meth:`iterate`, made in a thread, up to ``ahead`` records before they are taken.

        The event loop is never blocked. Close it if you leave it early (``contextlib.aclosing``): that waits for the
        record under way, so that no thread goes on reading the cache.
        """
        at_least(1, ahead=ahead)
        return work_ahead(self._record_or_skipped, range(len(self)) if features is None else features, ahead)

    def _record_or_skipped(self, feature: int) -> FeatureRecord | Skipped:
        try:
            return self[int(feature)]
        except NotEnoughExamples as error:
            return Skipped(error.feature, error.what, error.have, error.need)

    def draw(self, n: int, seed: int = 0) -> Iterator[FeatureRecord | Skipped]:
        """A seeded draw over all features that goes on until ``n`` eligible ones are found; skipped ones come along."""
        for item in self.iterate(np.random.default_rng([seed, len(self)]).permutation(len(self)).tolist()):
            if n <= 0:
                return
            n -= isinstance(item, FeatureRecord)
            yield item

    @property
    def settings(self) -> dict[str, Any]:
        """Everything that decides a record, by name; a run is bound to it."""
        return {
            "coder": digest_json({k: self.cache.manifest[k] for k in ("subject", "coder")}),
            "cache": digest_json(
                {k: self.cache.manifest[k] for k in ("subject", "coder", "corpus", "settings", "n_sequences")}
            ),
            **{f"n_{name}": n for name, n in self.n_examples.items()},
            "n_non_activating": self.n_non_activating,
            "split": list(self.split),
            **({} if self.split_by == GROUP else {"split_by": self.split_by}),
            "context": self.context,
            "contexts": "centred" if self.centred else "fixed",
            "constructor": None if self.constructor is None else name_of(self.constructor),
            "sampler": self.sampler,
            "test_sampler": self.test_sampler,
            "negatives": [kind if kind in NEGATIVES else name_of(source) for kind, source in self.negatives.items()],
            "neighbours": None if self.neighbours is None else digest_json(self.neighbours.tolist()),
            "family": self.family,
            **({} if self.embeddings is None else {"embeddings": self._embeddings_digest}),
            "n_quantiles": self.n_quantiles,
            "min_examples": self.min_examples,
            "seed": self.seed,
        }

    @cached_property
    def _embeddings_digest(self) -> str:
        assert self.embeddings is not None
        return hashlib.sha256(np.ascontiguousarray(self.embeddings).data).hexdigest()

    def _sites_of(self, feature: int) -> Sites:
        return self._bins.active(*self.cache[feature])[1].wide()

    def _scene(
        self,
        feature: int,
        code: int,
        known: np.ndarray | None,
        stored: tuple[np.ndarray, np.ndarray],
        active: np.ndarray,
        ranked: Ranked,
    ) -> Scene:
        """One side of a feature."""
        on_side, candidates = self._sides.of(code, known)
        return Scene(
            feature,
            self._bins,
            stored,
            active,
            candidates,
            on_side,
            ranked,
            None if self.neighbours is None else self.neighbours[feature],
            self._families,
            self._sides.near[code],
            self._sites_of,
        )

    def _draw(self, scene: Scene, code: int, largest: np.float32) -> Drawn:
        """Which contexts stand on one side; shares of the ``largest`` activation are what samplers see."""
        name, ranked = SIDES[code], scene.ranked
        rng = np.random.default_rng([self.seed, scene.feature, code])
        n, sampler = self.n_examples[name], self.samplers[name]
        peaks = np.empty(len(ranked), bool) if sampler in BY_RANK else ranked.peaks / largest  # the first to save time
        chosen = np.sort(sampler(peaks, n, self.n_quantiles, rng))[::-1]
        if len(chosen) < (need := min(self.min_examples, n)):
            raise NotEnoughExamples(scene.feature, len(chosen), need, f"activating contexts drawn on the {name} side")
        scene.shown = chosen
        drawn = Drawn(ranked.take(chosen), (chosen * self.n_quantiles // len(ranked)).tolist(), [])
        for kind, (found, share) in draw_negatives(scene, self.negatives, self.n_non_activating, rng).items():
            if len(found) < (need := min(self.min_examples, share)):
                what = "non-activating" if kind == "random" else kind
                raise NotEnoughExamples(scene.feature, len(found), need, f"{what} contexts on the {name} side")
            drawn.negatives.append((kind, found))
        return drawn

    def _statistics(
        self, values: np.ndarray, sequences: np.ndarray, capped: int | None, n_active: int
    ) -> FeatureStatistics:
        """Over all activations; only ``n_groups`` of a ``capped`` feature is of those that the cache holds."""
        distinct = sequences[np.flatnonzero(np.append(True, sequences[1:] != sequences[:-1]))]
        groups = np.zeros(len(self._group_number), bool)  # of each number, whether it is among them: no need to sort
        groups[self._group_number[distinct]] = True
        found = len(values), values[ordinal(values).argmax()], values.mean(dtype=np.float64), len(distinct)
        if capped is not None:
            found = tuple(self.cache.statistics[name][capped] for name in ("count", "max", "mean", "n_sequences"))
        count, largest, mean, n_sequences = found
        return FeatureStatistics(
            count=int(count),
            max=float(largest),
            mean=float(mean),
            frequency=int(count) / (self.cache.n_sequences if self.cache.level == "sequence" else self.cache.n_tokens),
            n_sequences=int(n_sequences),
            n_groups=int(np.count_nonzero(groups)),
            context_frequency=n_active / len(self._bins) if capped is None else None,
        )
