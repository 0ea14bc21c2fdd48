"""How fast requests may start: buckets for requests and tokens, stated by the user or the provider, or found out."""

from __future__ import annotations

from collections.abc import Mapping

from autointerp.clients.bucket import Bucket
from autointerp.clients.hints import Quota
from autointerp.clients.prices import input_estimate
from autointerp.records import Request, Usage

SHARE = 0.97
"""Part of a provider's limit that is used: its clock sees our requests at other distances than ours does."""
REQUESTS_S, TOKENS_S = 0.1, 3.0
"""Capacity of the buckets in seconds of their rate; one request takes many tokens at once."""
KNOWN = ("requests", "pace")
SMOOTH = 0.05
"""Weight of the latest answer in the running means of tokens."""
OUTPUT_MARGIN = 1.5
SHORTEST_S, LONGEST_S = 1.0, 120.0
FEWEST = 8
"""A rate is measured between two refusals so far apart, and over this many answers at least."""
MOST_CUT, GROWTH = 0.8, 1.05
GROW_EVERY_S = 5.0
BACK, BACK_EVERY_S, SAFE = 1.15, 1.0, 0.9
"""A measured rate that held us back without a refusal for this long grows by this factor; a lower measurement lowers it
to ``MOST_CUT`` of itself at once, for what our own pauses let go unused looks like a lower rate, and it comes back
faster to ``SAFE`` of where it was."""


class Rates:
    """The buckets that a request must find room in.

    Token counts are not known before the answer: the input is estimated from the text and corrected by the running
    ratio of true to estimated tokens; the output is taken as ``max_tokens`` until an answer came, then as the running
    mean with a margin. :meth:`settle` puts both right.

    Parameters
    ----------
    per_minute : requests in any 60 seconds as the user wants it; None for no limit.
    now : the time, here and everywhere in seconds of the clock that the limiter runs by.
    """

    def __init__(self, per_minute: float | None, now: float) -> None:
        self._buckets: dict[str, Bucket] = {}
        self.version = 0
        """Grows with the number of buckets: :meth:`amounts` of an earlier version lack one."""
        self._held_at = float("-inf")
        self._pace = Pace()
        self._ratio = 1.0
        self._output: float | None = None
        self.limit(per_minute, now)

    def limit(self, per_minute: float | None, now: float) -> None:
        """The user wants no more than ``per_minute`` requests; the smallest of such wishes binds."""
        if per_minute is None:
            return
        if (known := self._buckets.get("wanted")) is not None:
            known.set(min(per_minute, known.per_minute), now)
        else:
            self._buckets["wanted"] = Bucket(per_minute, now, whole=True)
            self.version += 1

    def learn(self, quotas: Mapping[str, Quota], now: float) -> None:
        """Adopt what the provider's headers state."""
        for name, quota in quotas.items():
            bucket, allowed = self._buckets.get(name), SHARE * quota.per_minute
            if bucket is None:
                whole = name == "requests"
                bucket = Bucket(allowed, now, whole=whole, burst_s=REQUESTS_S if whole else TOKENS_S)
                self._buckets[name] = bucket
                self.version += 1
            elif bucket.per_minute != allowed:
                bucket.set(allowed, now)
            if quota.remaining is not None:
                bucket.cap(quota.remaining, now)

    @property
    def interval(self) -> float:
        """Seconds between two requests at the rate that the provider is known to grant; infinite when none is known."""
        return 60.0 / min((self._buckets[name].per_minute for name in KNOWN if name in self._buckets), default=1e-9)

    def amounts(self, request: Request) -> dict[str, float]:
        """What ``request`` takes out of each bucket."""
        taken = {}
        for name in self._buckets:
            if "tokens" not in name:
                taken[name] = 1.0
                continue
            expected = request.max_tokens if self._output is None else OUTPUT_MARGIN * self._output
            output = min(float(request.max_tokens), expected) if name != "input_tokens" else 0.0
            taken[name] = output + (self._ratio * input_estimate(request) if name != "output_tokens" else 0.0)
        return taken

    def wait(self, amounts: Mapping[str, float], now: float) -> float:
        """Seconds until every bucket has room."""
        longest = 0.0
        for name, amount in amounts.items():
            if (wait := self._buckets[name].wait(amount, now)) > 0.0:
                longest, self._held_at = max(longest, wait), now
                self._pace.used |= name == "pace"
        return longest

    def take(self, amounts: Mapping[str, float], now: float) -> None:
        """Reserve."""
        for name, amount in amounts.items():
            self._buckets[name].take(amount, now)

    def bind(self, now: float) -> bool:
        """Whether it is the rate that holds requests back, rather than how many are in flight."""
        return now - self._held_at <= max(1.0, 2 * self.interval)

    def give_back(self, amounts: Mapping[str, float]) -> None:
        """The request was not sent."""
        for name, amount in amounts.items():
            self._buckets[name].give(amount)

    def settle(self, request: Request, amounts: Mapping[str, float], usage: Usage) -> None:
        """Replace the reservation of tokens by what the provider counted; its cache is not part of ``input_tokens``."""
        true = {
            "tokens": usage.input_tokens + usage.output_tokens,
            "input_tokens": usage.input_tokens - usage.cached_tokens,
            "output_tokens": usage.output_tokens,
        }
        before = usage.output_tokens if self._output is None else self._output
        self._output = before + SMOOTH * (usage.output_tokens - before)
        if true.keys().isdisjoint(amounts):
            return
        self._ratio += SMOOTH * (usage.input_tokens / input_estimate(request) - self._ratio)
        for name in true.keys() & amounts.keys():
            self._buckets[name].give(amounts[name] - true[name])

    def answered(self, now: float) -> None:
        """An answer came: let the measured pace grow where it held us back."""
        self._pace.answers += 1
        bucket = self._buckets.get("pace")
        if bucket is not None and self._pace.used:
            back = bucket.per_minute < SAFE * self._pace.cut_at
            if now - self._pace.changed >= (BACK_EVERY_S if back else GROW_EVERY_S):
                self._pace.used, self._pace.changed = False, now
                bucket.set((BACK if back else GROWTH) * bucket.per_minute, now)

    def refused(self, now: float) -> None:
        """The provider complained: keep a stated rate more evenly; measure one that is not stated."""
        measured = self._pace.measure(now)
        if (stated := self._buckets.get("requests")) is not None:
            stated.tighten(now)
            return
        if measured is None:
            return
        bucket = self._buckets.get("pace")
        if bucket is None:
            bucket = self._buckets["pace"] = Bucket(SHARE * measured, now, burst_s=REQUESTS_S, whole=True)
            self.version += 1
        else:
            self._pace.cut_at = bucket.per_minute
            bucket.set(SHARE * max(min(measured, bucket.per_minute), MOST_CUT * bucket.per_minute), now)
        bucket.cap(0.0, now)


class Pace:
    """The rate that a provider grants without saying so.

    At each refusal its bucket is empty, so what it let through between two refusals is what came in between them.
    """

    def __init__(self) -> None:
        self.answers = 0
        self.used = False
        self.changed = 0.0
        self.cut_at = 0.0
        self._since: float | None = None

    def measure(self, now: float) -> float | None:
        """Answers a minute since the refusal before this one, None where that says too little."""
        self.changed = now
        span = LONGEST_S + 1 if self._since is None else now - self._since
        if span <= LONGEST_S and (span < SHORTEST_S or self.answers < FEWEST):
            return None
        measured = None if span > LONGEST_S else 60.0 * self.answers / span
        self._since, self.answers = now, 0
        return measured
