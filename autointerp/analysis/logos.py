"""Logos: which tokens stand at and around the peaks of a feature more often than in the corpus."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

    from autointerp.analysis.firing import Fired, Tokens
    from autointerp.cache import ActivationCache
    from autointerp.corpus import Corpus

REACH = 10
"""Offsets −REACH … REACH around the peak."""
ABOVE = 0.5
"""Share of the feature's maximum that a peak must reach."""
SYMBOLS = 8
"""Symbols at an offset at most."""
MAX_P = 1e-2
"""Binomial probability, given the background, of as many of a symbol as there are: no rarer symbol is shown."""
PSEUDOCOUNT = 2.0
"""Peaks with the background's composition that are added to those seen."""


@dataclass(frozen=True, eq=False)
class Alphabet:
    """What a corpus's tokens look like, and how common they are.

    Attributes
    ----------
    symbol : (n_ids,) object, the text of each token id. share : (n_ids,) of the corpus's tokens.
    """

    symbol: np.ndarray
    share: np.ndarray

    @classmethod
    def of(cls, cache: ActivationCache, corpus: Corpus) -> Alphabet:
        """Read off one place of each token id in the corpus; an id without text of its own is written ``<id>``."""
        ids, offsets = cache.tokens, np.asarray(cache.offsets)
        count = np.bincount(ids)
        place = np.zeros(len(count), np.int64)
        place[ids[::-1]] = np.arange(len(ids))[::-1]
        symbol = np.array([f"<{i}>" for i in range(len(count))], object)
        seen = np.flatnonzero(count)
        last, text = -1, ""
        for i in seen[np.argsort(place[seen])].tolist():
            at = int(place[i])
            row = int(np.searchsorted(offsets, at, "right")) - 1
            if row != last:
                last, text = row, corpus.text(row)
            if cache.ends is None:
                begin = at - int(offsets[row])
                end = begin + 1
            else:
                begin = int(cache.ends[at - 1]) if at > offsets[row] else 0
                end = int(cache.ends[at])
            symbol[i] = text[begin:end] or symbol[i]
        if corpus.kind == "protein":
            symbol = np.array([s.upper() for s in symbol], object)
        return cls(symbol, count / max(len(ids), 1))


def logos(
    fired: Fired, strongest: np.ndarray, top: np.ndarray, tokens: Tokens, ids: np.ndarray, alphabet: Alphabet
) -> pa.Table:
    """Rows of ``logo.parquet`` for the features of a chunk.

    ``bits`` is p · log2(p / q), with q the symbol's share of the corpus and p that at the offset, with pseudocounts:
    summed over all symbols, the information there (Kullback & Leibler) against the background. Of an offset stand the
    symbols that are enriched (binomial tail at most ``MAX_P``, two peaks at least), the most bits first; ``n`` is the
    number of peaks whose sequence reaches so far.

    Parameters
    ----------
    strongest : rows of ``fired`` whose peaks are looked at, where they are strong enough. top : (n,) maxima.
    ids : (n_tokens,) token ids.
    """
    from scipy.special import bdtrc

    from autointerp.analysis.tables import table_of

    width, n_ids = 2 * REACH + 1, len(alphabet.share)
    row = strongest[fired.peak[strongest] >= ABOVE * top[fired.feature[strongest]]]
    feature, sequence, place = fired.feature[row], fired.sequence[row], fired.place[row]
    at = place[:, None] + np.arange(-REACH, REACH + 1)
    inside = (at >= tokens.offsets[sequence][:, None]) & (at < tokens.offsets[sequence + 1][:, None])
    column = (feature.astype(np.int64)[:, None] * width + np.arange(width))[inside]
    total = np.bincount(column, minlength=fired.n * width)
    cell, count = np.unique(column * n_ids + ids[at[inside]], return_counts=True)
    column, token = cell // n_ids, cell % n_ids
    n, q = total[column], alphabet.share[token]
    p = (count + PSEUDOCOUNT * q) / (n + PSEUDOCOUNT)
    bits = p * np.log2(p / q)
    listed = np.flatnonzero((count > 1) & (bits > 0) & (bdtrc(count - 1, n, q) <= MAX_P))
    listed = listed[np.lexsort((token[listed], -bits[listed], column[listed]))]
    sizes = np.bincount(column[listed], minlength=fired.n * width)
    rank = np.arange(len(listed)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    listed = listed[rank < SYMBOLS]
    column = column[listed]
    return table_of(
        "logo",
        {
            "feature": fired.first + column // width,
            "offset": column % width - REACH,
            "symbol": alphabet.symbol[token[listed]].tolist(),
            "count": count[listed],
            "n": n[listed],
            "bits": bits[listed],
        },
    )
