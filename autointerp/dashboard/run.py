"""A run as the dashboard reads it: store, cache, corpus and tables, each opened when it is first asked for."""

from __future__ import annotations

import re
import time
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock, RLock
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from autointerp.dashboard.page import missing
from autointerp.dashboard.tables import Rows, read_rows
from autointerp.errors import AutointerpError, FormatError
from autointerp.store import RunStore

if TYPE_CHECKING:
    from autointerp.cache import ActivationCache
    from autointerp.corpus import Corpus
    from autointerp.dashboard.contexts import Contexts
    from autointerp.store.browse import Told

T = TypeVar("T")
MOST_FEATURES = 100_000
"""Of a coder with more features only those that the run has are listed."""


PATIENCE = 10
"""What is kept is not made again before so many times as long as making it took."""


class Made(NamedTuple):
    """Something that is kept: of which state of the store, and until when whatever happens."""

    stamp: Any
    value: Any
    until: float


@dataclass(frozen=True)
class Options:
    """What the command was told about runs; None for what ``run.toml`` says."""

    cache: Path | None = None
    corpus: Path | None = None
    structures: Path | None = None
    """Folder of PDB or mmCIF files, named by the sequences' ids."""
    subject: str | None = None
    coder: str | None = None
    device: str = "auto"


class Run:
    """One run.

    Parameters
    ----------
    folder : of the run. name : as shown. slug : as it stands in addresses and file names.
    options : what the command was told.

    Raises
    ------
    FormatError : no run store there, or one of a newer version. UsageError : its store holds several studies, and
        ``run.toml`` names none.
    """

    def __init__(self, folder: Path, name: str, slug: str, options: Options | None = None) -> None:
        self.folder, self.name, self.slug = folder, name, slug
        self.options = options or Options()
        self.store = RunStore.open(folder, readonly=True)
        self.store.begun()  # one of several studies must be named: says so before a page is opened
        self._state: str | None = None
        self._tables: dict[str, Rows | dict[str, str]] = {}
        self._made: dict[str, Made] = {}
        self._lock = RLock()
        self._once: dict[str, Any] = {}
        self._turns: dict[str, Lock] = {}

    def close(self) -> None:
        """Give the store back, and what :meth:`once` holds."""
        for value in self._once.values():
            if hasattr(value, "close"):
                value.close()
        self.store.close()

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The section [run] of ``run.toml``; empty where there is none."""
        path = self.folder / "run.toml"
        try:
            return tomllib.loads(path.read_text(encoding="utf-8")).get("run", {}) if path.exists() else {}
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise FormatError(path, "TOML", str(error)) from None

    # ------------------------------------------------------------------------------------------------ cache and corpus

    @property
    def cache(self) -> ActivationCache | None:
        """The cache that the run was made from; None where it is gone."""
        return self._opened[0]

    @property
    def corpus(self) -> Corpus | None:
        """Its corpus; None where it is gone, or is not the cache's."""
        return self._opened[1]

    @property
    def why_no_cache(self) -> dict[str, str] | None:
        """What to say in the place of what needs the cache and the corpus."""
        return self._opened[2]

    why_no_corpus = why_no_cache

    @property
    def is_protein(self) -> bool:
        """Whether a token is a residue."""
        cache, corpus = self.cache, self.corpus
        if cache is not None:
            return cache.manifest["subject"]["kind"] == "protein"
        return corpus is not None and corpus.kind == "protein"

    def place(self, what: str) -> Path | None:
        """Folder of the ``cache`` or ``corpus``: as given, as ``run.toml`` has it, or of that name beside the run."""
        given: Path | None = getattr(self.options, what)
        if given:
            return given
        if not (named := self.settings.get(what)):
            return None
        path = Path(named)
        beside = [self.folder.absolute().parent / path.name, self.folder.absolute().parent / what]
        return next((p for p in (path, *beside) if (p / f"{what}.json").exists()), path)

    @cached_property
    def _opened(self) -> tuple[ActivationCache | None, Corpus | None, dict[str, str] | None]:
        """Cache, corpus, and why one of them is missing."""
        from autointerp.cache import ActivationCache
        from autointerp.corpus import Corpus
        from autointerp.features.checks import check_corpus

        places = self.place("cache"), self.place("corpus")
        command = f"autointerp dashboard {self.folder} --cache DIR --corpus DIR"
        if not all(places):
            return None, None, missing("run.toml does not say which cache and corpus this run was made from.", command)
        cache = corpus = None
        try:
            cache = ActivationCache.open(str(places[0]))
            corpus = Corpus.open(str(places[1]))
            check_corpus(cache, corpus)
            self._check(cache)
        except (AutointerpError, OSError) as error:
            made = f"autointerp cache --subject S --hook H --coder CODER --corpus {places[1]} --out {places[0]}"
            return (None, None, missing(str(error), made if cache is None else command))
        return cache, corpus, None

    def _check(self, cache: ActivationCache) -> None:
        """Refuse a cache of another coder than the run's."""
        from autointerp.files import digest_json

        known = self.store.study().get("coder") if self.has_study else None
        if known and known != digest_json({k: cache.manifest[k] for k in ("subject", "coder")}):
            raise FormatError(cache.path, "the cache that the run was made from", "one of another subject or coder")

    @cached_property
    def contexts(self) -> Contexts | None:
        """Where contexts are cut; None without cache and corpus."""
        from autointerp.dashboard.contexts import Contexts

        with self._lock:
            if self.cache is None or self.corpus is None:
                return None
            return Contexts(self.cache, self.corpus)

    # ---------------------------------------------------------------------------------------------------------- tables

    def table(self, name: str) -> Rows | None:
        """A Parquet table of the run's folder by feature, ``"analysis/logits"``; None where it cannot be read."""
        found = self._table(name)
        return found if isinstance(found, Rows) else None

    def why_no(self, name: str, what: str, command: str) -> dict[str, str]:
        """What to say in the place of that table's content."""
        found = self._table(name)
        return found if isinstance(found, dict) and found["missing"] else missing(what, command)

    @property
    def analyze(self) -> str:
        """The command that makes the tables of ``analysis/``."""
        named = "SUBJECT" if self.cache is None else self.cache.manifest["subject"]["name"]
        subject = self.options.subject or self.settings.get("subject") or named
        coder = self.options.coder or self.settings.get("coder") or "CODER"
        places = f"{self.place('cache') or 'CACHE'} --corpus {self.place('corpus') or 'CORPUS'}"
        return f"autointerp analyze {places} --coder {coder} --subject {subject} --out {self.folder}"

    def _table(self, name: str) -> Rows | dict[str, str]:
        with self._lock:
            if name not in self._tables:
                self._tables[name] = read_rows(self.folder, name)
            return self._tables[name]

    # -------------------------------------------------------------------------------------------------------- features

    @property
    def has_study(self) -> bool:
        """Whether anything was ever written into the store."""
        return self.store.begun()

    @property
    def features(self) -> np.ndarray:
        """(n,) int64 the features that the overview lists, ascending: all of the coder unless they are too many."""
        return self.cached("features", self._features)

    def _features(self) -> np.ndarray:
        own = self.store.features() if self.has_study else np.zeros(0, np.int64)
        n = 0 if self.cache is None else self.cache.n_features
        if (table := self.table("analysis/features")) is not None:
            n = max(n, len(table.column("feature")))
        return np.union1d(own, np.arange(n)) if n <= MOST_FEATURES else own

    def explanation(self, feature: int) -> str:
        """The explanation that the overview shows; empty where there is none."""
        told = self.shown.get(int(feature))
        return told.text if told is not None and told.failure is None else ""

    @property
    def shown(self) -> Mapping[int, Told]:
        """What the overview shows of each explained feature."""
        return self.cached("shown", lambda: self.store.first_told(self.makers) if self.has_study else {})

    @property
    def makers(self) -> list[tuple[str, str]]:
        """(explainer, client) of the explanations, who told most first."""
        return self.cached("makers", lambda: self.store.makers() if self.has_study else [])

    def stamp(self) -> str:
        """Changes when the study has new results; within what :meth:`cached` makes, the state that it is made of."""
        with self._lock:
            return self._state or self.brief("stamp", lambda: self.store.mark() if self.has_study else "empty")

    def cached(self, name: str, make: Callable[[], T]) -> T:
        """What ``make`` gives, kept until the study has new results; parts of it that are cached are made with it."""
        with self._lock:
            outer, stamp = self._state, self.stamp()
            if outer and name in self._made and self._made[name].stamp != outer:
                self.forget(name)
            self._state = stamp
            try:
                return self._kept(name, make, stamp)
            finally:
                self._state = outer

    def next_stamp(self, name: str) -> str:
        """The state of the study that ``cached(name)`` would show now."""
        with self._lock:
            known = self._made.get(name)
            return self.stamp() if known is None or time.monotonic() > known.until else known.stamp

    def brief(self, name: str, make: Callable[[], T]) -> T:
        """What ``make`` gives, kept for a second: many may ask, the store is asked once."""
        return self._kept(name, make, int(time.monotonic()))

    def forget(self, name: str) -> None:
        """Have ``cached(name)`` made again."""
        with self._lock:
            self._made.pop(name, None)

    def once(self, name: str, make: Callable[[], T]) -> T:
        """What ``make`` gave when it was first asked for; who asks for something else does not wait."""
        with self._lock:
            turn = self._turns.setdefault(name, Lock())
        with turn:
            if name not in self._once:
                self._once[name] = make()
            return self._once[name]

    def _kept(self, name: str, make: Callable[[], T], stamp: Any) -> T:
        """What was made of ``name`` at this ``stamp``, or so lately that making it again would be most of the work."""
        with self._lock:
            known = self._made.get(name)
            if known is None or (known.stamp != stamp and time.monotonic() > known.until):
                began = time.monotonic()
                value = make()
                ended = time.monotonic()
                known = self._made[name] = Made(stamp, value, ended + PATIENCE * (ended - began))
            return known.value


def open_runs(folders: Mapping[str, Path], options: Options | None = None) -> list[Run]:
    """The runs by the names that they shall have."""
    slugs: list[str] = []
    for name in folders:
        slug = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "run"
        slugs.append(slug if slug not in slugs else f"{slug}-{len(slugs)}")
    return [Run(path, name, slug, options) for (name, path), slug in zip(folders.items(), slugs, strict=True)]
