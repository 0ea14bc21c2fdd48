"""The caching run: block after block, resumable, then compaction."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autointerp.cache.layout import BLOCKS, FORMAT, MANIFEST, MAX_TOKENS, SHARDS, VERSION
from autointerp.cache.reader import ActivationCache
from autointerp.errors import FormatError, UsageError
from autointerp.files import read_json, remove_temporaries, write_json
from autointerp.progress import Observer, Silent, Stage
from caching.blocks import plan_blocks, write_block
from caching.compact import compact
from caching.encode import encode_block
from caching.memory import Resident
from caching.settings import CacheSettings

if TYPE_CHECKING:
    from autointerp.coders import SparseCoder
    from autointerp.corpus import Corpus
    from autointerp.subjects import Subject, Tokens


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
    folder, settings = Path(out), settings.on(str(getattr(subject, "device", "cpu")).partition(":")[0])
    _check_fit(subject, coder, settings)
    manifest = _begin(folder, _manifest(subject, coder, corpus, settings))
    if not manifest["complete"]:
        _encode_blocks(subject, coder, corpus, folder, manifest, settings, observer)
        if not manifest["blocks"]:
            raise UsageError(f"{out}: nothing to cache: the first sequence exceeds max_tokens {settings.max_tokens}")
        manifest = compact(folder, manifest, settings.shard_activations, observer)
        write_json(folder / MANIFEST, manifest)
    shutil.rmtree(folder / BLOCKS, ignore_errors=True)
    return ActivationCache.open(folder)


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
        "pooling": "mean, then encode" if settings.level == "sequence" else None,
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


PROGRESS_FIELDS = ("complete", "n_sequences", "n_tokens", "n_activations", "tokens", "blocks", "shards", "files")


def _begin(folder: Path, fresh: dict[str, Any]) -> dict[str, Any]:
    """The manifest to go on with: the one in ``folder`` if it is of the same run, else a fresh one."""
    remove_temporaries(folder, MANIFEST)
    found = (folder / MANIFEST).exists()
    if not found and folder.is_dir() and any(folder.iterdir()):
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


def _encode_blocks(
    subject: Subject,
    coder: SparseCoder,
    corpus: Corpus,
    folder: Path,
    manifest: dict[str, Any],
    settings: CacheSettings,
    observer: Observer | None,
) -> None:
    """Encode every block that is not finished; ``manifest`` is updated in memory and on disk after each."""
    plan = list(plan_blocks(corpus.lengths, settings.block_size))
    done = len(manifest["blocks"])
    for block, (first, last) in zip(manifest["blocks"], plan, strict=False):
        if not (folder / block["file"]).exists() or block["first"] != first or block["last"] > last:
            raise FormatError(folder / block["file"], f"the finished block of sequences {first}:{last}", "none")
    if done and manifest["blocks"][-1]["last"] < plan[done - 1][1]:
        return  # max_tokens ended the run inside that block
    total = settings.max_tokens or (int(corpus.lengths.sum()) if subject.kind == "protein" else None)
    resident = Resident()
    with Stage(observer or Silent(), "encoding", total, "token") as stage:
        stage.advance(manifest["n_tokens"])
        for index, (first, last) in enumerate(plan[done:], done):
            sequences = _within(subject.tokenize(corpus.texts(range(first, last))), manifest, settings)
            if not sequences:
                break
            base = first if settings.level == "sequence" else manifest["n_tokens"]
            if manifest["n_tokens"] + sum(len(s.ids) for s in sequences) > MAX_TOKENS:
                raise UsageError(f"a cache holds at most {MAX_TOKENS:,} tokens: split the corpus, or set --max-tokens")
            tensors = encode_block(subject, coder, sequences, base, settings, stage, resident)
            entry = write_block(folder, index, tensors, first, first + len(sequences))
            manifest["blocks"].append(entry)
            manifest["n_sequences"] = entry["last"]
            manifest["n_tokens"] += entry["n_tokens"]
            manifest["n_activations"] += entry["n_activations"]
            write_json(folder / MANIFEST, manifest)
            del tensors
            resident.check()
            if len(sequences) < last - first:
                break


def _within(sequences: list[Tokens], manifest: dict[str, Any], settings: CacheSettings) -> list[Tokens]:
    """The leading sequences that fit into ``max_tokens``."""
    if settings.max_tokens is None:
        return sequences
    left = settings.max_tokens - manifest["n_tokens"]
    fits = np.cumsum([len(s.ids) for s in sequences]) <= left
    return sequences[: int(fits.sum())]
