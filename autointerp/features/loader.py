"""The FeatureLoader: records of features, built when asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from autointerp.cache.reader import ActivationCache
from autointerp.errors import NotEnoughExamples, UsageError
from autointerp.features.contexts import Bins, Sites
from autointerp.features.negatives import random_silent
from autointerp.features.samplers import Sampler, ascending, find_sampler
from autointerp.features.splits import SIDES, assign_sides
from autointerp.files import digest_json
from autointerp.records import Example, FeatureRecord, FeatureStatistics, Side, Skipped

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
    sampler : of the explain side: ``quantiles``, ``top``, ``random``, ``mix`` or a callable; ``quantiles`` elsewhere.
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
        sampler: str | Sampler = "quantiles",
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
        self.samplers = {name: find_sampler(sampler if name == "explain" else "quantiles") for name in SIDES}
        self.sampler = sampler if isinstance(sampler, str) else f"{sampler.__module__}.{sampler.__qualname__}"
        self.context, self.split = context, split
        self._groups = corpus.groups[: cache.n_sequences]
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
        order = ascending(sites.peak.astype(dtype))
        side_of_site = self._side_of_sequence[sites.sequence[order]]
        sides = {
            name: self._side(feature, code, sites.take(order[side_of_site == code]), active, tokens, values)
            for code, name in enumerate(SIDES)
            if self.n_examples[name]
        }
        return FeatureRecord(
            feature,
            sides["explain"],
            sides.get("validation", Side()),
            sides["test"],
            self._statistics(tokens, values, sites.sequence),
            modality=self.corpus.kind,
            level=self.cache.level,
        )

    def iterate(self, features: Iterable[int] | None = None) -> Iterator[FeatureRecord | Skipped]:
        """Records of ``features`` (all by default), a :class:`Skipped` where there are too few examples."""
        for feature in range(len(self)) if features is None else features:
            try:
                yield self[int(feature)]
            except NotEnoughExamples as error:
                yield Skipped(error.feature, error.what, error.have, error.need)

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
            "sampler": self.sampler,
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
    def _bins_of_side(self) -> list[np.ndarray]:
        """Ids of the bins on each side; a sequence without tokens (at level ``sequence``) cannot be shown."""
        sequence = np.repeat(np.arange(self.cache.n_sequences), np.diff(self._bins.base))
        side = np.where(np.diff(self.cache.offsets) > 0, self._side_of_sequence, -1)[sequence]
        return [np.flatnonzero(side == code) for code in range(len(SIDES))]

    def _side(
        self, feature: int, code: int, sites: Sites, active: np.ndarray, tokens: np.ndarray, values: np.ndarray
    ) -> Side:
        """One side's examples; ``sites`` ascend by peak, so that a site's rank is its index."""
        rng = np.random.default_rng([self.seed, feature, code])
        name = SIDES[code]
        if len(sites) < self.min_examples:
            raise NotEnoughExamples(feature, len(sites), self.min_examples, f"activating contexts on the {name} side")
        chosen = np.sort(self.samplers[name](sites.peak, self.n_examples[name], self.n_quantiles, rng))[::-1]
        silent = random_silent(self._bins, self._bins_of_side[code], active, tokens, self.n_non_activating, rng)
        if len(silent) < (need := min(self.min_examples, self.n_non_activating)):
            raise NotEnoughExamples(feature, len(silent), need, f"non-activating contexts on the {name} side")
        shown, kinds = sites.take(chosen).join(silent), ["activating"] * len(chosen) + ["random"] * len(silent)
        quantile = np.append(chosen * self.n_quantiles // len(sites), np.full(len(silent), -1))
        examples = tuple(self._examples(shown, kinds, quantile, tokens, values))
        return Side(examples[: len(chosen)], examples[len(chosen) :])

    def _examples(
        self, sites: Sites, kinds: list[str], quantile: np.ndarray, tokens: np.ndarray, values: np.ndarray
    ) -> Iterator[Example]:
        base, after = self.cache.offsets[sites.sequence], self.cache.offsets[sites.sequence + 1]
        if self.by_sequence:
            start, stop = base, np.minimum(after, base + self.context)
            activations = np.broadcast_to(sites.peak[:, None], (len(sites), self.context))
        else:
            start, stop = self._bins.extent(sites.sequence, sites.position)
            activations = self._activations(start, stop, tokens, values)
        # lists of Python numbers and `map`: 200 examples a feature are most of the loader's time
        rows, first, size = sites.sequence.tolist(), (start - base).tolist(), (stop - start).tolist()
        texts, ends = self._cut(rows, first, size, base.tolist())
        strength = [a if n == self.context else a[:n] for a, n in zip(activations, size, strict=True)]
        groups, lengths = self._groups[sites.sequence].tolist(), (after - base).tolist()
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

    def _statistics(self, tokens: np.ndarray, values: np.ndarray, sequences: np.ndarray) -> FeatureStatistics:
        total = self.cache.n_sequences if self.by_sequence else self.cache.n_tokens
        distinct = sequences[np.concatenate([[True], np.diff(sequences) > 0])]
        groups = np.sort(self._groups[distinct])  # not np.unique, which is slower by far
        return FeatureStatistics(
            count=len(tokens),
            max=float(values.max()),
            mean=float(values.mean(dtype=np.float64)),
            frequency=len(tokens) / total,
            n_sequences=len(distinct),
            n_groups=1 + int(np.count_nonzero(np.diff(groups))),
        )


def _at_least(least: int, **settings: int) -> None:
    for name, value in settings.items():
        if value < least:
            raise UsageError(f"{name} {value}: must be at least {least}")


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
