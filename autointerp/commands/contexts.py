"""One feature's strongest contexts as lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from autointerp.cache import ActivationCache
from autointerp.commands.terminal import highlighted, plain
from autointerp.corpus import Corpus
from autointerp.errors import UsageError


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
    if corpus.digest != cache.manifest["corpus"]["digest"]:
        raise UsageError(f"{cache.path} was not made from {corpus.path}: give the corpus that was cached")
    tokens, values = cache[feature]
    total = cache.n_sequences if cache.level == "sequence" else cache.n_tokens
    yield f"feature {feature}: fires on {len(tokens):,} of {total:,} {cache.level}s ({len(tokens) / max(total, 1):.3%})"
    if not len(tokens):
        return
    top = float(values.max())
    yield f"max {top:.4g}, mean {values.mean(dtype=np.float64):.4g} where it fires"
    for row, start, stop, peak in _best(cache, tokens, values, n, context):
        shown = _activations(cache, tokens, values, row, start, stop)
        yield f"{peak:>8.4g}  {plain(corpus.ids[row])}, tokens {start + 1:,}–{stop:,}"
        yield "          " + highlighted(_pieces(cache, corpus, row, start, stop), shown, top, colour)


def _best(
    cache: ActivationCache, tokens: np.ndarray, values: np.ndarray, n: int, context: int
) -> Iterator[tuple[int, int, int, float]]:
    """The ``n`` strongest contexts that share no token: (sequence, first token in it, token after it, peak)."""
    taken: dict[int, list[tuple[int, int]]] = {}
    for index in np.argsort(-values.astype(np.float32), kind="stable").tolist():
        if cache.level == "sequence":
            row, place = int(tokens[index]), 0
        else:
            row = int(np.searchsorted(cache.offsets, tokens[index], "right")) - 1
            place = int(tokens[index] - cache.offsets[row])
        length = int(cache.offsets[row + 1] - cache.offsets[row])
        start = max(min(place - context // 2, length - context), 0)
        stop = min(start + context, length)
        spans = taken.setdefault(row, [])
        if any(a < stop and start < b for a, b in spans):
            continue
        spans.append((start, stop))
        yield row, start, stop, float(values[index])
        if (n := n - 1) == 0:
            return


def _activations(
    cache: ActivationCache, tokens: np.ndarray, values: np.ndarray, row: int, start: int, stop: int
) -> list[float]:
    """The feature's activation at each token of a context; at level ``sequence`` the sequence's own, everywhere."""
    if cache.level == "sequence":
        return [float(values[np.searchsorted(tokens, row)])] * (stop - start)
    base = int(cache.offsets[row])
    first, last = np.searchsorted(tokens, [base + start, base + stop])
    shown = np.zeros(stop - start, np.float32)
    shown[tokens[first:last].astype(np.int64) - base - start] = values[first:last]
    return shown.tolist()


def _pieces(cache: ActivationCache, corpus: Corpus, row: int, start: int, stop: int) -> list[str]:
    """The text of each token of a context."""
    text, base = corpus.text(row), int(cache.offsets[row])
    if cache.ends is None:
        return list(text[start:stop])
    ends = cache.ends[base : base + stop].tolist()
    return [text[a:b] for a, b in zip([0, *ends], ends, strict=False)][start:]
