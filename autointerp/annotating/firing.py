"""Features that fire on given sequences, filtered and ranked, with what is known of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from autointerp.annotating.encode import Activations, begins, encode
from autointerp.errors import UsageError, nearest

if TYPE_CHECKING:
    from autointerp.annotating.tables import FeatureTables
    from autointerp.coders import SparseCoder
    from autointerp.subjects import Subject, Tokens

ORDERS = ("share", "activation", "coverage", "sum")
AT_ONCE = 20_000
"""Tokens that are worked on together; what is kept of them is released before the next."""


@dataclass(frozen=True, slots=True, eq=False)
class Firing:
    """One feature on one sequence.

    Attributes
    ----------
    positions : (n,) int32 tokens where it fires, ascending, from 0; empty at level ``sequence``.
    values : (n,) float32 its activations there; the one activation at level ``sequence``.
    peak : position of the largest, the first of several; −1 at level ``sequence``. max : the largest.
    share : of the feature's maximum in the corpus; None where that is unknown or 0. It may exceed 1.
    coverage : share of the sequence's tokens at which it fires. about : of :meth:`FeatureTables.about`.
    """

    feature: int
    positions: np.ndarray
    values: np.ndarray
    peak: int
    max: float
    share: float | None
    coverage: float
    about: Mapping[str, Any]

    def runs(self) -> list[tuple[int, int]]:
        """Stretches of neighbouring positions, half-open."""
        if not len(self.positions):
            return []
        cuts = np.flatnonzero(np.diff(self.positions) > 1) + 1
        return [(int(run[0]), int(run[-1]) + 1) for run in np.split(self.positions, cuts)]

    def as_json(self) -> dict[str, Any]:
        """Everything, as JSON holds it; values to four digits."""
        return {
            "feature": self.feature,
            "max": _rounded(self.max),
            "share": None if self.share is None else _rounded(self.share),
            "peak": self.peak,
            "coverage": _rounded(self.coverage),
            "positions": self.positions.tolist(),
            "values": [_rounded(v) for v in self.values.tolist()],
            "about": dict(self.about),
        }


@dataclass(frozen=True, slots=True, eq=False)
class Annotated:
    """One sequence and the features that fire on it, the highest ranked first.

    Attributes
    ----------
    ends : (n_tokens,) int64 end of each token in ``text``, in characters. n_fired : features before any filter.
    """

    id: str
    text: str
    ends: np.ndarray
    firings: list[Firing]
    n_fired: int

    @property
    def n_tokens(self) -> int:
        """Tokens of the sequence."""
        return len(self.ends)

    @property
    def tokens(self) -> list[str]:
        """The tokens; joined, they are ``text``."""
        ends = self.ends.tolist()
        return [self.text[a:b] for a, b in zip([0, *ends], ends, strict=False)]

    def as_json(self) -> dict[str, Any]:
        """Everything, as JSON holds it."""
        firings = [firing.as_json() for firing in self.firings]
        return {"id": self.id, "tokens": self.tokens, "n_fired": self.n_fired, "features": firings}


def annotate(
    texts: Sequence[str],
    subject: Subject,
    coder: SparseCoder,
    tables: FeatureTables | None = None,
    *,
    ids: Sequence[str] | None = None,
    hook: str | None = None,
    level: str | None = None,
    pooling: str = "states",
    min_share: float = 0.0,
    positions: Sequence[tuple[int, int]] = (),
    coverage: tuple[float, float] = (0.0, 1.0),
    features: Sequence[int] | None = None,
    top: int | None = None,
    by: str = "share",
) -> list[Annotated]:
    """Which features fire where on ``texts``, and what is known of them.

    Parameters
    ----------
    texts : sequences or texts of any length. ids : names of them; ``sequence-1`` … by default.
    hook, level : where the coder reads, and whether it reads means over sequences; as its checkpoint says by default.
    pooling : at level ``sequence``: of :func:`autointerp.annotating.encode.encode`.
    min_share : activations below this share of the feature's maximum do not count; nor, if it is above 0, do features
        whose maximum is unknown. positions : only what fires in these ranges of tokens counts, (start, stop) from 0,
        half-open.
    coverage : features that fire on such a share of the tokens. features : these alone.
    top : best so many of each sequence. by : what is ranked by: ``share`` of the maximum (unknown ones last),
        ``activation``, ``coverage``, or the ``sum`` of the activations.

    Raises
    ------
    UsageError : an empty sequence, a range that holds nothing, an unknown order, or coder and subject do not fit.
    """
    options: dict[str, Any] = {"hook": hook, "level": level, "pooling": pooling, "min_share": min_share, "top": top}
    options |= {"positions": positions, "coverage": coverage, "features": features, "by": by}
    return list(iter_annotated(texts, subject, coder, tables, ids=ids, **options))


def iter_annotated(
    texts: Sequence[str],
    subject: Subject,
    coder: SparseCoder,
    tables: FeatureTables | None = None,
    *,
    ids: Sequence[str] | None = None,
    hook: str | None = None,
    level: str | None = None,
    pooling: str = "states",
    **filters: Any,
) -> Iterator[Annotated]:
    """:func:`annotate`, some sequences at a time, in their order: for more of them than fit into memory."""
    from autointerp.coders import check_fits

    names = list(ids) if ids is not None else [f"sequence-{i + 1}" for i in range(len(texts))]
    if len(names) != len(texts):
        raise UsageError(f"{len(names)} ids for {len(texts)} sequences")
    chosen = _Filters(**filters)
    hook, level = hook or coder.metadata.get("hook"), level or coder.metadata.get("level") or "token"
    if not hook:
        raise UsageError("the coder does not say at which hook it reads: give one (--hook)")
    check_fits(coder, subject, hook, level)
    if level == "sequence" and chosen.positions:
        raise UsageError("at level sequence a feature has no positions: leave them away")
    begin = 0
    while begin < len(texts):
        end, size = begin, 0
        while end < len(texts) and (end == begin or size + len(texts[end]) <= AT_ONCE):
            size, end = size + len(texts[end]), end + 1
        tokens = subject.tokenize(texts[begin:end])
        for name, one in zip(names[begin:end], tokens, strict=True):
            if not len(one.ids):
                raise UsageError(f"sequence {name} is empty")
        found = encode(subject, coder, [one.ids for one in tokens], hook, level, pooling)
        bounds = np.searchsorted(found.sequence, np.arange(len(tokens) + 1))
        for i, one in enumerate(tokens):
            part = found.only(np.arange(bounds[i], bounds[i + 1]))
            yield _annotated(names[begin + i], texts[begin + i], one, part, tables, chosen)
        begin = end


@dataclass(frozen=True)
class _Filters:
    """What of a sequence's activations is kept, and how features are ranked; see :func:`annotate`."""

    min_share: float = 0.0
    positions: Sequence[tuple[int, int]] = ()
    coverage: tuple[float, float] = (0.0, 1.0)
    features: Sequence[int] | None = None
    top: int | None = None
    by: str = "share"

    def __post_init__(self) -> None:
        if self.by not in ORDERS:
            raise UsageError(f"by {self.by!r}: {nearest(self.by, ORDERS)}")
        if bad := [(a, b) for a, b in self.positions if not 0 <= a < b]:
            raise UsageError(
                f"positions {bad[0][0]} to {bad[0][1]} hold nothing: a start of at least 0, then a larger stop"
            )
        if not 0 <= self.min_share <= 1 or not 0 <= self.coverage[0] <= self.coverage[1] <= 1:
            raise UsageError(f"min_share {self.min_share:g}, coverage {self.coverage}: shares in order, 0 … 1")
        if self.top is not None and self.top < 1:
            raise UsageError(f"top {self.top}: must be at least 1")

    def kept(self, found: Activations, maxima: np.ndarray) -> np.ndarray:
        """(n,) which activations count, given the maximum of each one's feature (NaN where unknown)."""
        keep = found.value > 0
        if self.min_share > 0:
            keep &= found.value >= self.min_share * maxima  # NaN is never reached
        if self.positions:
            ranges = [(found.position >= a) & (found.position < b) for a, b in self.positions]
            keep &= np.any(ranges, axis=0)
        if self.features is not None:
            keep &= np.isin(found.feature, np.asarray(self.features))
        return keep


def _annotated(
    id_: str, text: str, tokens: Tokens, found: Activations, tables: FeatureTables | None, filters: _Filters
) -> Annotated:
    """One sequence from all its activations."""
    n_tokens, n_fired = len(tokens.ids), len(begins(found))
    ends = np.arange(1, n_tokens + 1) if tokens.ends is None else tokens.ends.astype(np.int64)
    maxima = np.full(len(found.value), np.nan) if tables is None else tables.maxima_of(found.feature)
    keep = filters.kept(found, maxima)
    found, maxima = found.only(keep), maxima[keep]
    starts = begins(found)
    if not len(starts):
        return Annotated(id_, text, ends, [], n_fired)
    stops = np.append(starts[1:], len(found.value))
    peak = np.maximum.reduceat(found.value, starts)
    share = peak / maxima[starts]
    covered = np.where(found.position[starts] < 0, 1.0, (stops - starts) / n_tokens)
    total = np.add.reduceat(found.value, starts)
    key = {"share": np.nan_to_num(share, nan=-1.0), "activation": peak, "coverage": covered, "sum": total}[filters.by]
    order = np.lexsort((-peak, -key))
    order = order[(covered[order] >= filters.coverage[0]) & (covered[order] <= filters.coverage[1])][: filters.top]
    if tables is not None:
        tables.look_up(found.feature[starts[order]].tolist())
    firings = []
    for i in order.tolist():
        a, b = starts[i], stops[i]
        where, values, feature = found.position[a:b].astype(np.int32), found.value[a:b], int(found.feature[a])
        top = int(where[int(values.argmax())])
        known = None if np.isnan(share[i]) else float(share[i])
        about = {} if tables is None else tables.about(feature)
        where = where[where >= 0]
        firings.append(Firing(feature, where, values, top, float(peak[i]), known, float(covered[i]), about))
    return Annotated(id_, text, ends, firings, n_fired)


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
