"""How many requests may be in flight: a limit that grows while it is used and is cut when the provider complains.

Slow start doubles it every round trip, up to the first sign of trouble or the top; after that it grows by one or 5 % a
round trip, and a complaint cuts it once (additive increase, multiplicative decrease: Chiu & Jain 1989; slow start:
Jacobson 1988). It comes back faster to where it was cut, most of which is known to be safe (Ha, Rhee & Xu 2008).

All the complaints about one burst are one episode: a request that started before the last cut says nothing new, and for
some seconds after a cut nothing is cut or grown again.
"""

from __future__ import annotations

DECREASE = 0.7
STEP, BACK = 0.05, 0.25
"""Growth in a round trip, as a share of the limit; never less than one request. The latter below ``SAFE`` of where the
last cut was made."""
SAFE = 0.9
USED = 0.8
"""Share of the limit that must have been in flight for an answer to count as a sign that there is room for more."""
COOLDOWN_S = 5.0


class Concurrency:
    """The limit on requests in flight; knows nothing of waiting or of clocks.

    Parameters
    ----------
    top : the limit never exceeds it.
    start : where slow start begins.
    """

    def __init__(self, top: int, start: int) -> None:
        self.top = float(top)
        self.limit = float(min(top, start))
        self.episode = 0
        """Cuts so far; a request carries the number that it started under."""
        self._doubling = True
        self._calm_at = float("-inf")
        self._cut_at = 0.0

    def raise_top(self, top: int, *, at_once: bool) -> None:
        """Allow more, for another client that shares this limit; ``at_once`` without growing there."""
        self.top = max(self.top, float(top))
        if at_once and self._doubling:
            self.limit = self.top

    def answered(self, episode: int, in_flight: int, now: float) -> None:
        """An answer came to a request of ``episode``, beside which ``in_flight`` were under way."""
        if episode == self.episode and now >= self._calm_at and in_flight >= USED * int(self.limit):
            share = BACK if self.limit < SAFE * self._cut_at else STEP
            step = 1.0 if self._doubling else max(1.0 / self.limit, share)
            self.limit = min(self.top, self.limit + step)

    def refused(self, episode: int, now: float, *, cut: bool = True) -> None:
        """The provider complained, of its load or (without ``cut``) of a rate that is limited by other means."""
        self._doubling = False
        if episode != self.episode or now < self._calm_at:
            return
        self.episode += 1
        self._calm_at = now + COOLDOWN_S
        if cut:
            self._cut_at, self.limit = self.limit, max(1.0, self.limit * DECREASE)

    def troubled(self, now: float) -> None:
        """The provider failed for a reason of its own: no time to ask for more, and no reason to ask for less."""
        self._doubling = False
        self._calm_at = max(self._calm_at, now + COOLDOWN_S)
