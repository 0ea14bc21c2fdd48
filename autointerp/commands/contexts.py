"""One feature's strongest contexts as lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from autointerp.cache import ActivationCache
from autointerp.commands.terminal import highlighted, plain
from autointerp.corpus import Corpus
from autointerp.features.checks import check_corpus
from autointerp.features.contexts import Bins, bins_of
from autointerp.features.examples import Cutter
from autointerp.features.sites import Sites


def lines(cache: ActivationCache, corpus: Corpus, feature: int, n: int, context: int, colour: bool) -> Iterator[str]:
    """The numbers of ``feature``, then two lines for each of its ``n`` strongest contexts that share no token.

    Parameters
    ----------
    context : tokens of a context; it is centred on its peak as far as the sequence's ends allow.
    colour : activations as background colours; else active tokens stand in « ».

    Raises
    ------
    UsageError : the cache was made from another corpus, or has no such feature.
    """
    check_corpus(cache, corpus)
    tokens, values = cache[feature]
    total = cache.n_sequences if cache.level == "sequence" else cache.n_tokens
    count, top, mean = len(tokens), values.max(initial=0), values.mean(dtype=np.float64) if len(values) else 0.0
    if capped := cache.known(feature) is not None:
        count, top, mean = (cache.statistics[name][feature] for name in ("count", "max", "mean"))
    yield f"feature {feature}: fires on {count:,} of {total:,} {cache.level}s ({count / max(total, 1):.3%})"
    if not len(tokens):
        return
    yield f"max {top:.4g}, mean {mean:.4g} where it fires"
    if capped:
        yield f"the cache holds {len(tokens):,} of these activations: all those of a random subset of sequences"
    bins = bins_of(cache, context, centred=True)
    sites = _best(bins, tokens, values, n)
    cutter = Cutter(cache, corpus, bins, context)
    examples = cutter.examples(sites, ["activating"] * len(sites), [0] * len(sites), tokens, values)
    for peak, e in zip(sites.peak, examples, strict=True):
        yield f"{peak:>8.4g}  {plain(corpus.ids[e.sequence])}, tokens {e.start + 1:,}–{e.start + len(e.ends):,}"
        yield "          " + highlighted(e.tokens, e.activations.tolist(), float(top), colour)


def _best(bins: Bins, tokens: np.ndarray, values: np.ndarray, n: int) -> Sites:
    """The ``n`` strongest sites, ties by position, whose contexts share no token."""
    order = np.argsort(-values.astype(np.float32), kind="stable")
    sites = Sites(bins.sequences_of(tokens)[order], tokens[order], values[order]).wide()
    taken: dict[int, list[tuple[int, int]]] = {}
    chosen: list[int] = []
    for i, (row, start, stop) in enumerate(
        zip(sites.sequence, *bins.extent(sites.sequence, sites.position), strict=True)
    ):
        spans = taken.setdefault(row, [])
        if not any(a < stop and start < b for a, b in spans):
            spans.append((start, stop))
            chosen.append(i)
            if len(chosen) == n:
                break
    return sites.take(np.array(chosen))
