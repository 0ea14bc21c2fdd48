"""A provider in virtual time, with a limiter that counts, and the whole of our flow control in front of it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from autointerp.clients.backend import Limits
from autointerp.clients.limiter import Flow, Limiter
from autointerp.clients.retry import Retry
from autointerp.records import Failure, Message, Outcome, Request, Response, Usage
from tests.clients.conftest import VirtualTime


@dataclass
class Provider:
    """Grants ``rate(now)`` requests a second out of a bucket of ``capacity``; refuses at once, answers after a while.

    Attributes
    ----------
    tokens_per_s : grants so many tokens a second as well; ``usage`` says what a request takes.
    headers : states its limits as OpenAI does.
    retry_after : seconds that a refusal asks to wait, None when it does not say.
    refuse : refuses at these times whatever the rate.
    """

    time: VirtualTime
    rate: Callable[[float], float]
    capacity: float = 20.0
    latency: Callable[[random.Random], float] = lambda source: source.lognormvariate(-1.6, 0.3)
    tokens_per_s: float = 0.0
    usage: Usage | None = None
    headers: bool = False
    retry_after: float | None = None
    refuse: Callable[[float], bool] = lambda now: False
    observe: Callable[[Mapping[str, str]], None] = lambda headers: None
    refused: int = 0
    starts: list[float] = field(default_factory=list)
    most: int = 0

    def __post_init__(self) -> None:
        self.level, self.tokens, self.at, self.now = self.capacity, self.tokens_per_s * 6, 0.0, 0
        self.random = random.Random(0)

    def _refill(self) -> None:
        now = self.time.now
        while self.at < now:  # the rate may change meanwhile
            until = min(self.at + 1.0, now)
            step = until - self.at
            self.level = min(self.capacity, self.level + step * self.rate(self.at))
            self.tokens = min(self.tokens_per_s * 6, self.tokens + step * self.tokens_per_s)
            self.at = until

    def _state(self) -> None:
        if not self.headers:
            return
        rate = self.rate(self.time.now)
        stated = {"requests": (60 * rate, self.level, rate, self.capacity)}
        if self.tokens_per_s:
            stated["tokens"] = (60 * self.tokens_per_s, self.tokens, self.tokens_per_s, 6 * self.tokens_per_s)
        found = {}
        for name, (limit, level, speed, full) in stated.items():
            found[f"x-ratelimit-limit-{name}"] = str(limit)
            found[f"x-ratelimit-remaining-{name}"] = str(max(0, int(level)))
            found[f"x-ratelimit-reset-{name}"] = f"{(full - level) / speed:.3f}s"
        self.observe(found)

    async def __call__(self, request: Request, key: str, over: Callable[[Outcome], None]) -> Outcome:
        self.starts.append(self.time.now)
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            self._refill()
            used = self.usage.input_tokens + self.usage.output_tokens if self.usage else 0
            short = self.level < 1 or (self.tokens_per_s and self.tokens < used)
            if short or self.refuse(self.time.now):
                self.refused += 1
                await self.time.sleep(0.02)
                self._state()
                return Failure("rate_limit", "", True, 429, self.retry_after)
            self.level -= 1
            self.tokens -= used
            await self.time.sleep(self.latency(self.random))
            self._refill()
            self._state()
            return Response("x", self.usage)
        finally:
            self.now -= 1


def everything(provider: Provider, limits: Limits, slow: bool = True) -> tuple[Flow, Retry]:
    """Retry, breaker and limiter in front of ``provider``."""
    time = provider.time
    flow = Flow(limits, slow=slow, sleep=time.sleep, clock=time.clock)
    provider.observe = flow.observe
    limiter = Limiter(provider, lambda: flow)
    jitter = random.Random(1)

    async def guarded(request: Request, key: str) -> Outcome:
        return await flow.breaker.send(limiter, request, key)

    def down() -> bool:
        return flow.breaker.is_open

    return flow, Retry(guarded, limits, down=down, sleep=time.sleep, clock=time.clock, uniform=jitter.uniform)


async def serve(provider: Provider, n: int, limits: Limits | None = None, workers: int = 1000) -> list[Outcome]:
    """What came of ``n`` requests, ``workers`` of which are asked for at a time."""
    _, stack = everything(provider, limits or Limits())
    numbers, outcomes = iter(range(n)), list[Outcome]()
    request = Request((Message("user", "hello " * 100),), max_tokens=100)

    async def worker() -> None:
        for number in numbers:
            outcomes.append(await stack(request, str(number)))

    await provider.time.run(asyncio.gather(*(worker() for _ in range(min(n, workers)))))
    return outcomes
