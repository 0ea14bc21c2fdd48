"""The FeatureLoader: records of features, built when asked for."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from autointerp.cache.reader import ActivationCache
from autointerp.errors import NotEnoughExamples, UsageError
from autointerp.features.contexts import Bins, Constructor, Sites
from autointerp.features.examples import Cutter
from autointerp.features.negatives import Negatives, Scene, draw_negatives, find_negatives
from autointerp.features.samplers import Sampler, ascending, find_sampler
from autointerp.features.splits import SIDES, assign_sides
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
    context : tokens of a context (32); at level ``sequence`` the most tokens of a sequence that are shown (512).
    contexts : ``"centred"`` on the peak, or ``"fixed"`` windows.
    constructor : a callable that says where a feature's activating contexts lie, instead of the peaks (``Constructor``
        in ``contexts.py``); sides, samplers and negatives treat them as they do others.
    sampler, test_sampler : of the explain side, and of the others: ``quantiles``, ``top``, ``random``, ``mix``,
        ``importance``, ``even``, ``blocks``, ``blocks-legacy``, ``bins`` (see ``samplers.py``), or a callable.
    negatives : kind of non-activating contexts, or several in equal shares: ``random``, ``near-miss``, ``neighbour``,
        ``family`` (see ``negatives.py``), or a callable; an example's ``kind`` says which it is.
    neighbours : (n_features, k) near features, the nearest first (``nearest_features`` finds them; a negative number
        is none); needed for ``neighbour``.
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
        context: int | None = None,
        contexts: str = "centred",
        constructor: Constructor | None = None,
        sampler: str | Sampler = "quantiles",
        test_sampler: str | Sampler = "quantiles",
        negatives: str | Negatives | Sequence[str | Negatives] = "random",
        neighbours: np.ndarray | None = None,
        family: str | None = None,
        n_quantiles: int = 10,
        min_examples: int = 10,
        seed: int = 0,
    ) -> None:
        if cache.manifest["corpus"]["digest"] != corpus.digest:
            raise UsageError(
                f"the cache was made from corpus {cache.manifest['corpus']['digest'][:12]}…, "
                f"this corpus is {corpus.digest[:12]}…: give the corpus that was cached"
            )
        if contexts not in ("centred", "fixed"):
            raise UsageError(f"contexts {contexts!r}: valid are centred, fixed")
        _at_least(0, n_validation=n_validation, n_non_activating=n_non_activating)
        _at_least(1, n_explain=n_explain, n_test=n_test, n_quantiles=n_quantiles, min_examples=min_examples)
        if context is None:
            context = 512 if cache.level == "sequence" else 32
        _at_least(2, context=context)
        self.cache, self.corpus, self.seed = cache, corpus, seed
        self.n_examples = {"explain": n_explain, "validation": n_validation, "test": n_test}
        self.n_non_activating, self.min_examples, self.n_quantiles = n_non_activating, min_examples, n_quantiles
        self.samplers = {name: find_sampler(sampler if name == "explain" else test_sampler) for name in SIDES}
        self.sampler, self.test_sampler = _name(sampler), _name(test_sampler)
        self.context, self.split, self.constructor = context, split, constructor
        self._groups = corpus.groups[: cache.n_sequences]
        self.negatives = find_negatives(negatives)
        self._negative_names = [
            _name(c) for c in ([negatives] if isinstance(negatives, str) or callable(negatives) else negatives)
        ]
        self.family, self._families = family, self._family_of_sequence(family) if "family" in self.negatives else None
        self.neighbours = _checked_neighbours(neighbours, cache.n_features, "neighbour" in self.negatives)
        self._side_of_sequence = assign_sides(self._groups, split, seed)
        for share, (side, n) in zip(split, self.n_examples.items(), strict=True):
            if n and not share:
                raise UsageError(f"split {split} leaves no group to the {side} side, {n} contexts are asked of it")
        self.by_sequence = cache.level == "sequence"
        self.centred = contexts == "centred" and not self.by_sequence

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
        dtype = values.dtype
        # once, and not at every comparison: flat positions are int64, and NumPy is slow at float16
        tokens, values = tokens.astype(np.int64), values.astype(np.float32)
        active, sites = self._bins.active(tokens, values)
        fires_in, largest = sites.sequence, values.max()
        if self.constructor is not None:
            sites = self._bins.around(self.constructor(tokens, values, self._bins), tokens, values)
        order = ascending(sites.peak.astype(dtype))
        side_of_site = self._side_of_sequence[sites.sequence[order]]
        sides = {
            name: self._side(feature, code, sites.take(order[side_of_site == code]), active, tokens, values, largest)
            for code, name in enumerate(SIDES)
            if self.n_examples[name]
        }
        return FeatureRecord(
            feature,
            sides["explain"],
            sides.get("validation", Side()),
            sides["test"],
            self._statistics(values, largest, fires_in),
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
        _at_least(1, ahead=ahead)
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
            "cache": digest_json(
                {k: self.cache.manifest[k] for k in ("subject", "coder", "corpus", "settings", "n_sequences")}
            ),
            **{f"n_{name}": n for name, n in self.n_examples.items()},
            "n_non_activating": self.n_non_activating,
            "split": list(self.split),
            "context": self.context,
            "contexts": "centred" if self.centred else "fixed",
            "constructor": None if self.constructor is None else _name(self.constructor),
            "sampler": self.sampler,
            "test_sampler": self.test_sampler,
            "negatives": self._negative_names,
            "neighbours": None if self.neighbours is None else digest_json(self.neighbours.tolist()),
            "family": self.family,
            "n_quantiles": self.n_quantiles,
            "min_examples": self.min_examples,
            "seed": self.seed,
        }

    @cached_property
    def _bins(self) -> Bins:
        if self.by_sequence:  # one bin of one "token" per sequence
            return Bins(np.arange(self.cache.n_sequences + 1), 1, centred=False)
        return Bins(self.cache.offsets, self.context, self.centred)

    @cached_property
    def _cutter(self) -> Cutter:
        return Cutter(self.cache, self.corpus, self._bins, self.context)

    @cached_property
    def _on_side(self) -> list[np.ndarray]:
        """Per side, whether a sequence is on it; one without tokens (at level ``sequence``) cannot be shown."""
        shown = np.diff(self.cache.offsets) > 0
        return [shown & (self._side_of_sequence == code) for code in range(len(SIDES))]

    @cached_property
    def _bins_of_side(self) -> list[np.ndarray]:
        """Ids of the bins on each side."""
        counts = np.diff(self._bins.base)
        return [np.flatnonzero(np.repeat(on_side, counts)) for on_side in self._on_side]

    def _family_of_sequence(self, column: str | None) -> np.ndarray:
        """(n_sequences,) number of the group, or of the value of a metadata column; -1 where it is empty."""
        if column is None:
            return np.unique(self._groups, return_inverse=True)[1]
        values = self.corpus.column(column).to_pylist()[: self.cache.n_sequences]
        if any(isinstance(v, list) for v in values):
            raise UsageError(f"family {column!r}: its values are lists; a column with one family a sequence is needed")
        number = {v: i for i, v in enumerate(dict.fromkeys(v for v in values if v not in (None, "")))}
        return np.array([number.get(v, -1) for v in values])

    def _sites_of(self, feature: int) -> Sites:
        tokens, values = self.cache[feature]
        if not len(tokens):
            return Sites(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))
        return self._bins.active(tokens.astype(np.int64), values.astype(np.float32))[1]

    def _side(
        self,
        feature: int,
        code: int,
        sites: Sites,
        active: np.ndarray,
        tokens: np.ndarray,
        values: np.ndarray,
        largest: np.float32,
    ) -> Side:
        """One side's examples; ``sites`` ascend by peak, so that a site's rank is its index."""
        rng = np.random.default_rng([self.seed, feature, code])
        name = SIDES[code]
        if len(sites) < self.min_examples:
            raise NotEnoughExamples(feature, len(sites), self.min_examples, f"activating contexts on the {name} side")
        n = self.n_examples[name]
        chosen = np.sort(self.samplers[name](sites.peak / largest, n, self.n_quantiles, rng))[::-1]
        if len(chosen) < (need := min(self.min_examples, n)):
            raise NotEnoughExamples(feature, len(chosen), need, f"activating contexts drawn on the {name} side")
        scene = Scene(
            feature,
            self._bins,
            tokens,
            values,
            active,
            self._bins_of_side[code],
            self._on_side[code],
            sites,
            chosen,
            None if self.neighbours is None else self.neighbours[feature],
            self._families,
            self._sites_of,
        )
        shown, kinds = sites.take(chosen), ["activating"] * len(chosen)
        for kind, (found, share) in draw_negatives(scene, self.negatives, self.n_non_activating, rng).items():
            if len(found) < (need := min(self.min_examples, share)):
                what = "non-activating" if kind == "random" else kind
                raise NotEnoughExamples(feature, len(found), need, f"{what} contexts on the {name} side")
            shown, kinds = shown.join(found), kinds + [kind] * len(found)
        quantile = np.append(chosen * self.n_quantiles // len(sites), np.full(len(shown) - len(chosen), -1))
        examples = tuple(self._cutter.examples(shown, kinds, quantile, tokens, values))
        return Side(examples[: len(chosen)], examples[len(chosen) :])

    def _statistics(self, values: np.ndarray, largest: np.float32, sequences: np.ndarray) -> FeatureStatistics:
        total = self.cache.n_sequences if self.by_sequence else self.cache.n_tokens
        distinct = sequences[np.concatenate([[True], np.diff(sequences) > 0])]
        groups = np.sort(self._groups[distinct])  # not np.unique, which is slower by far
        return FeatureStatistics(
            count=len(values),
            max=float(largest),
            mean=float(values.mean(dtype=np.float64)),
            frequency=len(values) / total,
            n_sequences=len(distinct),
            n_groups=1 + int(np.count_nonzero(np.diff(groups))),
        )


def _name(choice: str | Callable[..., Any]) -> str:
    """What the settings call a choice: its name, or where a user's own callable is defined."""
    if isinstance(choice, str):
        return choice
    named = choice if hasattr(choice, "__qualname__") else type(choice)  # an object that can be called has no name
    return f"{named.__module__}.{named.__qualname__}"


def _checked_neighbours(neighbours: np.ndarray | None, n_features: int, needed: bool) -> np.ndarray | None:
    if neighbours is None:
        if needed:
            raise UsageError("negatives 'neighbour' need neighbours=, e.g. nearest_features(decoder vectors, k=10)")
        return None
    neighbours = np.asarray(neighbours)
    right = neighbours.ndim == 2 and len(neighbours) == n_features and np.issubdtype(neighbours.dtype, np.integer)
    if not right or not neighbours.size or neighbours.max() >= n_features:
        raise UsageError(
            f"neighbours of shape {neighbours.shape}, {neighbours.dtype}: ({n_features}, k) features are needed"
        )
    return neighbours.astype(np.int64)


def _at_least(least: int, **settings: int) -> None:
    for name, value in settings.items():
        if value < least:
            raise UsageError(f"{name} {value}: must be at least {least}")
