"""The FeatureLoader: records of features, built when asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from autointerp.cache.reader import ActivationCache
from autointerp.errors import NotEnoughExamples, UsageError
from autointerp.features.contexts import Bins, Windows
from autointerp.features.negatives import random_silent
from autointerp.features.samplers import Sampler, find_sampler, quantile_of
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
    context : tokens of a context; at level ``sequence`` the most tokens of a sequence that are shown.
    contexts : ``"centred"`` on the peak, or ``"fixed"`` windows.
    sampler : for the explainer: ``quantiles``, ``top``, ``random``, ``mix``, or a callable; test always uses ``quantiles``.
    n_quantiles : quantiles of the peak, within a side.
    min_examples : fewer activating or non-activating contexts than this, on explain or test, and the feature is skipped.
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
        context: int = 32,
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
        for name, value, least in (("n_explain", n_explain, 1), ("n_test", n_test, 1), ("context", context, 2),
                                   ("n_quantiles", n_quantiles, 1), ("min_examples", min_examples, 1)):  # fmt: skip
            if value < least:
                raise UsageError(f"{name} {value}: must be at least {least}")
        self.cache, self.corpus, self.seed = cache, corpus, seed
        self.n_examples = {"explain": n_explain, "validation": n_validation, "test": n_test}
        self.n_non_activating, self.min_examples, self.n_quantiles = n_non_activating, min_examples, n_quantiles
        self.samplers = {name: find_sampler(sampler if name == "explain" else "quantiles") for name in SIDES}
        self.sampler = sampler if isinstance(sampler, str) else f"{sampler.__module__}.{sampler.__qualname__}"
        self.context, self.split = context, tuple(split)
        self.by_sequence = cache.level == "sequence"
        self.centred = contexts == "centred" and not self.by_sequence

    def __len__(self) -> int:
        return self.cache.n_features

    def __getitem__(self, feature: int) -> FeatureRecord:
        """The record of one feature.

        Raises
        ------
        NotEnoughExamples : fewer than ``min_examples`` contexts of a kind on the explain or the test side.
        """
        tokens, values = self.cache[feature]
        if not len(tokens):
            raise NotEnoughExamples(feature, 0, self.min_examples)
        active, windows = self._bins.active(tokens, values)
        side_of_window = self._side_of_sequence[windows.sequence]
        sides = {}
        for code, name in enumerate(SIDES):
            if self.n_examples[name]:
                sides[name] = self._side(
                    feature, code, windows.take(np.flatnonzero(side_of_window == code)), active, tokens, values
                )
        return FeatureRecord(
            feature,
            sides["explain"],
            sides.get("validation", Side()),
            sides["test"],
            self._statistics(tokens, values, windows.sequence),
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
            "cache": digest_json({k: self.cache.manifest[k] for k in ("subject", "coder", "corpus", "settings")}),
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
    def _side_of_sequence(self) -> np.ndarray:
        return assign_sides(self._groups, self.split, self.seed)

    @cached_property
    def _groups(self) -> np.ndarray:
        return np.asarray(self.corpus.groups)[: self.cache.n_sequences]

    @cached_property
    def _bins_of_side(self) -> list[np.ndarray]:
        sequence = np.repeat(np.arange(self.cache.n_sequences), np.diff(self._bins.base))
        return [np.flatnonzero(self._side_of_sequence[sequence] == code) for code in range(len(SIDES))]

    def _side(
        self, feature: int, code: int, windows: Windows, active: np.ndarray, tokens: np.ndarray, values: np.ndarray
    ) -> Side:
        rng = np.random.default_rng([self.seed, feature, code])
        if len(windows) < self.min_examples:
            raise NotEnoughExamples(
                feature, len(windows), self.min_examples, f"activating contexts on the {SIDES[code]} side"
            )
        chosen = self.samplers[SIDES[code]](windows.peak, self.n_examples[SIDES[code]], self.n_quantiles, rng)
        chosen = chosen[np.argsort(-windows.peak[chosen], kind="stable")]
        quantile = quantile_of(windows.peak, self.n_quantiles)[chosen]
        silent = random_silent(self._bins, self._bins_of_side[code], active, tokens, self.n_non_activating, rng)
        if len(silent) < min(self.min_examples, self.n_non_activating):
            raise NotEnoughExamples(
                feature, len(silent), self.min_examples, f"non-activating contexts on the {SIDES[code]} side"
            )
        positives = self._examples(windows.take(chosen), "activating", quantile, tokens, values)
        negatives = self._examples(silent, "random", np.full(len(silent), -1), tokens, values)
        return Side(tuple(positives), tuple(negatives))

    def _examples(
        self, windows: Windows, kind: str, quantile: np.ndarray, tokens: np.ndarray, values: np.ndarray
    ) -> Iterator[Example]:
        if self.by_sequence:
            start = self.cache.offsets[windows.sequence]
            stop = np.minimum(self.cache.offsets[windows.sequence + 1], start + self.context)
        else:
            start, stop = windows.start, windows.stop
        activations = self._activations(windows, start, stop, tokens, values)
        ends = self.cache.ends
        for i, (sequence, a, b) in enumerate(
            zip(windows.sequence.tolist(), start.tolist(), stop.tolist(), strict=True)
        ):
            base, after = self.cache.offsets[sequence : sequence + 2].tolist()
            text = self.corpus.text(sequence)
            if ends is None:
                piece, piece_ends = text[a - base : b - base], np.arange(1, b - a + 1)
            else:
                left = int(ends[a - 1]) if a > base else 0
                piece, piece_ends = text[left : int(ends[b - 1])], ends[a:b].astype(np.int64) - left
            yield Example(
                sequence=sequence,
                start=a - base,
                text=piece,
                ends=piece_ends,
                activations=activations[i][: b - a],
                group=int(self._groups[sequence]),
                kind=kind,
                quantile=int(quantile[i]),
                length=after - base,
                metadata=_Metadata(self.corpus, sequence),
            )

    def _activations(
        self, windows: Windows, start: np.ndarray, stop: np.ndarray, tokens: np.ndarray, values: np.ndarray
    ) -> np.ndarray:
        """(n_windows, longest) float32; at level ``sequence`` a sequence's one value stands at all its tokens."""
        lengths = stop - start
        dense = np.zeros((len(windows), int(lengths.max(initial=0))), np.float32)
        if self.by_sequence:
            return dense + windows.peak[:, None]
        first, last = np.searchsorted(tokens, start), np.searchsorted(tokens, stop)
        counts = last - first
        source = np.repeat(first - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())
        row = np.repeat(np.arange(len(windows)), counts)
        dense[row, tokens[source].astype(np.int64) - start[row]] = values[source]
        return dense

    def _statistics(self, tokens: np.ndarray, values: np.ndarray, sequences: np.ndarray) -> FeatureStatistics:
        total = self.cache.n_sequences if self.by_sequence else self.cache.n_tokens
        distinct = sequences[np.concatenate([[True], np.diff(sequences) > 0])]
        return FeatureStatistics(
            count=len(tokens),
            max=float(values.max()),
            mean=float(values.mean(dtype=np.float64)),
            frequency=len(tokens) / total,
            n_sequences=len(distinct),
            n_groups=len(np.unique(self._groups[distinct])),
        )


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
