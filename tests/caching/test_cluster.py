"""A cluster's cache is byte for byte that of one machine, also when a node is lost: real Ray on one machine."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
import torch
from ray.cluster_utils import Cluster

from autointerp.cache import ActivationCache
from autointerp.commands import main
from autointerp.corpus import Corpus
from autointerp.errors import AutointerpError, FormatError, UsageError
from autointerp.progress import Silent
from caching.cluster import cache_on_ray
from caching.cluster.pool import Pool, connected, places
from caching.run import Target, cache_many
from caching.settings import CacheSettings
from tests.caching.light_actor import Actor
from tests.caching.test_resume import check_prefix, snapshot
from tests.doubles import FakeSubject, fake_coder, make_corpus, random_documents, random_proteins

NODE = {"num_cpus": 1, "object_store_memory": 80 << 20}
SETTINGS = CacheSettings("", overlap=4, batch_tokens=40, block_size=150, shard_activations=500)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head without workers, and two nodes with room for one each."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    cluster = Cluster(initialize_head=True, head_node_args={**NODE, "num_cpus": 0})
    for _ in range(2):
        cluster.add_node(**NODE)
    ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
    ray._private.worker._worker_logs_enabled = False
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def two_targets(folder: Path, subject: type[FakeSubject] = FakeSubject, kind: str = "protein") -> Any:
    """One pass, two coders on two hooks."""
    coders = {"layer:1": fake_coder(), "layer:2": fake_coder(9, k=3)}
    return subject(kind), [Target(coder, hook, folder / hook[-1]) for hook, coder in coders.items()]


def one_machine(folder: Path, corpus: Corpus, settings: CacheSettings, kind: str = "protein") -> dict[str, bytes]:
    subject, targets = two_targets(folder, kind=kind)
    cache_many(subject, targets, corpus, settings)
    return snapshot(folder)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return make_corpus(tmp_path_factory.mktemp("cluster") / "corpus", random_proteins(60, (0, 50)))


@pytest.mark.parametrize(
    ("kind", "changed"),
    [
        ("text", {"max_tokens": 700}),
        pytest.param("protein", {}, marks=pytest.mark.full),
        pytest.param("protein", {"max_tokens": 700}, marks=pytest.mark.full),
        pytest.param("text", {}, marks=pytest.mark.full),
        pytest.param("text", {"level": "sequence", "pooling": "max"}, marks=pytest.mark.full),
        pytest.param("protein", {"max_activations_per_feature": 50}, marks=pytest.mark.full),
    ],
)
def test_the_bytes_of_one_machine(tmp_path: Path, cluster: Cluster, kind: str, changed: dict[str, Any]) -> None:
    texts = random_proteins(60, (0, 50)) if kind == "protein" else random_documents(80)
    corpus = make_corpus(tmp_path / "corpus", texts, kind=kind)
    settings = replace(SETTINGS, **changed)
    expected = one_machine(tmp_path / "one", corpus, settings, kind)
    caches = cache_on_ray(partial(two_targets, tmp_path / "many", kind=kind), corpus.path, settings)
    assert snapshot(tmp_path / "many") == expected
    assert [cache.n_features for cache in caches] == [20, 9]
    assert len([name for name in expected if "shards/" in name]) > 2


def test_the_command(
    tmp_path: Path, cluster: Cluster, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real model, whose sums are rounded; relative paths; the connection that is there."""
    make_corpus(tmp_path / "corpus", random_proteins(40, (5, 90)))
    monkeypatch.chdir(tmp_path)
    words = "cache --subject planted-esm --hook layer:1,layer:2 --coder random?n_features=256&k=8 --corpus corpus --out"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert main([*words.split(), "one", "--block-size", "400"]) == 0
    finally:
        torch.set_num_threads(threads)
    said = capsys.readouterr()
    assert main([*words.split(), "many", "--block-size", "400", "--ray"]) == 0
    assert snapshot(tmp_path / "many") == snapshot(tmp_path / "one")
    again = capsys.readouterr()
    assert again.out == said.out.replace("one/", "many/")
    assert "of memory at most" in again.err
    assert main([*words.split(), "other", "--ray", "--device", "cuda:1"]) == 2
    assert main([*words.split(), "other", "--ray-workers", "2"]) == 2
    shown = capsys.readouterr().err
    assert "with --ray, which chooses the GPU" in shown
    assert "--ray, which is not given" in shown


class Doomed(FakeSubject):
    """The first worker that encodes says on which node it is, and never comes back; its half-written file stays."""

    folder: Path

    def states(self, windows: Any, hooks: Any) -> Any:
        """As of the fake, but for the first that asks."""
        try:
            os.close(os.open(self.folder / "claimed", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return super().states(windows, hooks)
        (self.folder / "many/1/blocks").mkdir()
        (self.folder / "many/1/blocks/.000000.safetensors.0123abcd.tmp").write_bytes(b"half")
        (self.folder / "victim").write_text(ray.get_runtime_context().get_node_id())  # waits for the reader
        return (self.folder / "never").read_text()  # waits for a writer


def doomed(folder: Path) -> Any:
    subject, targets = two_targets(folder / "many", Doomed)
    subject.folder = folder
    return subject, targets


class OnFirst(Silent):
    """Calls ``action`` when the first part of ``stage`` is done."""

    def __init__(self, stage: str, action: Callable[[], Any]) -> None:
        self.stage, self.now, self.action, self.done = stage, "", action, False

    def start(self, stage: str, total: int | None, unit: str) -> None:
        self.now = stage

    def advance(self, n: int, **facts: Any) -> None:
        if self.now == self.stage and not self.done:
            self.done = True
            self.action()


def lose(cluster: Cluster, node_id: str) -> None:
    (node,) = [node for node in cluster.worker_nodes if node.node_id == node_id]
    cluster.remove_node(node, allow_graceful=False)


def test_a_lost_node_s_blocks_are_made_by_others(
    tmp_path: Path, cluster: Cluster, corpus: Corpus, caplog: pytest.LogCaptureFixture
) -> None:
    """It is lost in the middle of a block, when another worker has finished one; there is no node to replace it."""
    for pipe in ("victim", "never"):
        os.mkfifo(tmp_path / pipe)
    observer = OnFirst("encoding", lambda: lose(cluster, (tmp_path / "victim").read_text()))
    cache_on_ray(partial(doomed, tmp_path), corpus.path, SETTINGS, observer)
    cluster.add_node(**NODE)
    assert observer.done
    assert (tmp_path / "claimed").exists()
    assert snapshot(tmp_path / "many") == one_machine(tmp_path / "one", corpus, SETTINGS)
    assert [r.getMessage()[:16] for r in caplog.records if r.name == "caching.cluster.pool"] == ["a worker is lost"]


@pytest.mark.full
def test_a_node_lost_while_compacting(tmp_path: Path, cluster: Cluster, corpus: Corpus) -> None:
    observer = OnFirst("compacting", lambda: lose(cluster, next(iter(cluster.worker_nodes)).node_id))
    cache_on_ray(partial(two_targets, tmp_path / "many"), corpus.path, SETTINGS, observer)
    cluster.add_node(**NODE)
    assert observer.done
    assert snapshot(tmp_path / "many") == one_machine(tmp_path / "one", corpus, SETTINGS)


def stop() -> None:
    raise KeyboardInterrupt


@pytest.mark.full
def test_interrupted_on_a_cluster_and_continued_on_one_machine(
    tmp_path: Path, cluster: Cluster, corpus: Corpus
) -> None:
    expected = one_machine(tmp_path / "one", corpus, SETTINGS)
    with pytest.raises(KeyboardInterrupt):
        cache_on_ray(partial(two_targets, tmp_path / "many"), corpus.path, SETTINGS, OnFirst("compacting", stop))
    for target in "12":
        check_prefix(tmp_path / "many" / target, ActivationCache.open(tmp_path / "one" / target))
    assert one_machine(tmp_path / "many", corpus, SETTINGS) == expected


@pytest.mark.full
def test_begun_on_one_machine_and_continued_on_a_cluster_that_loses_its_driver(
    tmp_path: Path, cluster: Cluster, corpus: Corpus, caplog: pytest.LogCaptureFixture
) -> None:
    expected = one_machine(tmp_path / "one", corpus, SETTINGS)
    load = partial(two_targets, tmp_path / "many")
    with pytest.raises(KeyboardInterrupt):
        cache_many(*load(), corpus, SETTINGS, OnFirst("compacting", stop))
    (tmp_path / "many/1/blocks/000001.safetensors").unlink()
    shutil.rmtree(tmp_path / "many/2")
    code = (
        "import os, sys; from functools import partial; from pathlib import Path;"
        "from tests.caching.test_cluster import *;"
        "folder, corpus, address = sys.argv[1:];"
        "die = OnFirst('encoding', lambda: os.kill(os.getpid(), 9));"
        "cache_on_ray(partial(two_targets, Path(folder)), corpus, SETTINGS, die, address=address)"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "many"), str(corpus.path), cluster.address]
    assert subprocess.run(words, check=False).returncode == -9
    cache_on_ray(load, corpus.path, SETTINGS)
    assert snapshot(tmp_path / "many") == expected


def pool(size: int = 1, patience: float = 60, **options: Any) -> Pool:
    return Pool(ray, ray.remote(Actor).options(num_cpus=1, **options).remote, size, lambda pid: None, patience)


def test_tasks_that_fail_and_tasks_that_take_their_worker_down(cluster: Cluster) -> None:
    with pool() as workers:
        with pytest.raises(FormatError, match="a file: expected this; found that") as caught:
            list(workers.run("fail", [(1,), (2,)]))
        assert caught.value.expected == "this"
        with pytest.raises(AutointerpError, match="3 workers were lost at die 7"):
            list(workers.run("die", [(7,), (8,)]))
        results = dict(result for batch in workers.run("double", [(n,) for n in range(50)]) for result in batch)
        assert results == {(n,): 2 * n for n in range(50)}


def test_no_worker_for_long_is_an_error(cluster: Cluster) -> None:
    said = r"no worker on the Ray cluster for 0 s.*same command continues"
    with pool(patience=0.2, resources={"what no node has": 1}) as workers, pytest.raises(AutointerpError, match=said):
        list(workers.run("double", [(1,)]))


def test_workers_are_counted_by_node(cluster: Cluster) -> None:
    assert places(ray, 1, 0) >= 2  # a node that was just lost may still count
    assert places(ray, 2, 0) == 0  # no node has two, though there are two
    with pytest.raises(UsageError, match="no node of the Ray cluster has 1 CPUs and a GPU"):
        cache_on_ray(two_targets, "corpus", SETTINGS, gpu=True)
    sizes = [(True, 64, 8), (True, 3, 1), (True, 16, 0), (False, 64, 8)]
    nodes = [{"Alive": alive, "Resources": {"CPU": cpu, "GPU": gpu}} for alive, cpu, gpu in sizes]
    double = SimpleNamespace(nodes=lambda: nodes)
    assert places(double, 1, 1) == 9
    assert places(double, 4, 1) == 8
    assert places(double, 4, 0) == 20


@pytest.mark.parametrize("address", ["127.0.0.1:1", "no-port", "127.0.0.1:word"])
def test_no_cluster_at_the_address(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(UsageError, match=f"no Ray cluster at {address}: ."), connected(address):
        pass
