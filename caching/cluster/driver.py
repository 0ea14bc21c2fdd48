"""The caching run on a Ray cluster: workers on any node make blocks and shards, the driver keeps the manifest."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate, takewhile
from pathlib import Path
from typing import Any

from autointerp.cache.reader import ActivationCache
from autointerp.corpus import Corpus
from autointerp.errors import UsageError
from autointerp.progress import Observer, Stage
from caching.blocks import plan_blocks
from caching.cluster.pool import BACKLOG, Pool, connected, places
from caching.cluster.worker import Load, Worker
from caching.compact import Blocks, finish, plan_shards
from caching.manifest import Run, difference, runs_in
from caching.plan import Plan
from caching.run import take_in, total_tokens
from caching.settings import CacheSettings
from caching.tasks import Made, Task, task_of

UNKNOWN = -1

log = logging.getLogger(__name__)


def cache_on_ray(
    load: Load,
    corpus: str | Path,
    settings: CacheSettings,
    observer: Observer | None = None,
    *,
    address: str | None = None,
    workers: int | None = None,
    threads: int = 1,
    gpu: bool | None = None,
    patience: float = 600.0,
    planned: Callable[[Plan], None] | None = None,
) -> list[ActivationCache]:
    """Write a cache for each target as :func:`~caching.run.cache_many` does, on the nodes of a Ray cluster.

    The bytes are those of one machine of the workers' kind: same device, ``threads``, library versions. Any of the two
    continues what the other began. Blocks and shards of a node that is lost are made again by others.

    Parameters
    ----------
    load : gives subject and targets; it is pickled, and called by each worker, so that no weights pass through here.
    corpus : folder of the corpus. It, the targets' folders and what ``load`` reads lie on a file system that all nodes
        see under the same path.
    address : see :func:`~caching.cluster.pool.connected`.
    workers : how many; by default as many as the cluster holds now.
    threads : CPUs and torch threads of each. gpu : one for each worker; by default if the cluster has any.
    patience : seconds to wait for a worker while there is none.
    planned : told what the run will take, before it begins, unless it is finished.

    Raises
    ------
    UsageError : as of ``cache_many``; no such cluster; workers that load different things, or do not see the folders.
    AutointerpError : no workers left, or a block that takes every worker down.
    """
    with connected(address) as ray:
        size = places(ray, threads, 1) if gpu is None or gpu else 0
        gpu = size > 0 if gpu is None else gpu
        size = workers or (size if gpu else places(ray, threads, 0))
        if not size:
            raise UsageError(
                f"no node of the Ray cluster has {threads} CPUs{' and a GPU' if gpu else ''}: "
                "give the number of workers if some will come"
            )
        options = {"num_cpus": threads, "num_gpus": int(gpu), "max_concurrency": BACKLOG if gpu else 1}
        start = ray.remote(Worker).options(**options, scheduling_strategy="SPREAD").remote
        reception = Reception()
        make = partial(start, load, Path(corpus).absolute(), settings, threads, Path.cwd())
        with Pool(ray, make, size, reception, patience) as pool:
            pool.gather()
            with runs_in(reception.first["folders"], reception.first["manifests"]) as runs:
                if planned and not all(run.complete for run in runs):
                    planned(next(pool.run("plan", [()]))[0][1])
                if not all(run.complete for run in runs):
                    _encode(pool, runs, Corpus.open(corpus), settings, observer)
                for number, run in enumerate(runs):
                    if not run.complete:
                        run.check_blocks()
                        _compact(pool, number, run, settings, observer)
    return [ActivationCache.open(run.folder) for run in runs]


class Reception:
    """Keeps what the first worker says the runs are; refuses workers that say otherwise."""

    def __init__(self) -> None:
        self.first: dict[str, Any] = {}

    def __call__(self, greeting: dict[str, Any]) -> None:
        first = self.first = self.first or greeting
        for mine, other in zip(first["manifests"], greeting["manifests"], strict=True):
            if mine != other:
                where, here, there = difference("", mine, other)
                field = where.lstrip(".")
                raise UsageError(f"nodes {first['node']} and {greeting['node']}: {field} is {here!r} and {there!r}")
        if greeting["kind"] != first["kind"]:
            kinds = f"{first['kind']} on {first['node']}, {greeting['kind']} on {greeting['node']}"
            log.warning("workers differ (%s): last digits depend on which of them encodes a block", kinds)


def _encode(
    pool: Pool, runs: Sequence[Run], corpus: Corpus, settings: CacheSettings, observer: Observer | None
) -> None:
    """Have every block made that is not finished in all of ``runs``, and those that are checked."""
    kind = runs[0].manifest["subject"]["kind"]
    plan = list(plan_blocks(corpus.lengths, settings.block_size))
    counts = _count(pool, runs, corpus, plan, settings.max_tokens, observer)
    reached = [0, *accumulate(counts)]
    tasks = [(task_of(runs, i, *plan[i], reached[i]),) for i in range(len(counts))]
    with Stage(observer, "encoding", total_tokens(kind, corpus, settings), "token") as stage:
        for results in pool.run("encode", tasks):
            changed: set[Run] = set()
            for (task,), made in results:
                _check_count(task, made, counts[task.index])
                changed.update(take_in(runs, task.index, made))
                stage.advance(made.n_tokens)
            for run in changed:  # once for all that came in together: a manifest of many blocks is long
                run.write()


def _count(
    pool: Pool,
    runs: Sequence[Run],
    corpus: Corpus,
    plan: list[tuple[int, int]],
    most: int | None,
    observer: Observer | None,
) -> list[int]:
    """Tokens of each block of ``plan``, up to the block in which ``most`` tokens end.

    A block's positions begin where the tokens before it end. A residue is a token; texts are tokenised to know.
    """
    protein = runs[0].manifest["subject"]["kind"] == "protein"
    counts: list[int] = []
    for i, (first, last) in enumerate(plan):
        known = [e for run in runs if not run.complete and (e := run.entry(i, first, last))]
        guess = int(corpus.lengths[first:last].sum()) if protein else UNKNOWN
        counts.append(known[0]["n_tokens"] if known else guess)
        if known and known[0]["last"] < last:  # most tokens ended here before
            break
    if unknown := [(i, *plan[i]) for i, n in enumerate(counts) if n == UNKNOWN]:
        with Stage(observer, "counting tokens", sum(last - first for _, first, last in unknown), "sequence") as stage:
            for results in pool.run("count", unknown):
                for (i, first, last), n in results:
                    counts[i] = n
                    stage.advance(last - first)
                if _end(counts, most):
                    break
    return counts[: _end(counts, most)]


def _end(counts: list[int], most: int | None) -> int | None:
    """How many blocks it takes to exceed ``most`` tokens; None if they do not, as far as ``counts`` are known."""
    if most is None:
        return None
    sums = accumulate(takewhile(lambda n: n != UNKNOWN, counts))
    return next((i for i, n in enumerate(sums, 1) if n > most), None)


def _check_count(task: Task, made: Made, expected: int) -> None:
    whole = any(entry["last"] == task.last for entry in made.entries.values())
    if whole and made.n_tokens != expected:
        raise UsageError(
            f"{task} have {made.n_tokens} tokens, not {expected}: the subject does not tokenize alike twice"
        )


def _compact(pool: Pool, number: int, run: Run, settings: CacheSettings, observer: Observer | None) -> None:
    """Have every shard of target ``number`` made, then finish its cache."""
    blocks = Blocks(run.folder, run.manifest)
    counts, shards = blocks.counts(), {}
    ranges = plan_shards(counts, settings.shard_activations, blocks.most)
    with Stage(observer, "compacting", int(counts.sum()), "activation") as stage:
        for results in pool.run("compact", [(number, first, last) for first, last in ranges]):
            for (_, first, last), shard in results:
                shards[first] = shard
                stage.advance(int(counts[first:last].sum()))
    run.finish(finish(blocks, [shards[first] for first, _ in ranges]))
