"""Contexts of a feature, cut out of the cache: its strongest, some of each quantile, and those that were judged."""

from __future__ import annotations

from bisect import bisect_left
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from autointerp.dashboard.page import missing
from autointerp.features.contexts import bins_of

if TYPE_CHECKING:
    from autointerp.cache import ActivationCache
    from autointerp.corpus import Corpus

LENGTH = {"protein": 60, "text": 48}
"""Tokens of a context."""
WHOLE = 400
"""Tokens shown of a sequence at level ``sequence``."""
N_TOP, N_QUANTILES, N_EACH = 12, 5, 6
TITLES = ("title", "protein_names", "name", "entry_name", "gene_names")
"""Metadata columns of which the first that there is names a sequence."""
MOST_NOTES = 40
"""Annotations shown of a context."""


class Contexts:
    """Cuts contexts as JSON: ``row``, ``id``, ``title``, ``start``, ``of`` (tokens of the sequence), ``text``, ``ends``
    (of tokens in the text; absent for residues), ``at`` and ``v`` (where it fires, and how strongly), ``notes``
    (start, end, code of the kind, in the context; a list of kinds and labels is sent beside them).
    """

    def __init__(self, cache: ActivationCache, corpus: Corpus) -> None:
        self.cache, self.corpus = cache, corpus
        self.is_protein = cache.manifest["subject"]["kind"] == "protein"
        self.by_sequence = cache.level == "sequence"
        self.length = WHOLE if self.by_sequence else LENGTH["protein" if self.is_protein else "text"]
        self._title = next((name for name in TITLES if name in corpus.metadata_columns), None)

    @cached_property
    def _offsets(self) -> memoryview:
        """Of sequences among tokens; a memory view hands out Python's numbers, several times faster than NumPy does."""
        return np.ascontiguousarray(self.cache.offsets, np.int64).data

    @cached_property
    def _bins(self) -> Any:
        return bins_of(self.cache, self.length, centred=not self.by_sequence)

    @cached_property
    def _notes(self) -> tuple[memoryview, np.ndarray, np.ndarray, np.ndarray, list[tuple[str, str]]]:
        """First annotation of each sequence (n + 1), their starts, ends, codes, and what the codes mean."""
        table = self.corpus.annotations
        row, start, end = (table[name].to_numpy() for name in ("sequence", "start", "end"))
        order = np.lexsort((start, row))
        pairs = list(zip(table["type"].to_pylist(), table["label"].to_pylist(), strict=True))
        kinds = sorted({(t or "", label or "") for t, label in pairs})
        number = {pair: i for i, pair in enumerate(kinds)}
        code = np.array([number[t or "", label or ""] for t, label in pairs], np.int64)
        first = np.searchsorted(row[order], np.arange(len(self.corpus) + 1))
        return first.data, start[order], end[order], code[order], kinds

    def of(self, feature: int) -> dict[str, Any]:
        """The strongest contexts of a feature and some of each quantile, by their peaks.

        Returns
        -------
        ``groups`` (name, n, low, high, contexts), ``max``, ``kinds`` of annotations; or what to say instead.
        """
        if feature >= self.cache.n_features:
            return missing(f"The cache holds features 0 to {self.cache.n_features - 1:,}.")
        tokens, values = self.cache[feature]
        if not len(tokens):
            return missing("This feature never fires on the cached corpus.")
        sites = self._bins.active(tokens, values)[1].wide()
        order = np.argsort(-sites.peak, kind="stable")
        n, groups = len(order), []
        for name, chosen, whole in _chosen(n):
            ranks = order[chosen]
            peaks = sites.peak[order[whole]]
            picked = sites.take(ranks)
            starts = self._bins.extent(picked.sequence, picked.position)[0]
            cut = [
                self.window(row, start, None, tokens, values)
                for row, start in zip(
                    picked.sequence.tolist(), (starts - self._base(picked.sequence)).tolist(), strict=True
                )
            ]
            facts = {"name": name, "n": len(peaks), "low": float(peaks[-1]), "high": float(peaks[0])}
            groups.append(facts | {"contexts": cut})
        return {"groups": groups, "max": float(sites.peak.max()), "n": n, "level": self.cache.level}

    def _base(self, sequence: np.ndarray) -> np.ndarray:
        """What to subtract from a flat position to have the place in its sequence."""
        return sequence if self.by_sequence else self.cache.offsets[sequence]

    def examples(self, feature: int, ids: list[str]) -> list[dict[str, Any] | None]:
        """The contexts with these ids, ``sequence:start:length``; None for what is no such id."""
        tokens, values = self.cache[feature] if feature < self.cache.n_features else (np.zeros(0, np.uint32),) * 2
        return [self._example(one, tokens, values) for one in ids]

    def _example(self, name: str, tokens: np.ndarray, values: np.ndarray) -> dict[str, Any] | None:
        try:
            row, start, n = map(int, name.split(":"))
        except ValueError:
            return None
        if not 0 <= row < self.cache.n_sequences:
            return None
        return self.window(row, start, n, tokens, values)

    def window(self, row: int, start: int, n: int | None, tokens: np.ndarray, values: np.ndarray) -> dict[str, Any]:
        """``n`` tokens of sequence ``row`` from ``start`` on, and where a feature fires in them."""
        cache, base, after = self.cache, self._offsets[row], self._offsets[row + 1]
        start = max(0, min(start, after - base))
        stop = min(start + (n or self.length), after - base)
        context = {"row": row, "id": self.corpus.ids[row], "start": start, "of": after - base}
        if self._title and (title := self.corpus.column(self._title)[row].as_py()):
            context["title"] = str(title)[:120]
        if cache.ends is None:
            context["text"] = self.corpus.text(row)[start:stop]
        else:
            left = int(cache.ends[base + start - 1]) if start else 0
            ends = cache.ends[base + start : base + stop].astype(np.int64)
            context["text"] = self.corpus.text(row)[left : int(ends[-1]) if len(ends) else left]
            context["ends"] = (ends - left).tolist()
        if self.by_sequence:
            at = np.searchsorted(tokens, row)
            fires = at < len(tokens) and int(tokens[at]) == row
            context["whole"] = float(np.float32(values[at])) if fires else 0.0
            return context | {"at": [], "v": []} | self._annotated(row, start, stop)
        # a few numbers out of many: Python's are ready before NumPy has begun
        first, last = (bisect_left(tokens.data, base + at) for at in (start, stop))
        context["at"] = [token - base - start for token in tokens[first:last].tolist()]
        context["v"] = [round(v, 3) for v in values[first:last].tolist()]
        return context | self._annotated(row, start, stop)

    def _annotated(self, row: int, start: int, stop: int) -> dict[str, Any]:
        first, begin, end, code, _ = self._notes
        if first[row] == first[row + 1]:
            return {}
        part = slice(first[row], first[row + 1])
        inside = np.flatnonzero((begin[part] < stop) & (end[part] > start))[:MOST_NOTES] + first[row]
        if not len(inside):
            return {}
        return {
            "notes": [[max(int(begin[i]) - start, 0), min(int(end[i]), stop) - start, int(code[i])] for i in inside]
        }

    def kinds(self, contexts: list[dict[str, Any]]) -> dict[int, tuple[str, str]]:
        """(type, label) of the codes of the annotations in some contexts."""
        kinds = self._notes[4]
        return {code: kinds[code] for context in contexts for _, _, code in context.get("notes", ())}


def _chosen(n: int) -> list[tuple[str, np.ndarray, slice]]:
    """(name, ranks to show, ranks of the group), rank 0 the strongest: the top, then quantiles from the highest on."""
    groups = [("top", np.arange(min(N_TOP, n)), slice(0, min(N_TOP, n)))]
    if n < 2 * N_QUANTILES:
        return groups
    bounds = [n * i // N_QUANTILES for i in range(N_QUANTILES + 1)]
    for i in range(N_QUANTILES):
        low, high = bounds[i], bounds[i + 1]
        picked = np.unique(np.linspace(low, high - 1, min(N_EACH, high - low)).round().astype(np.int64))
        name = f"{100 - 100 * (i + 1) // N_QUANTILES}–{100 - 100 * i // N_QUANTILES} %"
        groups.append((name, picked, slice(low, high)))
    return groups
