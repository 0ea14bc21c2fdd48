"""The manifest of a caching run: what is written down before it starts, and whether a folder holds the same run."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autointerp.cache.layout import BLOCKS, FORMAT, MANIFEST, SHARDS, VERSION
from autointerp.errors import UsageError
from autointerp.files import read_json, remove_temporaries, write_json
from caching.settings import POOLING, CacheSettings

if TYPE_CHECKING:
    from autointerp.coders import SparseCoder
    from autointerp.corpus import Corpus
    from autointerp.subjects import Subject

LOCK = "cache.lock"
PROGRESS_FIELDS = ("complete", "n_sequences", "n_tokens", "n_activations", "tokens", "blocks", "shards", "files")


def describe_run(subject: Subject, coder: SparseCoder, corpus: Corpus, settings: CacheSettings) -> dict[str, Any]:
    """The manifest of a run that has not begun: everything that decides the bytes of its cache."""
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


def begin(folder: Path, fresh: dict[str, Any]) -> dict[str, Any]:
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
