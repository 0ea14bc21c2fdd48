"""The Pipeline: every feature explained, scored and judged against its paired null; resumable, bounded, in budget."""

from __future__ import annotations

import asyncio
import logging
import math
import signal
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterable, Iterator, Sequence
from contextlib import ExitStack, aclosing, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from autointerp.errors import AutointerpError, BudgetExceeded, ClientError, NotEnoughExamples, UsageError
from autointerp.pipeline.estimate import Estimate, Tally, placeholder
from autointerp.pipeline.nulls import BLOCK, Block
from autointerp.pipeline.pipes import Stopped, drive, together
from autointerp.progress import Observer, Stage
from autointerp.records import Explainer, Explanation, FeatureRecord, Score, Scorer, Skipped

if TYPE_CHECKING:
    from autointerp.clients import ConnectedClient
    from autointerp.features import FeatureLoader
    from autointerp.store import RunStore, Spend

log = logging.getLogger(__name__)
SPEND_EVERY_S = 2.0
"""Seconds between two looks at what was spent, for the progress bar."""
Result = tuple[Explanation, list[Score]]


@dataclass(frozen=True)
class RunReport:
    """What a run did: features attempted, skipped for too few examples, explained, failed, and scores written."""

    attempted: int
    skipped: int
    explained: int
    failed: int
    scores: int
    nulls: int
    spend: Spend
    seconds: float
    interrupted: bool = False


@dataclass
class _Run:
    """The state of one call of ``stream``."""

    nulls: deque[tuple[int, Explanation]] = field(default_factory=deque)
    open_blocks: dict[int, Block] = field(default_factory=dict)
    stop: Stopped | None = None
    interrupted: bool = False
    skipped: int = 0
    n_nulls: int = 0


class Pipeline:
    """Explain features and score the explanations.

    Parameters
    ----------
    loader : makes the records. explainer, scorers : see the rooms of those names.
    client : a model string or a connected client, for explaining and scoring.
    score_client : another one for scoring.
    store : where everything is written; results that it holds are not asked for again.
    nulls : judge every feature's trials with another feature's explanation as well.

    Raises
    ------
    UsageError : the store holds results of other loader settings. ClientError : a scorer needs what the client lacks.
    """

    def __init__(
        self,
        loader: FeatureLoader,
        explainer: Explainer,
        scorers: Sequence[Scorer],
        *,
        client: str | ConnectedClient,
        store: RunStore,
        score_client: str | ConnectedClient | None = None,
        nulls: bool = True,
    ) -> None:
        from autointerp.clients import connect

        self.loader, self.explainer, self.scorers, self.store, self.nulls = (
            loader,
            explainer,
            list(scorers),
            store,
            nulls,
        )
        self.client = connect(client, store=store) if isinstance(client, str) else client
        chosen = self.client if score_client is None else score_client
        self.score_client = connect(chosen, store=store) if isinstance(chosen, str) else chosen
        for scorer in self.scorers:
            lacking = [n for n in scorer.needs if not getattr(self.score_client.capabilities, n, False)]
            if lacking:
                raise ClientError(
                    f"scorer {scorer.id} needs {', '.join(lacking)}, which {self.score_client.spec.text} does not have"
                )
        if loader.cache.level == "sequence" and any(s.id.startswith("fuzzing") for s in self.scorers):
            raise UsageError("fuzzing marks tokens: it needs a cache of level token, this one has level sequence")
        store.bind(loader.settings)

    # ----------------------------------------------------------------------------------------------------------- public

    def estimate(
        self, features: Iterable[int] | None = None, *, n_features: int | None = None, seed: int = 0, sample: int = 64
    ) -> Estimate:
        """Requests, tokens and dollars of a run, from the real prompts of up to ``sample`` features; spends nothing."""
        wanted = self._wanted(features, n_features, seed)
        total = n_features if n_features is not None else len(wanted)
        tally, sampled, seen = Tally(), 0, 0
        for feature in wanted:
            if sampled >= min(sample, total):
                break
            seen += 1
            record = self._load(feature)
            if isinstance(record, FeatureRecord):
                self._tally(record, tally, self.nulls and total > 1)
                sampled += 1
        eligible = total if n_features is not None else round(total * sampled / max(seen, 1))
        return tally.scaled(eligible, sampled)

    async def run(
        self,
        features: Iterable[int] | None = None,
        *,
        n_features: int | None = None,
        seed: int = 0,
        budget_usd: float | None = None,
        features_in_flight: int = 64,
        observer: Observer | None = None,
    ) -> RunReport:
        """Explain and score ``features``, or a seeded draw of ``n_features`` eligible ones, or all.

        Ctrl-C finishes what is in flight and returns a report with ``interrupted``; a second one stops at once.

        Raises
        ------
        BudgetExceeded : the next request could exceed the budget. ClientError : the key or the account was refused.
            Everything finished before is stored; the same call continues.
        """
        began, counts = time.monotonic(), dict.fromkeys(("explained", "failed", "scores"), 0)
        usd, asked = 0.0, -math.inf
        total = n_features if n_features is not None else len(self._wanted(features, None, seed))
        state = _Run()
        with _interruptible(state), Stage(observer, "explaining", total, "feature") as stage:
            stream = self._stream(state, features, n_features, seed, budget_usd, features_in_flight)
            async with aclosing(stream) as results:
                async for explanation, scores in results:
                    counts["failed" if explanation.failure else "explained"] += 1
                    counts["scores"] += len(scores)
                    if time.monotonic() - asked > SPEND_EVERY_S:  # it reads the whole journal
                        usd, asked = (await asyncio.to_thread(self.store.spend)).total_usd, time.monotonic()
                    stage.advance(1, skipped=state.skipped, failed=counts["failed"], usd=f"{usd:.2f}")
        return RunReport(
            attempted=counts["explained"] + counts["failed"] + state.skipped,
            skipped=state.skipped,
            nulls=state.n_nulls,
            spend=self.store.spend(),
            seconds=time.monotonic() - began,
            interrupted=state.interrupted,
            **counts,
        )

    async def stream(
        self,
        features: Iterable[int] | None = None,
        *,
        n_features: int | None = None,
        seed: int = 0,
        budget_usd: float | None = None,
        features_in_flight: int = 64,
    ) -> AsyncIterator[Result]:
        """Yield (explanation, scores) of each feature as it is finished; memory is bounded whatever their number."""
        stream = self._stream(_Run(), features, n_features, seed, budget_usd, features_in_flight)
        async with aclosing(stream) as results:
            async for result in results:
                yield result

    # -------------------------------------------------------------------------------------------------- the main stream

    async def _stream(
        self,
        state: _Run,
        features: Iterable[int] | None,
        n_features: int | None,
        seed: int,
        budget_usd: float | None,
        in_flight: int,
    ) -> AsyncGenerator[Result]:
        if in_flight < 1:
            raise UsageError(f"features_in_flight {in_flight}: must be at least 1")
        items = self._items(state, self._wanted(features, n_features, seed), n_features)
        active: set[asyncio.Task[Result | None]] = set()
        with ExitStack() as stack:
            if budget_usd is not None:
                from autointerp.clients import Budget

                budget = Budget(budget_usd, self.store.spend().total_usd)
                for client in {id(c): c for c in (self.client, self.score_client)}.values():
                    stack.enter_context(client.capped(budget))
            try:
                exhausted = False
                while True:
                    while len(active) < in_flight and not state.stop and not state.interrupted:
                        job: Coroutine[Any, Any, Result | None] | None = self._next_null(state)
                        if job is None and not exhausted:
                            item = await asyncio.to_thread(next, items, None)
                            exhausted = item is None
                            job = None if item is None else self._feature(*item)
                        if job is None:
                            break
                        active.add(asyncio.create_task(job))
                    if not active:
                        if exhausted or state.stop or state.interrupted:
                            break
                        continue
                    done, active = await asyncio.wait(active, return_when=asyncio.FIRST_COMPLETED)
                    for task in done:
                        if (result := self._finished(state, task)) is not None:
                            yield result
            finally:
                for task in active:
                    task.cancel()
                await asyncio.gather(*active, return_exceptions=True)
        if state.stop:
            raise self._stopped(state.stop)

    def _items(
        self, state: _Run, wanted: Sequence[int], n_eligible: int | None
    ) -> Iterator[tuple[int, Block, FeatureRecord | None]]:
        """(feature, its block, its record or None if everything is stored), skipping what has too few examples."""
        found = 0
        known_skipped = dict.fromkeys(self.store.skipped()["feature"].to_pylist())
        for start in range(0, len(wanted), BLOCK):
            block = state.open_blocks[start] = Block(start // BLOCK, self.loader.seed)
            for feature in wanted[start : start + BLOCK]:
                if state.interrupted or (n_eligible is not None and found >= n_eligible):
                    break
                record = None if feature in known_skipped or self._stored(feature) else self._load(feature)
                if feature in known_skipped or isinstance(record, Skipped):
                    state.skipped += 1
                    if isinstance(record, Skipped):
                        self.store.note_skipped(record)
                    continue
                found += 1
                block.waiting.add(feature)
                yield feature, block, record
            block.closed = not state.interrupted
            if state.interrupted or (n_eligible is not None and found >= n_eligible):
                return

    async def _feature(self, feature: int, block: Block, record: FeatureRecord | None) -> Result | None:
        explanation = self.store.get_explanation(feature, self.explainer.id, self.client.spec.text)
        if explanation is None:
            assert record is not None
            try:
                explanation = await drive(self.explainer.explain(record), self.client)
            except Exception as error:  # noqa: BLE001 - a defect on one feature must not end the run
                explanation = Explanation(feature, "", self.explainer.id, failure=_defect(error))
            await self.store.put_explanation(explanation, self.client.spec.text, record.statistics)
        block.resolve(feature, explanation)
        if explanation.failure:
            return explanation, []
        return explanation, await self._scores(feature, record, explanation, null_of=None)

    async def _null(self, state: _Run, feature: int, partner: Explanation) -> None:
        await self._scores(feature, None, partner, null_of=partner.feature)
        state.n_nulls += 1

    async def _scores(
        self, feature: int, record: FeatureRecord | None, explanation: Explanation, null_of: int | None
    ) -> list[Score]:
        """Scores of one explanation on one feature's trials, from the store where they are there."""
        stored = [self.store.get_score(feature, *self._names(s), null=null_of is not None) for s in self.scorers]
        if record is None and not all(stored):
            loaded = await asyncio.to_thread(self._load, feature)
            assert isinstance(loaded, FeatureRecord)
            record = loaded

        async def one(scorer: Scorer, known: Score | None) -> Score:
            if known is not None:
                return known
            assert record is not None
            try:
                score = await drive(scorer.score(record, explanation), self.score_client)
            except Exception as error:  # noqa: BLE001 - as above
                facts = {"failures": {_defect(error): 1}}
                score = Score(feature, explanation.explainer, scorer.id, None, None, None, 0, 0, facts)
            score = replace(score, null=null_of is not None, partner=null_of)
            await self.store.put_score(score, self.client.spec.text, self.score_client.spec.text)
            return score

        # what one scorer has sent is written before another's trouble ends the feature
        return await together(one(s, k) for s, k in zip(self.scorers, stored, strict=True))

    # ----------------------------------------------------------------------------------------------------------- inside

    def _next_null(self, state: _Run) -> Coroutine[Any, Any, None] | None:
        if not self.nulls or not self.scorers:
            return None
        for key in [key for key, block in state.open_blocks.items() if block.ready]:
            block = state.open_blocks.pop(key)
            state.nulls.extend((feature, block.explanations[partner]) for feature, partner in block.partners().items())
        return self._null(state, *state.nulls.popleft()) if state.nulls else None

    def _finished(self, state: _Run, task: asyncio.Task[Result | None]) -> Result | None:
        try:
            return task.result()
        except Stopped as stop:
            state.stop = state.stop or stop
        return None

    @staticmethod
    def _stopped(stop: Stopped) -> Exception:
        if stop.failure.kind == "budget":
            return BudgetExceeded(f"{stop.failure.message}; what was finished is stored, a larger budget continues")
        return ClientError(f"the provider refused: {stop}; what was finished is stored, the same command continues")

    def _wanted(self, features: Iterable[int] | None, n_features: int | None, seed: int) -> Sequence[int]:
        if n_features is not None:
            if features is not None:
                raise UsageError("give either features or n_features, not both")
            if n_features < 1:
                raise UsageError(f"n_features {n_features}: must be at least 1")
            return np.random.default_rng([seed, len(self.loader)]).permutation(len(self.loader)).tolist()
        wanted = (
            range(len(self.loader))
            if features is None
            else features
            if isinstance(features, range)
            else list(dict.fromkeys(int(f) for f in features))
        )
        for feature in (min(wanted, default=0), max(wanted, default=0)):
            if not 0 <= feature < len(self.loader):
                raise UsageError(f"feature {feature}: this cache holds features 0 … {len(self.loader) - 1}")
        return wanted

    def _load(self, feature: int) -> FeatureRecord | Skipped:
        try:
            return self.loader[feature]
        except NotEnoughExamples as error:
            return Skipped(error.feature, error.what, error.have, error.need)

    def _stored(self, feature: int) -> bool:
        """Whether the store has the explanation and every score of it (nulls aside: they reload what they need)."""
        explanation = self.store.get_explanation(feature, self.explainer.id, self.client.spec.text)
        return explanation is not None and (
            explanation.failure is not None or all(self.store.has_score(feature, *self._names(s)) for s in self.scorers)
        )

    def _names(self, scorer: Scorer) -> tuple[str, str, str, str]:
        """Who made a score: explainer, its client, scorer, its client."""
        return self.explainer.id, self.client.spec.text, scorer.id, self.score_client.spec.text

    def _tally(self, record: FeatureRecord, tally: Tally, nulls: bool) -> None:
        other = placeholder(record.feature, self.explainer.id)
        explanation = self.store.get_explanation(record.feature, self.explainer.id, self.client.spec.text)
        if explanation is None:
            tally.add(next(self.explainer.explain(record), ()), self.client, self.store)
        elif explanation.failure:
            return
        for scorer in self.scorers:
            for null, text in ((False, explanation or other), (True, other))[: 1 + nulls]:
                if not self.store.has_score(record.feature, *self._names(scorer), null=null):
                    tally.add(next(scorer.score(record, text), ()), self.score_client, self.store)


def _defect(error: Exception) -> str:
    """What to record when a plan itself fails on one feature; what concerns every feature is raised again."""
    if isinstance(error, (Stopped, AutointerpError)):
        raise error
    log.warning("a plan failed", exc_info=error)
    return f"internal: {type(error).__name__}: {error}"[:400]


@contextmanager
def _interruptible(state: _Run) -> Iterator[None]:
    """Inside, the first SIGINT lets the run drain; further ones go to who handled them before.

    Under ``asyncio.run`` that is a handler which cancels the main task, so that what is in flight is written down.
    Nothing is caught where signals cannot be handled.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop, before = asyncio.get_running_loop(), signal.getsignal(signal.SIGINT)

    def restore() -> None:
        if loop.remove_signal_handler(signal.SIGINT) and before is not None:
            signal.signal(signal.SIGINT, before)

    def interrupt() -> None:
        state.interrupted = True
        restore()
        log.warning("stopping: finishing what is in flight (Ctrl-C again stops at once)")

    loop.add_signal_handler(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        restore()
