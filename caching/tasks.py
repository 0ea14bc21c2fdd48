"""One block as a task: all that whoever encodes it must know, on this machine or on another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autointerp.cache.layout import MAX_TOKENS
from autointerp.errors import FormatError, UsageError
from autointerp.files import digest_file
from autointerp.subjects import tokenize_rows
from caching.blocks import write_block
from caching.encode import begin_block

if TYPE_CHECKING:
    from autointerp.coders import SparseCoder
    from autointerp.corpus import Corpus
    from autointerp.progress import Observer
    from autointerp.subjects import Subject, Tokens
    from caching.aside import Aside
    from caching.manifest import Run
    from caching.memory import Resident
    from caching.settings import CacheSettings


@dataclass(frozen=True, eq=False)
class Target:
    """One coder on one hook, and the folder of its cache."""

    coder: SparseCoder
    hook: str
    out: Path


@dataclass(frozen=True)
class Task:
    """A block that is to be there.

    Attributes
    ----------
    index : of the block. first, last : its sequences, half-open, as planned; ``max_tokens`` may end it earlier.
    reached : tokens of the corpus before it.
    known : for each target (by its number) that needs the block, its entry in the manifest; None if it has none yet.
    """

    index: int
    first: int
    last: int
    reached: int
    known: dict[int, dict[str, Any] | None]

    def __str__(self) -> str:
        return f"sequences {self.first}:{self.last}"


@dataclass(frozen=True)
class Made:
    """A block that is there.

    Attributes
    ----------
    entries : for each target that needs it; none at all if ``max_tokens`` ends before the first sequence.
    damaged : finished files that were missing or damaged, and were made again.
    """

    entries: dict[int, dict[str, Any]]
    damaged: list[Path]

    @property
    def n_tokens(self) -> int:
        """Tokens of the block."""
        return next((entry["n_tokens"] for entry in self.entries.values()), 0)

    @property
    def last(self) -> int:
        """End of its sequences."""
        return next((entry["last"] for entry in self.entries.values()), 0)


@dataclass(frozen=True)
class Begun:
    """A block whose states are on their way.

    Attributes
    ----------
    n_tokens : of the block. ended : whether ``max_tokens`` end in it.
    finish : writes it; any thread may call it, once.
    """

    n_tokens: int
    ended: bool
    finish: Callable[[], Made]


def task_of(runs: Sequence[Run], index: int, first: int, last: int, reached: int) -> Task:
    """The task of one block of a plan, for the ``runs`` that are not complete."""
    known = {i: run.entry(index, first, last) for i, run in enumerate(runs) if not run.complete}
    return Task(index, first, last, reached, known)


def begin_task(
    subject: Subject,
    targets: Sequence[Target],
    corpus: Corpus,
    settings: CacheSettings,
    task: Task,
    observer: Observer,
    resident: Resident,
    aside: Aside,
) -> Begun:
    """Encode a block for every target that has none, and check those that are there by their digests.

    Raises
    ------
    UsageError : as of :func:`~caching.encode.begin_block`; or the cache grows beyond what positions can count.
    FormatError, by ``finish`` : a damaged block comes out otherwise than before.
    """
    entries = {i: e for i, e in task.known.items() if e and _intact(targets[i].out / e["file"], e["digest"])}
    wanted = [i for i in task.known if i not in entries]
    made = Made(entries, [targets[i].out / e["file"] for i, e in task.known.items() if e and i in wanted])
    if not wanted:
        observer.advance(made.n_tokens)
        return Begun(made.n_tokens, made.last < task.last, lambda: made)
    sequences = _within(tokenize_rows(subject, corpus, range(task.first, task.last)), task.reached, settings)
    n_tokens, last = sum(len(s.ids) for s in sequences), task.first + len(sequences)
    if not sequences:
        return Begun(0, True, lambda: Made({}, []))
    if task.reached + n_tokens > MAX_TOKENS:
        raise UsageError(f"a cache holds at most {MAX_TOKENS:,} tokens: split the corpus, or set --max-tokens")
    base = task.first if settings.level == "sequence" else task.reached
    pairs = [(targets[i].coder, replace(settings, hook=targets[i].hook)) for i in wanted]
    blocks = begin_block(subject, pairs, sequences, base, observer, resident, aside)

    def finish() -> Made:
        for i, tensors in zip(wanted, blocks(), strict=True):
            entry = entries[i] = write_block(targets[i].out, task.index, tensors, task.first, last)
            _check_again(targets[i].out, task.known[i], entry)
        return made

    return Begun(n_tokens, last < task.last, finish)


def _check_again(folder: Path, known: dict[str, Any] | None, entry: dict[str, Any]) -> None:
    if known and known != entry:
        raise FormatError(
            folder / entry["file"],
            f"the bytes of the first run (SHA-256 {known['digest'][:12]}…)",
            "others: the device, the number of threads or a library is not the same; choose another --out",
        )


def _intact(path: Path, digest: str) -> bool:
    return path.exists() and digest_file(path) == digest


def _within(sequences: list[Tokens], reached: int, settings: CacheSettings) -> list[Tokens]:
    """The leading sequences that fit into ``max_tokens``."""
    if settings.max_tokens is None:
        return sequences
    left = settings.max_tokens - reached
    fits = np.cumsum([len(s.ids) for s in sequences]) <= left
    return sequences[: int(fits.sum())]
