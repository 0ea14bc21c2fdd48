"""Where what comes from other tools lands: a run folder with its own corpus and cache of the contexts they carry."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autointerp.errors import FormatError, UsageError
from autointerp.files import write_text
from autointerp.records import Explanation, FeatureStatistics, Score

if TYPE_CHECKING:
    from autointerp.cache import ActivationCache
    from autointerp.store import RunStore

AT_ONCE = 256
"""Features that are worked on together."""
LETTERS = frozenset("ABCDEFGHIKLMNOPQRSTUVWXYZ")


@dataclass(frozen=True, slots=True)
class Shown:
    """A context of one feature, as another tool shows it.

    Attributes
    ----------
    tokens, values : one for each other. source : of contexts with the same, one document is where they come from.
    """

    feature: int
    tokens: Sequence[str]
    values: Sequence[float]
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """An explanation and its scores, with the client of each."""

    explanation: Explanation
    client: str
    scores: tuple[tuple[Score, str], ...] = ()


@dataclass
class Landed:
    """What was read, and what was left out and why, by count."""

    explanations: int = 0
    scores: int = 0
    contexts: int = 0
    features: int = 0
    left_out: dict[str, int] = field(default_factory=dict)

    def leave(self, reason: str) -> None:
        """Count something that was left out."""
        self.left_out[reason] = self.left_out.get(reason, 0) + 1


class Contexts:
    """Contexts on their way into a corpus and a cache: a block of the cache for each batch of features.

    Parameters
    ----------
    folder : of the cache. n_features : of the coder. kind : ``protein`` if every token is a residue; found from the
        first batch if it is None.
    """

    def __init__(self, folder: Path, n_features: int, kind: str | None) -> None:
        self.folder, self.n_features, self.kind = folder, n_features, kind
        self._ids: dict[str, int] = {}
        self._groups: dict[str, int] = {}
        self._texts: list[Any] = []
        self._of: list[int] = []
        self._blocks: list[dict[str, Any]] = []

    def __len__(self) -> int:
        return len(self._of)

    def add(self, batch: Sequence[Shown]) -> list[int]:
        """Take in a batch of contexts; return the row of each in the corpus. Equal ones share a row.

        Raises
        ------
        FormatError : a feature that there is not, or a token that is no residue after a first batch of residues.
        """
        import pyarrow as pa

        if (beyond := max((s.feature for s in batch), default=0)) >= self.n_features:
            raise FormatError(self.folder, f"features 0 … {self.n_features - 1}", f"a context of feature {beyond}")
        if self.kind is None and batch:
            self.kind = "protein" if all(set(s.tokens) <= LETTERS for s in batch) else "text"
        places: dict[tuple[str, ...], int] = {}
        rows = [places.setdefault(tuple(shown.tokens), len(places)) for shown in batch]
        first = {row: shown for row, shown in zip(reversed(rows), reversed(batch), strict=True)}
        own = [first[row] for row in range(len(places))]
        if self.kind == "protein" and (odd := next((t for s in own for t in s.tokens if t not in LETTERS), None)):
            raise FormatError(self.folder, "residues, as in the first contexts", f"token {odd!r}: give --kind text")
        base = len(self)
        if own:
            self._of += [self._group(shown.source, base + row) for row, shown in enumerate(own)]
            self._texts.append(pa.array(["".join(shown.tokens) for shown in own], pa.large_string()))
            self._block(own, rows, batch, base)
        return [base + row for row in rows]

    def _group(self, source: str | None, row: int) -> int:
        return self._groups.setdefault(f"row {row}" if source is None else f"source {source}", len(self._groups))

    def _block(self, own: Sequence[Shown], rows: Sequence[int], batch: Sequence[Shown], base: int) -> None:
        from scipy.sparse import coo_array

        from caching.blocks import count_sequences, feature_major, write_block

        sizes = np.array([len(shown.tokens) for shown in own], np.int64)
        offsets = np.concatenate([[0], np.cumsum(sizes)])
        once = {(row, shown.feature): shown for row, shown in zip(reversed(rows), reversed(batch), strict=True)}
        token = [np.arange(len(s.values)) + offsets[row] for (row, _), s in once.items()]
        feature = [np.full(len(s.values), f) for (_, f), s in once.items()]
        value = np.concatenate([np.asarray(s.values, np.float32) for s in once.values()])
        kept = (value > 0) & np.isfinite(value)
        where = (np.concatenate(token)[kept], np.concatenate(feature)[kept])
        codes = coo_array((value[kept].view(np.uint32), where), (int(offsets[-1]), self.n_features)).tocsr()
        indptr, place, bits = feature_major(codes)
        ids = [self._ids.setdefault(token, len(self._ids)) for shown in own for token in shown.tokens]
        tensors = {
            "indptr": indptr,
            "token": (place + self._n_tokens).astype(np.uint32),
            "value": bits.view(np.float32),
            "n_sequences": count_sequences(indptr, place, offsets),
            "tokens": np.array(ids, np.uint32),
            "offsets": offsets,
        }
        if self.kind == "text":
            lengths = [np.cumsum([len(token) for token in shown.tokens]) for shown in own]
            tensors["ends"] = np.concatenate(lengths).astype(np.uint32)
        self._blocks.append(write_block(self.folder, len(self._blocks), tensors, base, base + len(own)))

    @property
    def _n_tokens(self) -> int:
        return sum(block["n_tokens"] for block in self._blocks)

    def finish(self, corpus_folder: Path, facts: Mapping[str, Any]) -> None:
        """Write corpus and manifest. ``facts``: ``subject``, ``hook`` and ``format`` of the source."""
        import pyarrow as pa

        from autointerp.corpus import Corpus
        from caching.interchange.finish import finish

        kind, hook = self.kind or "text", str(facts["hook"])
        columns = {"id": [f"context-{i}" for i in range(len(self))], "text": pa.chunked_array(self._texts)}
        table = pa.table(columns | {"group": self._of})
        source = {"format": facts["format"], "hook": hook}
        grouping = {"by": "source of the context"}
        corpus = Corpus.write(corpus_folder, table, kind=kind, source=source, grouping=grouping)
        longest = max(int(n) for n in corpus.lengths) if len(corpus) else 0
        about = {"name": str(facts["subject"]), "digest": None, "kind": kind, "causal": None, "hook": hook}
        manifest = {
            "level": "token",
            "pooling": None,
            "subject": about | {"context_length": longest, "dtype": "unknown type"},
            "special_tokens": {"rule": "as the source has them", "ids": {}},
            "coder": {"digest": None, "architecture": "unknown", "d_in": None, "k": None},
            "settings": {"hook": hook, "level": "token", "source": {"format": facts["format"]}},
            "n_features": self.n_features,
            "value_dtype": "float32",
            "blocks": self._blocks,
        }
        finish(self.folder, manifest, corpus, 1 << 22, None)


def statistics_of(
    cache: ActivationCache | None, known: Mapping[int, Mapping[str, Any]], feature: int
) -> FeatureStatistics:
    """What goes beside an explanation: counts over the contexts that are here, and what ``known`` says in their place.

    Parameters
    ----------
    known : by feature ``max`` and ``frequency`` as the source says, over its whole corpus.
    """
    said = {name: value for name, value in known.get(feature, {}).items() if value is not None}
    if cache is None:
        return FeatureStatistics(0, said.get("max", 0.0), 0.0, said.get("frequency", 0.0), 0, 0)
    count, n, top, mean = (cache.statistics[name][feature].item() for name in ("count", "n_sequences", "max", "mean"))
    frequency = said.get("frequency", count / max(cache.n_tokens, 1))
    return FeatureStatistics(count, said.get("max", top), mean, frequency, n, n)


def statistics_shown(shown: Sequence[Shown]) -> FeatureStatistics:
    """The same, from contexts themselves."""
    values = np.concatenate([np.asarray(s.values, np.float32) for s in shown] or [np.empty(0, np.float32)])
    active, n = values[values > 0], sum(max(s.values) > 0 for s in shown)
    mean = float(active.mean()) if len(active) else 0.0
    return FeatureStatistics(len(active), float(active.max(initial=0)), mean, len(active) / max(len(values), 1), n, n)


def write_results(store: RunStore, told: Iterable[Told], statistics: Callable[[int], FeatureStatistics]) -> None:
    """Write explanations and scores into the store, some hundred at a time."""

    async def put(part: Sequence[Told]) -> None:
        explanations = [
            store.put_explanation(one.explanation, one.client, statistics(one.explanation.feature)) for one in part
        ]
        scores = [store.put_score(score, one.client, client) for one in part for score, client in one.scores]
        await asyncio.gather(*explanations, *scores)

    rest = iter(told)
    while batch := list(islice(rest, AT_ONCE)):
        asyncio.run(put(batch))


def write_settings(place: Path, out: Path, facts: Mapping[str, Any]) -> None:
    """``run.toml``, which tells readers where corpus and cache will lie once ``place`` is ``out``."""
    folder = out.absolute()
    lines = ["[run]", *(f"{n} = {json.dumps(str(folder / n))}" for n in ("cache", "corpus") if (place / n).is_dir())]
    lines.append(f"out = {json.dumps(str(folder))}")
    lines.append(f"# imported from {facts['format']}: {json.dumps(str(facts['subject']))}")
    write_text(place / "run.toml", "\n".join(lines) + "\n")


def check_free(out: Path) -> None:
    """Refuse a folder that holds something.

    Raises
    ------
    UsageError : it does.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} exists and is not empty: choose another --out")
