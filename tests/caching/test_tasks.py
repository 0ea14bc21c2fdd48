"""Blocks made in any order are a cache that reads as far as it goes, and is continued to the same bytes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from autointerp.cache import ActivationCache
from autointerp.corpus import Corpus
from autointerp.errors import FormatError, UsageError
from autointerp.progress import Silent
from caching.aside import Aside
from caching.blocks import plan_blocks
from caching.cluster.driver import Reception
from caching.cluster.worker import Worker
from caching.compact import compact
from caching.manifest import runs_in
from caching.memory import Resident
from caching.run import Target, cache_many, describe
from caching.tasks import Task, begin_task, task_of
from tests.caching.kill_child import options
from tests.caching.test_resume import check_prefix, snapshot
from tests.doubles import FakeSubject, fake_coder, make_corpus, random_proteins

SETTINGS = options("token")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return make_corpus(tmp_path_factory.mktemp("tasks") / "corpus", random_proteins(30, (0, 50)))


@pytest.fixture(scope="module")
def whole(corpus: Corpus) -> ActivationCache:
    """The cache of one machine."""
    return cache_many(FakeSubject(), targets(corpus.path.parent / "whole"), corpus, SETTINGS)[0]


def targets(folder: Path) -> list[Target]:
    return [Target(fake_coder(), "layer:1", folder)]


def make(folder: Path, corpus: Corpus, order: Sequence[int]) -> None:
    """Make some blocks in the given order, as finished by workers that know the flat position of each."""
    plan = list(plan_blocks(corpus.lengths, SETTINGS.block_size))
    subject, wanted = FakeSubject(), targets(folder)
    with runs_in([folder], describe(subject, wanted, corpus, SETTINGS)) as runs:
        for index in order:
            first, last = plan[index]
            task = task_of(runs, index, first, last, int(corpus.lengths[:first].sum()))
            made = begin_task(subject, wanted, corpus, SETTINGS, task, Silent(), Resident(), Aside("cpu")).finish()
            assert runs[0].add(index, made.entries[0])
            runs[0].write()
        raise KeyboardInterrupt


@pytest.mark.parametrize(("order", "readable"), [([2, 0], 1), ([3, 1, 0, 4], 2), ([4, 2], 0), ([1, 2, 0], 3)])
def test_blocks_in_any_order(
    tmp_path: Path,
    corpus: Corpus,
    whole: ActivationCache,
    order: list[int],
    readable: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "cache"
    with pytest.raises(KeyboardInterrupt):
        make(folder, corpus, order)
    manifest = json.loads((folder / "cache.json").read_text())
    assert len(manifest["blocks"]) == readable
    assert sorted(manifest.get("ahead", {})) == [str(i) for i in sorted(order) if i >= readable]
    check_prefix(folder, whole)
    encoded: list[int] = []
    states = FakeSubject.states
    monkeypatch.setattr(FakeSubject, "states", lambda s, w, h: encoded.append(sum(map(len, w))) or states(s, w, h))
    made = [(a, b) for i, (a, b) in enumerate(plan_blocks(corpus.lengths, SETTINGS.block_size)) if i not in order]
    cache_many(FakeSubject(), targets(folder), corpus, SETTINGS)
    assert snapshot(folder) == snapshot(whole.path)
    lengths = [int(n) for a, b in made for n in corpus.lengths[a:b]]
    windowed = np.array(lengths) > 16
    assert sum(encoded) >= sum(lengths) > 0
    assert sum(encoded) <= sum(lengths) + 16 * sum(n // 8 for n in np.array(lengths)[windowed])


@pytest.mark.parametrize("damage", ["missing", "flipped", "digest"])
def test_a_waiting_block_is_checked_too(
    tmp_path: Path, corpus: Corpus, whole: ActivationCache, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "cache"
    with pytest.raises(KeyboardInterrupt):
        make(folder, corpus, [0, 2, 3])
    block, manifest = folder / "blocks/000003.safetensors", folder / "cache.json"
    if damage == "missing":
        block.unlink()
    elif damage == "flipped":
        content = bytearray(block.read_bytes())
        content[-1] ^= 1
        block.write_bytes(content)
    else:
        said: dict[str, Any] = json.loads(manifest.read_text())
        said["ahead"]["3"]["digest"] = "0" * 64
        manifest.write_text(json.dumps(said))
        with pytest.raises(FormatError, match=r"000003\.safetensors.*choose another --out"):
            cache_many(FakeSubject(), targets(folder), corpus, SETTINGS)
        return
    cache_many(FakeSubject(), targets(folder), corpus, SETTINGS)
    assert snapshot(folder) == snapshot(whole.path)
    assert [r.getMessage() for r in caplog.records] == [f"{block} is missing or damaged: it is made again"]


def test_blocks_finished_beside_the_next_one(
    tmp_path: Path, corpus: Corpus, whole: ActivationCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU: threads encode, order, and write while the next block is read."""
    monkeypatch.setattr("caching.run.Aside", partial(Aside, threads=3))
    cache_many(FakeSubject(), targets(tmp_path / "cache"), corpus, SETTINGS)
    assert snapshot(tmp_path / "cache") == snapshot(whole.path)


def test_a_worker_makes_two_blocks_at_a_time(tmp_path: Path, corpus: Corpus, whole: ActivationCache) -> None:
    """As an actor with a GPU does; a later block may be finished first."""
    threads, folder = torch.get_num_threads(), tmp_path / "cache"
    worker = Worker(lambda: (FakeSubject(), targets(folder)), corpus.path, SETTINGS, 1, Path.cwd())
    greeting = worker.greet()
    torch.set_num_threads(threads)
    assert greeting["folders"] == [folder]
    with runs_in([folder], greeting["manifests"]) as runs, ThreadPoolExecutor(2) as two:
        tasks = [
            task_of(runs, i, first, last, int(corpus.lengths[:first].sum()))
            for i, (first, last) in enumerate(plan_blocks(corpus.lengths, SETTINGS.block_size))
        ]
        for task, made in zip(tasks, two.map(worker.encode, tasks), strict=True):
            runs[0].add(task.index, made.entries[0])
        runs[0].finish(compact(folder, runs[0].manifest, SETTINGS.shard_activations, None))
    assert snapshot(folder) == snapshot(whole.path)


def test_a_worker_that_does_not_see_the_folder_says_so(tmp_path: Path, corpus: Corpus) -> None:
    threads = torch.get_num_threads()
    worker = Worker(lambda: (FakeSubject(), targets(tmp_path / "elsewhere")), corpus.path, SETTINGS, 1, Path("absent"))
    worker.greet()
    torch.set_num_threads(threads)
    with pytest.raises(UsageError, match=r"node .* does not see .*elsewhere: a cluster needs a folder"):
        worker.encode(Task(0, 0, 1, 0, {0: None}))
    assert not (tmp_path / "elsewhere").exists()


def test_workers_that_load_other_things_are_refused(tmp_path: Path, corpus: Corpus) -> None:
    def greeting(node: str, seed: int, kind: str = "torch 2, AVX512") -> dict[str, Any]:
        return {"node": node, "kind": kind, "manifests": describe(FakeSubject(seed=seed), wanted, corpus, SETTINGS)}

    wanted, reception = targets(tmp_path / "cache"), Reception()
    reception(greeting("a", 0))
    reception(greeting("b", 0))
    with pytest.raises(UsageError, match=r"nodes a and c: subject\.digest is '\w+' and '\w+'"):
        reception(greeting("c", 1))
