"""The caching run: block after block, resumable, then compaction."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autointerp.cache.layout import BLOCKS, MANIFEST, MAX_TOKENS
from autointerp.cache.reader import ActivationCache
from autointerp.errors import FormatError, UsageError
from autointerp.files import digest_file, write_json
from autointerp.locks import locked
from autointerp.progress import Observer, Silent, Stage
from autointerp.subjects import tokenize_rows
from caching.blocks import plan_blocks, write_block
from caching.compact import compact
from caching.encode import encode_block
from caching.manifest import LOCK, begin, describe_run
from caching.memory import Resident
from caching.settings import CacheSettings

if TYPE_CHECKING:
    from autointerp.coders import SparseCoder
    from autointerp.corpus import Corpus
    from autointerp.subjects import Subject, Tokens


log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Target:
    """One coder on one hook, and the folder of its cache."""

    coder: SparseCoder
    hook: str
    out: Path


def cache_activations(
    subject: Subject,
    coder: SparseCoder,
    corpus: Corpus,
    out: str | Path,
    settings: CacheSettings,
    observer: Observer | None = None,
) -> ActivationCache:
    """Encode ``corpus`` and write the activation cache into folder ``out``.

    A run that was interrupted continues after its last finished block; a finished one is opened and returned. Finished
    blocks are checked by their digests, and made again where they are damaged.

    Raises
    ------
    UsageError : subject and coder do not fit, or ``out`` holds a cache of other settings; the field is named.
    DiskFull : finished blocks are kept.
    """
    return cache_many(subject, [Target(coder, settings.hook, Path(out))], corpus, settings, observer)[0]


def cache_many(
    subject: Subject,
    targets: Sequence[Target],
    corpus: Corpus,
    settings: CacheSettings,
    observer: Observer | None = None,
) -> list[ActivationCache]:
    """Write a cache for each target from one pass of the subject, which runs no further than the last hook.

    Each cache is whole in itself, with the bytes that :func:`cache_activations` would write; ``settings.hook`` is not
    used. Targets may be in different states of completion: what is missing is done.

    Raises
    ------
    UsageError : as of :func:`cache_activations`; or two targets share a folder.
    """
    folders = [target.out for target in targets]
    for folder in folders:
        if [f.resolve() for f in folders].count(folder.resolve()) > 1:
            raise UsageError(f"two caches are to be written to {folder}: give each a folder of its own")
    settings = settings.on(subject)
    runs = []
    for target, folder in zip(targets, folders, strict=True):
        own = replace(settings, hook=target.hook)
        _check_fit(subject, target.coder, own)
        runs.append(_Run(folder, target.coder, own, describe_run(subject, target.coder, corpus, own)))
    with ExitStack() as stack:  # only after all of them fit
        for run in runs:
            stack.enter_context(locked(run.folder / LOCK, "writing this cache"))
        for run in runs:
            run.manifest = begin(run.folder, run.manifest)
        _encode_blocks(subject, [run for run in runs if not run.manifest["complete"]], corpus, observer)
        for run in runs:
            if not run.manifest["complete"]:
                if not run.manifest["blocks"]:
                    raise UsageError(
                        f"{run.folder}: nothing to cache: the first sequence exceeds max_tokens {settings.max_tokens}"
                    )
                run.manifest = compact(run.folder, run.manifest, settings.shard_activations, observer)
                write_json(run.folder / MANIFEST, run.manifest)
            shutil.rmtree(run.folder / BLOCKS, ignore_errors=True)
    return [ActivationCache.open(folder) for folder in folders]


@dataclass(eq=False)
class _Run:
    """A target under way; its manifest is updated in memory and on disk after each block."""

    folder: Path
    coder: SparseCoder
    settings: CacheSettings
    manifest: dict[str, Any]


def _check_fit(subject: Subject, coder: SparseCoder, settings: CacheSettings) -> None:
    hook = subject.hook(settings.hook)
    if hook.d != coder.d_in:
        raise UsageError(
            f"{subject.name} {settings.hook} is {hook.d} wide, the coder expects {coder.d_in}: they do not fit"
        )
    known = coder.metadata
    for field, found in (("subject_digest", subject.digest), ("hook", hook.name), ("level", settings.level)):
        stated = known.get(field)
        if field == "hook" and stated:
            stated = subject.hook(stated).name
        if stated and stated != found:
            raise UsageError(f"the coder was trained with {field} {stated!r}, this run has {found!r}")


def _encode_blocks(subject: Subject, runs: Sequence[_Run], corpus: Corpus, observer: Observer | None) -> None:
    """Encode every block that is not finished in all of ``runs``."""
    if not runs:
        return
    settings = runs[0].settings
    plan = list(plan_blocks(corpus.lengths, settings.block_size))
    for run in runs:
        _mend_blocks(subject, run, plan, corpus)
    todo = [run for run in runs if not _ended(run.manifest, plan)]
    done = min((len(run.manifest["blocks"]) for run in todo), default=len(plan))
    total = settings.max_tokens or (int(corpus.lengths.sum()) if subject.kind == "protein" else None)
    resident = Resident()
    with Stage(observer or Silent(), "encoding", total, "token") as stage:
        stage.advance(min((run.manifest["n_tokens"] for run in todo), default=0))
        for index, (first, last) in enumerate(plan[done:], done):
            behind = [run for run in todo if len(run.manifest["blocks"]) == index]
            reached = behind[0].manifest["n_tokens"]
            sequences = _within(tokenize_rows(subject, corpus, range(first, last)), reached, settings)
            if not sequences:
                break
            if reached + sum(len(s.ids) for s in sequences) > MAX_TOKENS:
                raise UsageError(f"a cache holds at most {MAX_TOKENS:,} tokens: split the corpus, or set --max-tokens")
            base = first if settings.level == "sequence" else reached
            targets = [(run.coder, run.settings) for run in behind]
            blocks = encode_block(subject, targets, sequences, base, stage, resident)
            for run, tensors in zip(behind, blocks, strict=True):
                _finish_block(run, index, tensors, first, first + len(sequences))
            del blocks
            resident.check()
            if len(sequences) < last - first:
                break


def _mend_blocks(subject: Subject, run: _Run, plan: list[tuple[int, int]], corpus: Corpus) -> None:
    """Make finished blocks again whose file is missing or damaged.

    Raises
    ------
    FormatError : the manifest's blocks are not those of the plan, or a block comes out otherwise than before.
    """
    reached = 0
    for index, (block, (first, last)) in enumerate(zip(run.manifest["blocks"], plan, strict=False)):
        path = run.folder / block["file"]
        if block["first"] != first or block["last"] > last:
            raise FormatError(path, f"the block of sequences {first}:{last}", f"{block['first']}:{block['last']}")
        if not path.exists() or digest_file(path) != block["digest"]:
            log.warning("%s is missing or damaged: it is made again", path)
            sequences = tokenize_rows(subject, corpus, range(first, block["last"]))
            base = first if run.settings.level == "sequence" else reached
            targets = [(run.coder, run.settings)]
            (tensors,) = encode_block(subject, targets, sequences, base, Silent(), Resident())
            if write_block(run.folder, index, tensors, first, block["last"]) != block:
                raise FormatError(
                    path,
                    f"the bytes of the first run (SHA-256 {block['digest'][:12]}…)",
                    "others: the device, the number of threads or a library is not the same; choose another --out",
                )
        reached += block["n_tokens"]


def _ended(manifest: dict[str, Any], plan: list[tuple[int, int]]) -> bool:
    """Whether all blocks are there, or ``max_tokens`` ended the run inside the last one."""
    done = len(manifest["blocks"])
    return done == len(plan) or (done > 0 and manifest["blocks"][-1]["last"] < plan[done - 1][1])


def _finish_block(run: _Run, index: int, tensors: dict[str, np.ndarray], first: int, last: int) -> None:
    entry = write_block(run.folder, index, tensors, first, last)
    manifest = run.manifest
    manifest["blocks"].append(entry)
    manifest["n_sequences"] = entry["last"]
    manifest["n_tokens"] += entry["n_tokens"]
    manifest["n_activations"] += entry["n_activations"]
    write_json(run.folder / MANIFEST, manifest)


def _within(sequences: list[Tokens], reached: int, settings: CacheSettings) -> list[Tokens]:
    """The leading sequences that fit into ``max_tokens``."""
    if settings.max_tokens is None:
        return sequences
    left = settings.max_tokens - reached
    fits = np.cumsum([len(s.ids) for s in sequences]) <= left
    return sequences[: int(fits.sum())]
