"""Patterns: which tokens stand at and around a feature's peaks, found by counting, written as text, read back, applied.

A pattern is a position weight matrix that keeps only what is significantly enriched (Stormo 2000). At every informative
offset from the peak it lists tokens with their log-odds in bits, and what any other token there is worth. The text form
is all that a judge gets, so an explanation carries its whole content in words.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

REACH = 10
"""Offsets −REACH … REACH around the peak are looked at."""
MAX_P_POOLED = 1e-2
"""As MAX_P, for counts pooled over the other places: looser, since a token wrongly listed there weighs little."""
START, END = "START", "END"
"""Pseudo-tokens beyond the first and the last token of a sequence; in capitals, as no :func:`normal` token is."""
MIN_COUNT, MIN_SHARE, MAX_P, MAX_TOKENS_AT_OFFSET, MAX_OFFSETS = 3, 0.1, 1e-4, 6, 8

Context = tuple[Sequence[str], bool, bool]
"""(tokens, whether the sequence starts here, whether it ends here)."""


def normal(token: str) -> str:
    """A token as patterns see it: without surrounding space, case ignored; a pure-space token stays itself."""
    return token.strip().lower() or token


@dataclass(frozen=True)
class Column:
    """What one offset is worth: listed tokens in bits, and any other token."""

    offset: int | None
    """Tokens from the peak; None where a token counts wherever it stands."""
    weights: dict[str, float]
    other: float
    where: str = ""
    """For ``offset`` None: ``"around"`` (within REACH of the peak, without it) or ``"anywhere"`` (whole sequence)."""

    @property
    def name(self) -> str:
        """Where the column looks, as the text form says it."""
        return self.where or ("peak" if self.offset == 0 else f"{self.offset:+d}")


@dataclass(frozen=True)
class Pattern:
    """Columns, and the score from which a context counts as active."""

    columns: tuple[Column, ...]
    threshold: float

    def score(self, context: Context, at: Sequence[int] | None = None) -> float:
        """Best score over the positions ``at`` (all by default) of a context, in bits."""
        tokens = [normal(t) for t in context[0]]
        if not self.columns or not tokens:
            return -math.inf
        column = self.columns[0]
        if column.where == "anywhere":
            return sum(column.weights.get(t, column.other) for t in tokens) / len(tokens)
        return max(
            (self._at(p, tokens, context) for p in (range(len(tokens)) if at is None else at)), default=-math.inf
        )

    def _at(self, position: int, tokens: list[str], context: Context) -> float:
        total = 0.0
        own = {column.offset for column in self.columns}
        for column in self.columns:
            if column.offset is None:
                for token in around(position, tokens, own):
                    total += column.weights.get(token, column.other)
            elif (token_there := token_at(position + column.offset, tokens, context)) is not None:
                total += column.weights.get(token_there, column.other)
        return total

    def active(self, context: Context, at: Sequence[int] | None = None) -> bool:
        """Whether the context (or one of its marked positions) reaches the threshold."""
        return bool(self.columns) and self.score(context, at) >= self.threshold

    def text(self) -> str:
        """The pattern in words, to be read back by :func:`parse_pattern`."""
        columns = []
        for column in self.columns:
            listed = ", ".join(f"{json.dumps(t, ensure_ascii=False)} {w:+.2f}" for t, w in column.weights.items())
            columns.append(f"[{column.name}] {listed}, other {column.other:+.2f}")
        return "; ".join(columns) + f"; active from {self.threshold:+.2f}"


def token_at(index: int, tokens: Sequence[str], context: Context) -> str | None:
    """The token at ``index``, a boundary just or further beyond an end that is shown, or None for what is not shown."""
    if 0 <= index < len(tokens):
        return tokens[index]
    if index < 0:
        return START if context[1] else None
    return END if context[2] else None


def around(position: int, tokens: Sequence[str], own: Collection[int | None]) -> list[str]:
    """The tokens within REACH of ``position``, but for the one there and those at offsets with an own column."""
    low, high = max(0, position - REACH), min(len(tokens), position + REACH + 1)
    return [tokens[p] for p in range(low, high) if p != position and p - position not in own]


_TOKEN, _BITS = r'"(?:[^"\\]|\\.)*"', r"[+-]\d+\.\d+"
_WEIGHT = re.compile(rf"({_TOKEN}) ({_BITS})")
_WHERE, _LISTED = r"anywhere|around|peak|[+-]\d+", rf"{_TOKEN} {_BITS}(?:, {_TOKEN} {_BITS})*"
_COLUMN = re.compile(rf"\[({_WHERE})\] ({_LISTED}), other ({_BITS})")
_COLUMNS = rf"(?:\[(?:{_WHERE})\] {_LISTED}, other {_BITS}; )+"
_PATTERN = re.compile(rf"({_COLUMNS})active from ({_BITS})")


def parse_pattern(text: str) -> Pattern | None:
    """Read the pattern that ``text`` states; None when it states none."""
    found = _PATTERN.search(text)
    if not found:
        return None
    columns = []
    for where, listed, other in _COLUMN.findall(found[1]):
        weights = {json.loads(token): float(weight) for token, weight in _WEIGHT.findall(listed)}
        if where in ("anywhere", "around"):
            columns.append(Column(None, weights, float(other), where))
        else:
            columns.append(Column(0 if where == "peak" else int(where), weights, float(other)))
    return Pattern(tuple(columns), float(found[2]))


def find_pattern(
    positives: Sequence[tuple[Context, int | None]], negatives: Sequence[Context], groups: Sequence[int]
) -> Pattern | None:
    """The pattern that tells contexts with a peak from silent ones, or None if nothing is enriched.

    Parameters
    ----------
    positives : contexts and the index of the peak in each; the index is None where the whole sequence is the context.
    negatives : silent contexts.
    groups : group of each positive. A group counts once, so that a family of homologues is not a motif.

    Notes
    -----
    A token is listed at an offset if it stands there in at least 3 groups and a tenth of them, and so many have a
    binomial probability below 1e-4 given its background frequency (1e-2 around the peak, where places are pooled);
    weights are log2 of smoothed frequency over background.
    """
    # silent contexts alone would not do: they lack just those tokens on which the feature fires wherever they stand
    background = Counter(normal(t) for tokens, _, _ in [*(c for c, _ in positives), *negatives] for t in tokens)
    total = sum(background.values())
    if not positives or not total:
        return None
    frequency = {t: c / total for t, c in background.items()}
    if peaked := [(c, peak) for c, peak in positives if peak is not None]:
        columns = _aligned(peaked, frequency, groups)
    else:
        columns = _composition([c for c, _ in positives], negatives, frequency)
    if not columns:
        return None
    return Pattern(columns, _threshold(Pattern(columns, 0.0), [c for c, _ in positives], negatives))


def _aligned(
    positives: Sequence[tuple[Context, int]], frequency: dict[str, float], groups: Sequence[int]
) -> tuple[Column, ...]:
    shares = [sum(c[1] for c, _ in positives) / len(positives), sum(c[2] for c, _ in positives) / len(positives)]
    half = sum(len(c[0]) for c, _ in positives) / len(positives) / 2
    normalised = [([normal(t) for t in context[0]], context, peak) for context, peak in positives]
    sizes = Counter(groups)
    found = []
    for offset in range(-REACH, REACH + 1):
        counts: dict[str, float] = defaultdict(float)
        for (tokens, context, peak), group in zip(normalised, groups, strict=True):
            if (token := token_at(peak + offset, tokens, context)) is not None:
                counts[token] += 1 / sizes[group]
        n = sum(counts.values())
        # how often an end of the sequence would stand there if peaks were anywhere in their contexts
        edges = {token: share * min(1.0, abs(offset) / half) for token, share in zip((START, END), shares, strict=True)}
        if column := _column(offset, counts, n, {**frequency, **edges}):
            found.append((_information(column, counts, n), column))
    for edge_token in (START, END):  # an end seen at one offset is seen at every further one: the nearest says it all
        at_edge = sorted((c for _, c in found if set(c.weights) == {edge_token}), key=lambda c: abs(c.offset or 0))
        found = [item for item in found if item[1] not in at_edge[1:]]
    found.sort(key=lambda item: (-item[0], abs(item[1].offset or 0)))
    aligned = sorted((column for _, column in found[:MAX_OFFSETS]), key=lambda c: abs(c.offset or 0))
    own = {column.offset for column in aligned}
    nearby: dict[str, float] = defaultdict(float)
    for (tokens, _, peak), group in zip(normalised, groups, strict=True):
        for token in around(peak, tokens, own):
            nearby[token] += 1 / sizes[group]
    column = _column(None, nearby, sum(nearby.values()), frequency, "around")
    return (*aligned, column) if column else tuple(aligned)


def _column(
    offset: int | None, counts: Mapping[str, float], n: float, frequency: dict[str, float], where: str = ""
) -> Column | None:
    enriched = []
    share, limit = (MIN_SHARE, MAX_P) if offset is not None else (0.0, MAX_P_POOLED)
    for token, count in counts.items():
        q = frequency[token]
        if count >= max(MIN_COUNT, share * n) and binomial_tail(int(count), round(n), q) <= limit:
            enriched.append((count, token))
    enriched = sorted(enriched, key=lambda item: (-item[0], item[1]))[:MAX_TOKENS_AT_OFFSET]
    if not enriched:
        return None
    weights = {t: math.log2((c + 2 * frequency[t]) / (n + 2) / frequency[t]) for c, t in enriched}
    rest_seen, rest_expected = n - sum(c for c, _ in enriched), 1 - sum(frequency[t] for _, t in enriched)
    other = (
        math.log2((rest_seen + 2 * rest_expected) / (n + 2) / max(rest_expected, 1e-9)) if rest_expected > 0 else 0.0
    )
    # as the text form states them: what was tried on the examples is what will be read back
    return Column(offset, {t: round(w, 2) for t, w in weights.items()}, round(other, 2), where)


def binomial_tail(count: int, n: int, p: float) -> float:
    """Probability of at least ``count`` successes in ``n`` trials of probability ``p``."""
    from scipy.special import bdtrc

    return float(bdtrc(count - 1, n, p))


def _information(column: Column, counts: Mapping[str, float], n: float) -> float:
    """Expected bits that the column contributes to an activating context."""
    return sum(count / n * column.weights.get(token, column.other) for token, count in counts.items())


def _composition(
    positives: Sequence[Context], negatives: Sequence[Context], frequency: dict[str, float]
) -> tuple[Column, ...]:
    counts = Counter(normal(t) for tokens, _, _ in positives for t in tokens)
    against = Counter(normal(t) for tokens, _, _ in negatives for t in tokens)
    n, m = sum(counts.values()), max(sum(against.values()), 1)
    reference = {t: (against[t] + 1) / (m + len(frequency)) for t in frequency}
    column = _column(None, counts, n, reference, "anywhere")
    return (column,) if column else ()


def _threshold(pattern: Pattern, positives: Sequence[Context], negatives: Sequence[Context]) -> float:
    """The score that best separates the two, by balanced accuracy; the middle of the gap."""
    scored = sorted([(pattern.score(c), True) for c in positives] + [(pattern.score(c), False) for c in negatives])
    n_pos, n_neg = max(len(positives), 1), max(len(negatives), 1)
    best, at, hits, rejected = -1.0, scored[0][0] - 1, len(positives), 0
    previous = scored[0][0] - 2
    for score, positive in scored:
        if score > previous:
            value = hits / n_pos + rejected / n_neg
            if value > best + 1e-12:
                best, at = value, (score + previous) / 2 if math.isfinite(previous) else score - 1
        previous = score
        hits, rejected = hits - positive, rejected + (not positive)
    return round(at, 2)
