"""What a node of a cluster does: it loads the subject and the coders once, then makes blocks and shards."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

from autointerp.cache.layout import MANIFEST, read_manifest
from autointerp.corpus import Corpus
from autointerp.errors import UsageError, device_errors
from autointerp.progress import Silent
from autointerp.subjects import Subject, tokenize_rows
from caching.aside import Aside
from caching.compact import Blocks, Shard, make_shard
from caching.memory import Resident
from caching.plan import Plan, plan_run
from caching.run import describe
from caching.settings import CacheSettings
from caching.tasks import Made, Target, Task, begin_task

Load = Callable[[], tuple[Subject, Sequence[Target]]]
"""Loads subject and targets, wherever it is called."""


class Worker:
    """A process of one node; becomes an actor.

    With a GPU two of its calls run at a time: one block is finished on the host while the next runs on the device.

    Parameters
    ----------
    load, settings : as of :func:`~caching.cluster.driver.cache_on_ray`. corpus : its folder. threads : of torch.
    folder : where the driver was started, which relative paths are of.
    """

    def __init__(self, load: Load, corpus: Path, settings: CacheSettings, threads: int, folder: Path) -> None:
        self.load, self.path, self.settings, self.threads, self.folder = load, corpus, settings, threads, folder
        self.blocks: dict[int, Blocks] = {}

    def greet(self) -> dict[str, Any]:
        """Load everything; what the runs are, and of what kind this worker is.

        Raises
        ------
        UsageError : as of :func:`~caching.run.describe`.
        """
        import torch

        if self.folder.is_dir():
            os.chdir(self.folder)  # relative paths are the driver's
        torch.set_num_threads(self.threads)
        self.corpus, self.resident = Corpus.open(self.path), Resident()
        self.subject, self.targets = self.load()
        self.settings = self.settings.on(self.subject)
        where = str(getattr(self.subject, "device", "cpu"))
        self.turn, self.aside = Lock(), Aside(where)
        cuda = where.startswith("cuda")
        device = torch.cuda.get_device_name() if cuda else torch.backends.cpu.get_cpu_capability()
        return {
            "node": platform.node(),
            "kind": f"torch {torch.__version__}, {device}",
            "folders": [target.out.absolute() for target in self.targets],
            "manifests": describe(self.subject, self.targets, self.corpus, self.settings),
        }

    def plan(self) -> Plan:
        """What the run will take."""
        return plan_run(self.subject, self.targets, self.corpus, self.settings)

    def count(self, index: int, first: int, last: int) -> int:
        """Tokens of some sequences."""
        return sum(len(tokens.ids) for tokens in tokenize_rows(self.subject, self.corpus, range(first, last)))

    def encode(self, task: Task) -> Made:
        """Make a block on disk."""
        for i in task.known:
            if not (self.targets[i].out / MANIFEST).exists():
                raise UsageError(
                    f"node {platform.node()} does not see {self.targets[i].out}: a cluster needs a folder on a file "
                    "system that all nodes share"
                )
        with device_errors(f"encoding on node {platform.node()}"):
            with self.turn:
                block = begin_task(
                    self.subject, self.targets, self.corpus, self.settings, task, Silent(), self.resident, self.aside
                )
            made = block.finish()
        self.resident.check()
        return made

    def compact(self, target: int, first: int, last: int) -> Shard:
        """Make a shard on disk, of features ``first:last``."""
        if target not in self.blocks:
            folder = self.targets[target].out
            self.blocks[target] = Blocks(folder, read_manifest(folder))
        shard = make_shard(self.blocks[target], first, last)
        self.resident.check()
        return shard
