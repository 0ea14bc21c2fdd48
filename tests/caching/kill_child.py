"""A caching run in a process of its own that says when something happens, to be killed: FOLDER LEVEL."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from autointerp.corpus import Corpus
from caching.run import cache_activations
from caching.settings import CacheSettings
from tests.doubles import FakeSubject, fake_coder


def options(level: str) -> CacheSettings:
    """Small blocks and shards, so that there is much to interrupt."""
    return CacheSettings("layer:1", level=level, overlap=4, batch_tokens=40, block_size=150, shard_activations=60)


class Loud:
    """Tells its parent of every event."""

    def start(self, stage: str, total: int | None, unit: str) -> None:
        print(stage, flush=True)

    def advance(self, n: int, **facts: Any) -> None:
        print(n, flush=True)

    def finish(self) -> None:
        print("finish", flush=True)


if __name__ == "__main__":
    folder, level = Path(sys.argv[1]), sys.argv[2]
    corpus = Corpus.open(folder / "corpus")
    cache_activations(FakeSubject(), fake_coder(), corpus, folder / sys.argv[3], options(level), Loud())
