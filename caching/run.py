"""The caching run: block after block, resumable, then compaction."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autointerp.cache.layout import BLOCKS, FORMAT, MANIFEST, MAX_TOKENS, SHARDS, VERSION
from autointerp.cache.reader import ActivationCache
from autointerp.errors import FormatError, UsageError
from autointerp.files import read_json, remove_temporaries, write_json
from autointerp.locks import locked
from autointerp.progress import Observer, Silent, Stage
from caching.blocks import plan_blocks, write_block
from caching.compact import compact
from caching.encode import encode_block
from caching.memory import Resident
from caching.settings import POOLING, CacheSettings

if TYPE_CHECKING:
    from autointerp.coders import SparseCoder
    from autointerp.corpus import Corpus
    from autointerp.subjects import Subject, Tokens


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

    A run that was interrupted continues after its last finished block; a finished one is opened and returned.

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
    settings = settings.on(str(getattr(subject, "device", "cpu")).partition(":")[0])
    runs = []
    for target, folder in zip(targets, folders, strict=True):
        own = replace(settings, hook=target.hook)
        _check_fit(subject, target.coder, own)
        runs.append(_Run(folder, target.coder, own, _manifest(subject, target.coder, corpus, own)))
    with ExitStack() as stack:  # only after all of them fit
        for run in runs:
            stack.enter_context(locked(run.folder / LOCK, "writing this cache"))
        for run in runs:
            run.manifest = _begin(run.folder, run.manifest)
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


def _manifest(subject: Subject, coder: SparseCoder, corpus: Corpus, settings: CacheSettings) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": VERSION,
        "complete": False,
        "level": settings.level,
        "pooling": POOLING[settings.pooling] if settings.level == "sequence" else None,
        "subject": {
            "name": subject.name,
            "digest": subject.digest,
            "kind": subject.kind,
            "causal": subject.causal,
            "hook": subject.hook(settings.hook).name,
            "context_length": subject.context_length,
            "dtype": str(getattr(subject, "dtype", "float32")),
        },
        "special_tokens": {"rule": "left out by id", "ids": dict(subject.special_tokens)},
        "coder": {
            "digest": coder.digest,
            "architecture": coder.architecture,
            "d_in": coder.d_in,
            "k": coder.k,
            **({"control": coder.metadata["control"]} if "control" in coder.metadata else {}),
        },
        "corpus": {"digest": corpus.digest, "kind": corpus.kind, "n_sequences": len(corpus)},
        "settings": asdict(settings),
        "n_features": coder.n_features,
        "value_dtype": settings.value_dtype,
        "n_sequences": 0,
        "n_tokens": 0,
        "n_activations": 0,
        "tokens": None,
        "blocks": [],
        "shards": [],
        "files": [],
    }


LOCK = "cache.lock"
PROGRESS_FIELDS = ("complete", "n_sequences", "n_tokens", "n_activations", "tokens", "blocks", "shards", "files")


def _begin(folder: Path, fresh: dict[str, Any]) -> dict[str, Any]:
    """The manifest to go on with: the one in ``folder`` if it is of the same run, else a fresh one."""
    remove_temporaries(folder, MANIFEST)
    found = (folder / MANIFEST).exists()
    if not found and any(path.name != LOCK for path in folder.iterdir()):
        raise UsageError(f"{folder}: not empty and not a cache; choose another --out")
    old = read_json(folder / MANIFEST, FORMAT, VERSION) if found else fresh
    if not old["blocks"] and not old["complete"]:  # nothing to lose
        write_json(folder / MANIFEST, fresh)
        return fresh
    for field, value in fresh.items():
        if field not in PROGRESS_FIELDS and old.get(field) != value:
            where, was, now = _difference(field, old.get(field), value)
            raise UsageError(f"{folder} holds a cache with {where} {was!r}, this run has {now!r}; choose another --out")
    for part in (folder, folder / BLOCKS, folder / SHARDS):
        remove_temporaries(part)
    return old


def _difference(field: str, old: Any, new: Any) -> tuple[str, Any, Any]:
    """The first differing leaf of two manifest fields, with its dotted name."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*new, *old]:
            if old.get(key) != new.get(key):
                return _difference(f"{field}.{key}", old.get(key), new.get(key))
    return field, old, new


def _encode_blocks(subject: Subject, runs: Sequence[_Run], corpus: Corpus, observer: Observer | None) -> None:
    """Encode every block that is not finished in all of ``runs``."""
    if not runs:
        return
    settings = runs[0].settings
    plan = list(plan_blocks(corpus.lengths, settings.block_size))
    for run in runs:
        _check_blocks(run, plan)
    todo = [run for run in runs if not _ended(run.manifest, plan)]
    done = min((len(run.manifest["blocks"]) for run in todo), default=len(plan))
    total = settings.max_tokens or (int(corpus.lengths.sum()) if subject.kind == "protein" else None)
    resident = Resident()
    with Stage(observer or Silent(), "encoding", total, "token") as stage:
        stage.advance(min((run.manifest["n_tokens"] for run in todo), default=0))
        for index, (first, last) in enumerate(plan[done:], done):
            behind = [run for run in todo if len(run.manifest["blocks"]) == index]
            reached = behind[0].manifest["n_tokens"]
            sequences = _within(subject.tokenize(corpus.texts(range(first, last))), reached, settings)
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


def _check_blocks(run: _Run, plan: list[tuple[int, int]]) -> None:
    for block, (first, last) in zip(run.manifest["blocks"], plan, strict=False):
        path = run.folder / block["file"]
        if not path.exists() or block["first"] != first or block["last"] > last:
            raise FormatError(path, f"the finished block of sequences {first}:{last}", "none")


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
