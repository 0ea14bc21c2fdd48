"""Clusters of near-duplicate texts: MinHash proposes pairs, the Jaccard similarity of their shingles decides.

The shingles of a text are its runs of nine characters, whatever the case and the white space: a length that sets
documents apart (Leskovec, Rajaraman & Ullman, Mining of Massive Datasets, §3.2), in any script. Signatures are those
of one-permutation hashing (Li, Owen & Zhang 2012), bins that stay empty filled by rotation (Shrivastava & Li 2014), one
byte a bin (Li & König 2010); texts that agree in one of their bands are compared (Broder 1997; Indyk & Motwani 1998).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from autointerp.corpus.kmers import components, relabel
from autointerp.progress import Observer, Stage

K = 9
MIN_JACCARD = 0.5
"""Jaccard similarity at and above which two texts are near-duplicates: some word in eight of one may be another's."""
BINS = 256
TURNS = 8
"""How often shingles are hashed anew for the bins that are still empty: a short text does not fill them at once."""
ROWS = 4
"""Bins of a signature, and of a band. Texts with a similarity s agree in one of 64 bands with 1 − (1 − s⁴)⁶⁴: 98 % at
½, 29 % at .27, 1 % at .1."""
WINDOW = 16
"""Texts that each is compared with, of those that agree with it in a band: enough to connect any number of copies."""
_CHARACTERS = 1 << 20  # of one batch of signatures, and of one batch of comparisons
_MIX = np.uint64(0x9E3779B97F4A7C15)
_EMPTY = np.uint64(2**64 - 1)


def near_duplicate_groups(texts: Sequence[str], observer: Observer | None = None) -> np.ndarray:
    """Connected components of the pairs whose similarity is at least :data:`MIN_JACCARD`.

    Parameters
    ----------
    texts : n texts.

    Returns
    -------
    (n,) int64 labels 0, 1, … in order of first appearance; which texts share one does not depend on their order. Memory
    is a copy of the texts, 256 bytes for each, and 40 bytes a character of the longest. Time grows with their length,
    and with the number of pairs that are about as similar as asked for: thousands of letters from one template.
    """
    order = sorted(range(len(texts)), key=texts.__getitem__)
    ordered = [_plain(texts[i]) for i in order]
    with Stage(observer, "signing", len(texts), "text") as stage:
        signatures, sizes = _signatures(ordered, stage)
    labels, links = np.arange(len(texts)), []
    with Stage(observer, "comparing", BINS // ROWS, "band") as stage:
        for pairs in _proposed(signatures):
            open_ = pairs[labels[pairs[:, 0]] != labels[pairs[:, 1]]]
            links.append(_similar(ordered, _likely(signatures, sizes, open_)))
            if len(links[-1]):
                labels = components(len(texts), links)
            stage.advance(1)
    found = np.empty(len(texts), np.int64)
    found[order] = labels
    return relabel(found)


def _plain(text: str) -> str:
    """A text in one case with single blanks, and of at least one shingle."""
    return " ".join(text.casefold().split()).ljust(K, "\0")


def _shingles(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The 64-bit hash of each run of :data:`K` characters, and the number (in ``texts``) of its text; both (n,)."""
    letters = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), np.uint32)
    lengths = np.array([len(text) for text in texts], np.int64)
    n = max(len(letters) - K + 1, 0)
    hashed = np.zeros(n, np.uint64)
    for offset in range(K):
        hashed = _mixed(hashed + letters[offset : offset + n])
    owner = np.repeat(np.arange(len(texts)), lengths)[:n]
    whole = np.arange(n) + K <= np.cumsum(lengths)[owner]  # not over the end of its text
    return _mixed(hashed[whole]), owner[whole]


def _mixed(values: np.ndarray) -> np.ndarray:
    """A bijection of 64-bit numbers whose high bits depend on all of the argument's."""
    return (values ^ (values >> np.uint64(29))) * _MIX


def _batches(lengths: np.ndarray) -> Iterator[tuple[int, int]]:
    """Cut a row of things so that each part has at most ``_CHARACTERS`` characters, or is one thing."""
    ends, start = np.cumsum(lengths), 0
    while start < len(lengths):
        most = (ends[start - 1] if start else 0) + _CHARACTERS
        end = max(start + 1, int(np.searchsorted(ends, most, side="right")))
        yield start, end
        start = end


def _signatures(texts: Sequence[str], stage: Observer) -> tuple[np.ndarray, np.ndarray]:
    """(n, BINS) bytes, equal where the least hash in a bin is (or by chance, once in 256); and shingles a text (n,)."""
    lengths = np.array([len(text) for text in texts], np.int64)
    signatures = np.empty((len(texts), BINS), np.uint8)
    for start, end in _batches(np.maximum(lengths, BINS)):
        hashed, owner = _shingles(texts[start:end])
        least = np.full((end - start) * BINS, _EMPTY)
        for _ in range(TURNS):
            places = owner * BINS + (hashed >> np.uint64(56)).astype(np.int64)
            empty = least[places] == _EMPTY
            np.minimum.at(least, places[empty], hashed[empty])
            hashed = _mixed(hashed)
        signatures[start:end] = _filled(least.reshape(-1, BINS))
        stage.advance(end - start)
    return signatures, lengths - K + 1


def _filled(least: np.ndarray) -> np.ndarray:
    """A byte for each bin; an empty one takes the next that is not, hashed with the distance."""
    places = np.where(least == _EMPTY, 2 * BINS, np.arange(BINS))
    twice = np.concatenate([places, places + BINS], 1)
    following = np.minimum.accumulate(twice[:, ::-1], 1)[:, : BINS - 1 : -1]
    values = np.take_along_axis(least, following % BINS, 1) + (following - np.arange(BINS)).astype(np.uint64)
    return (_mixed(values) >> np.uint64(56)).astype(np.uint8)


def _proposed(signatures: np.ndarray) -> Iterator[np.ndarray]:
    """For each band the pairs (m, 2) that agree in it; of many that do, those that agree on in the next stand near."""
    n = len(signatures)
    bands = np.ascontiguousarray(signatures.reshape(n, ROWS, BINS // ROWS).swapaxes(1, 2)).view(np.uint32)[:, :, 0]
    for band in range(bands.shape[1]):
        key, following = bands[:, band], bands[:, (band + 1) % bands.shape[1]]
        order = np.lexsort((following, key))
        ranked, pairs = key[order], [np.zeros((0, 2), np.int64)]
        for step in range(1, WINDOW + 1):
            first = np.flatnonzero(ranked[step:] == ranked[:-step])
            if not len(first):
                break
            pairs.append(np.stack([order[first], order[first + step]], 1))
        yield np.concatenate(pairs)


def _likely(signatures: np.ndarray, sizes: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """The pairs whose signatures allow for similarity: three standard errors, of as many bins as the shorter fills."""
    agree = np.concatenate(
        [np.zeros(0), *((signatures[i] == signatures[j]).mean(1) for i, j in (p.T for p in _parts(pairs)))]
    )
    return pairs[agree >= MIN_JACCARD - 1.5 / np.sqrt(np.minimum(sizes[pairs].min(1), BINS))]


def _parts(pairs: np.ndarray) -> Iterator[np.ndarray]:
    step = _CHARACTERS // BINS
    return (pairs[start : start + step] for start in range(0, len(pairs), step))


def _similar(texts: Sequence[str], pairs: np.ndarray) -> np.ndarray:
    """The pairs that are near-duplicates."""
    from scipy.sparse import csr_matrix

    lengths = np.array([len(texts[i]) + len(texts[j]) for i, j in pairs], np.int64)
    kept = [np.zeros((0, 2), np.int64)]
    for start, end in _batches(lengths):
        rows, inverse = np.unique(pairs[start:end], return_inverse=True)
        hashed, owner = _shingles([texts[i] for i in rows])
        columns = np.unique(hashed, return_inverse=True)[1]
        matrix = csr_matrix((np.ones(len(columns), np.int32), (owner, columns)), shape=(len(rows), len(hashed)))
        matrix.data[:] = 1  # a shingle twice in a text counts once
        one, other = inverse.reshape(-1, 2).T
        shared = np.asarray(matrix[one].multiply(matrix[other]).sum(1)).ravel()
        size = np.diff(matrix.indptr)
        kept.append(pairs[start:end][shared >= MIN_JACCARD * (size[one] + size[other] - shared)])
    return np.concatenate(kept)
