"""The Pipeline: every feature explained, scored and judged against its paired null; resumable, bounded, in budget."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import ExitStack, aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from autointerp.errors import NotEnoughExamples, UsageError
from autointerp.pipeline.estimate import Estimate, Tally, placeholder
from autointerp.pipeline.garbage import rarely_collected
from autointerp.pipeline.interrupt import interruptible
from autointerp.pipeline.results import Results
from autointerp.pipeline.stream import Bounds, Result, Stream
from autointerp.progress import Observer, Stage
from autointerp.records import Explainer, FeatureRecord, Request, Scorer, Skipped

if TYPE_CHECKING:
    from autointerp.clients import ConnectedClient
    from autointerp.clients.local import LocalModels
    from autointerp.features import FeatureLoader
    from autointerp.store import RunStore, Spend

SPEND_EVERY_S = 2.0
"""Seconds between two looks at what was spent, for the progress bar; more where a look takes long."""
IN_FLIGHT, IN_FLIGHT_BATCH = 64, 2000
"""Features under way at once; a batch holds only what they ask."""


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
    interrupted: str | None = None
    """Why it ended before everything was begun: ``Ctrl-C`` or ``deadline``."""


class Pipeline:
    """Explain features and score the explanations.

    Parameters
    ----------
    loader : makes the records. explainer, scorers : see the rooms of those names.
    client : a model string or a connected client, for explaining and scoring.
    score_client : another one for scoring.
    store : where everything is written; results that it holds are not asked for again.
    local : models in this process, for explainers and scorers that need an embedder, a base model or the subject.
    nulls : judge every feature's trials with another feature's explanation as well.
    about : ``coder`` (a name) and ``series`` of the study, for queries across studies.

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
        local: LocalModels | None = None,
        nulls: bool = True,
        about: Mapping[str, str] | None = None,
    ) -> None:
        from autointerp.clients import connect
        from autointerp.clients.capabilities import require
        from autointerp.clients.local.models import OPTIONS, LocalModels

        self.loader, self.store, self.nulls = loader, store, nulls
        self.client = connect(client, store=store) if isinstance(client, str) else client
        chosen = self.client if score_client is None else score_client
        self.score_client = connect(chosen, store=store) if isinstance(chosen, str) else chosen
        can = self.score_client.capabilities
        judges = [s.resolved(can, 1 + nulls) if hasattr(s, "resolved") else s for s in scorers]
        judges = [_with_model(scorer, local) for scorer in judges]
        wanting: list[Any] = [(getattr(explainer, "needs", frozenset()), self.client, f"explainer {explainer.id}")]
        for needs, backend, who in [*wanting, *((s.needs, self.score_client, f"scorer {s.id}") for s in judges)]:
            (local or LocalModels()).require(needs & OPTIONS.keys(), who)
            require(backend, needs - OPTIONS.keys(), who)
        check_suits(loader, explainer, f"explainer {explainer.id}")
        for judge in judges:
            check_suits(loader, judge, f"scorer {judge.id}")
        subject = loader.cache.manifest["subject"]
        facts = {"subject": subject.get("name", ""), "hook": subject.get("hook", "")}
        store.bind(loader.settings, about={**facts, **(about or {})})
        self.results = Results(store, explainer, judges, self.client, self.score_client, self._eligible, local)

    def estimate(
        self, features: Iterable[int] | None = None, *, n_features: int | None = None, seed: int = 0, sample: int = 64
    ) -> Estimate:
        """Requests, tokens and dollars of a run, from the real prompts of up to ``sample`` features; spends nothing.

        What the store's answers have cost so far tells what is to be expected of those to come.
        """
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
        return tally.scaled(eligible, sampled, self.store)

    async def run(
        self,
        features: Iterable[int] | None = None,
        *,
        n_features: int | None = None,
        seed: int = 0,
        budget_usd: float | None = None,
        features_in_flight: int | None = None,
        deadline_s: float | None = None,
        max_failure_rate: float = 0.5,
        observer: Observer | None = None,
    ) -> RunReport:
        """Explain and score ``features``, or a seeded draw of ``n_features`` eligible ones, or all.

        Ctrl-C finishes what is in flight and returns a report with ``interrupted``; a second one stops at once.

        Parameters
        ----------
        budget_usd : dollars that the study may cost, earlier calls included.
        features_in_flight : features under way at once; by default 64, and 2,000 where answers come in batches.
        deadline_s, max_failure_rate : see :class:`~autointerp.pipeline.stream.Bounds`.

        Raises
        ------
        BudgetExceeded : the next request could exceed the budget. ClientError : the key or the account was refused, or
            too many features failed. Everything finished before is stored; the same call continues.
        """
        began, counts = time.monotonic(), dict.fromkeys(("explained", "failed", "scores"), 0)
        usd, ask_at = 0.0, -math.inf
        total = n_features if n_features is not None else len(self._wanted(features, None, seed))
        stream = self._stream(features_in_flight, deadline_s, max_failure_rate)
        with interruptible(stream), Stage(observer, "explaining", total, "feature") as stage:
            async with aclosing(self._results(stream, features, n_features, seed, budget_usd)) as results:
                async for explanation, scores in results:
                    counts["failed" if explanation.failure else "explained"] += 1
                    counts["scores"] += len(scores)
                    if (now := time.monotonic()) > ask_at:  # it reads the whole journal
                        usd = (await asyncio.to_thread(self.store.spend)).total_usd
                        ask_at = time.monotonic() + max(SPEND_EVERY_S, 100 * (time.monotonic() - now))
                    kinds = " ".join(f"{kind}:{n}" for kind, n in stream.failures.most_common(3))
                    stage.advance(1, skipped=stream.skipped, failed=kinds or 0, usd=f"{usd:.2f}")
        return RunReport(
            attempted=counts["explained"] + counts["failed"] + stream.skipped,
            skipped=stream.skipped,
            nulls=stream.n_nulls,
            spend=self.store.spend(),
            seconds=time.monotonic() - began,
            interrupted=stream.interrupted,
            **counts,
        )

    async def stream(
        self,
        features: Iterable[int] | None = None,
        *,
        n_features: int | None = None,
        seed: int = 0,
        budget_usd: float | None = None,
        features_in_flight: int | None = None,
        deadline_s: float | None = None,
        max_failure_rate: float = 0.5,
    ) -> AsyncIterator[Result]:
        """Yield (explanation, scores) of each feature as it is finished; memory is bounded whatever their number."""
        stream = self._stream(features_in_flight, deadline_s, max_failure_rate)
        async with aclosing(self._results(stream, features, n_features, seed, budget_usd)) as results:
            async for result in results:
                yield result

    # ----------------------------------------------------------------------------------------------------------- inside

    def _stream(self, in_flight: int | None, deadline_s: float | None, max_failure_rate: float) -> Stream:
        if in_flight is None:
            batch = self.client.capabilities.batch or self.score_client.capabilities.batch
            in_flight = IN_FLIGHT_BATCH if batch else IN_FLIGHT
        bounds = Bounds(in_flight, deadline_s, max_failure_rate)
        return Stream(self.results, self._load, self.loader.seed, self.nulls, bounds)

    async def _results(
        self,
        stream: Stream,
        features: Iterable[int] | None,
        n_features: int | None,
        seed: int,
        budget_usd: float | None,
    ) -> AsyncGenerator[Result]:
        wanted = self._wanted(features, n_features, seed)
        if self.store.shared and n_features is not None:
            # workers see different blocks: the draw is made before, the same for all
            wanted, n_features = await asyncio.to_thread(self._eligible_of, wanted, n_features), None
        clients = list({id(c): c for c in (self.client, self.score_client)}.values())
        for client in clients:
            await client.recover()  # before the budget: what turns out never to have been sent does not count
        with rarely_collected(), ExitStack() as stack:
            if budget_usd is not None:
                from autointerp.clients import Budget

                budget = Budget(budget_usd, self.store.spend().total_usd)
                for client in clients:
                    stack.enter_context(client.capped(budget))
            async with aclosing(stream.run(wanted, n_features)) as results:
                async for result in results:
                    yield result

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

    def _eligible_of(self, features: Sequence[int], n: int) -> list[int]:
        """The first ``n`` of ``features`` that have enough examples."""
        found: list[int] = []
        for feature in features:
            if len(found) == n:
                break
            record = self._load(feature)
            if isinstance(record, FeatureRecord):
                found.append(feature)
            else:
                self.store.note_skipped(record)
        return found

    def _eligible(self, feature: int) -> FeatureRecord:
        record = self._load(feature)
        assert isinstance(record, FeatureRecord), f"feature {feature} was explained, and has too few examples now"
        return record

    def _tally(self, record: FeatureRecord, tally: Tally, nulls: bool) -> None:
        other = placeholder(record.feature, self.results.explainer.id)
        explanation = self.results.explanation(record.feature)
        if explanation is None:
            tally.add(_first_round(self.results.explainer, "explain", record), self.client, self.store)
        elif explanation.failure:
            return
        for scorer in self.results.scorers:
            twice = nulls and scorer in self.results.judges_of_nulls
            for null, text in ((False, explanation or other), (True, other))[: 1 + twice]:
                if not self.store.has_score(record.feature, *self.results.names(scorer), null=null):
                    tally.add(_first_round(scorer, "score", record, text), self.score_client, self.store)


def check_suits(loader: FeatureLoader, plan: Any, who: str) -> None:
    """Refuse an explainer or a scorer before anything is paid, if this cache's records are not what it is made for.

    It says so by ``levels`` or ``modalities``, what it can do, or by ``needs_validation``.

    Raises
    ------
    UsageError : the reason, and what would do.
    """
    level, corpus = loader.cache.level, getattr(loader, "corpus", None)  # a loader of one's own may have none
    if level not in getattr(plan, "levels", (level,)):
        raise UsageError(f"{who} needs a cache of level {' or '.join(plan.levels)}, this one has level {level}")
    if corpus is not None and corpus.kind not in getattr(plan, "modalities", (corpus.kind,)):
        raise UsageError(f"{who} is for {' or '.join(plan.modalities)} corpora, this one holds {corpus.kind}")
    if getattr(plan, "needs_validation", False) and not loader.n_examples["validation"]:
        raise UsageError(
            f"{who} tests itself on a validation side, which this loader does not fill: give n_validation and a split "
            "with a share for it (command line: --n-validation)"
        )


def _with_model(scorer: Scorer, local: LocalModels | None) -> Scorer:
    """The scorer with the name of the local model that it uses as part of its id."""
    if local is None or getattr(scorer, "model", None) != "":
        return scorer
    return replace(scorer, model=next((local.names[n] for n in scorer.needs if n in local.names), ""))  # type: ignore[type-var]


def _first_round(plan: Any, step: str, *about: Any) -> list[Request]:
    """What a plan asks of its client first; all that it asks, where it says so itself in ``estimated``."""
    asked = plan.estimated(*about) if hasattr(plan, "estimated") else next(getattr(plan, step)(*about), ())
    return [request for request in asked if isinstance(request, Request)]
