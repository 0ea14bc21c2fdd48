"""A continuous token bucket, for requests and for tokens alike."""

from __future__ import annotations


class Bucket:
    """Lets through at most ``per_minute`` in any 60 seconds, however these are laid.

    A bucket of capacity ``c`` that fills at ``r`` a second lets ``c + 60 r`` through in a minute; so it fills at
    ``(per_minute - c) / 60``, and a capacity of a second's or a few seconds' worth costs little of the rate. What is
    larger than the capacity goes when the bucket is full and leaves a debt, so that single minute may exceed the limit
    by as much as it is larger. Amounts are reserved before they are known and put right by :meth:`give`.

    Parameters
    ----------
    per_minute : how much in any 60 seconds.
    now : the time, in seconds of any clock that does not go backwards.
    burst_s : capacity, in seconds of the rate.
    whole : amounts are whole numbers and never less than 1 (requests): the capacity is at least 1, and a start at the
        very end of the 60 seconds falls outside of them.
    """

    def __init__(self, per_minute: float, now: float, *, burst_s: float = 1.0, whole: bool = False) -> None:
        self._burst_s, self._grain = burst_s, 1.0 if whole else 0.0
        self._at, self.rate, self.capacity = now, 0.0, 0.0
        self.level = 0.0
        self.set(per_minute, now)
        self.level = self.capacity

    def set(self, per_minute: float, now: float) -> None:
        """Change the limit; what is in the bucket stays, up to the new capacity."""
        self._fill(now)
        self.per_minute = per_minute
        self.capacity = max(self._grain, per_minute * self._burst_s / 60.0)
        self.rate = (per_minute - self.capacity + self._grain) / 60.0
        self.level = min(self.level, self.capacity)

    def tighten(self, now: float) -> None:
        """Let less through at once, at the same rate: the other side has less patience with bursts."""
        self._burst_s /= 2
        self.set(self.per_minute, now)
        self.level = min(self.level, 0.0)

    def wait(self, amount: float, now: float) -> float:
        """Seconds until ``amount`` may be taken; 0 when it may be now."""
        self._fill(now)
        short = min(amount, self.capacity) - self.level
        return short / self.rate if short > 1e-9 else 0.0  # sums of floats may miss by as much

    def take(self, amount: float, now: float) -> None:
        """Take ``amount`` out, whether there is as much or not."""
        self._fill(now)
        self.level -= amount

    def give(self, amount: float) -> None:
        """Put back what was taken and not used; a negative amount was used beyond what was taken."""
        self.level = min(self.capacity, self.level + amount)

    def cap(self, remaining: float, now: float) -> None:
        """Note that no more than ``remaining`` is left: others may draw on the same limit."""
        self._fill(now)
        self.level = min(self.level, remaining)

    def _fill(self, now: float) -> None:
        if now > self._at:
            self.level = min(self.capacity, self.level + (now - self._at) * self.rate)
            self._at = now
