"""What an exporter reads of a run: its joined table, its results, and the contexts of each feature."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from autointerp.errors import UsageError
from autointerp.report.joined import cache_of, place_of, read_joined, settings_of

if TYPE_CHECKING:
    import pyarrow as pa

    from autointerp.analysis.reading import Analysis
    from autointerp.cache import ActivationCache
    from autointerp.corpus import Corpus

ROWS = 256
"""Features that are read at once."""


class Source(AbstractContextManager["Source"]):
    """A run, opened for export.

    Attributes
    ----------
    folder : of the run. cache, corpus : None where they are not at hand. chosen : the features asked for, None if all
        that there is something to say of.
    """

    def __init__(self, folder: str | Path, features: Sequence[int] | None = None) -> None:
        from autointerp.store import RunStore

        self.folder, self.chosen = Path(folder), features
        self.store = RunStore.open(self.folder, readonly=True)
        self.cache: ActivationCache | None = cache_of(self.folder)
        place = place_of(self.folder, "corpus")
        self._corpus = place if place is not None and (place / "corpus.json").exists() else None

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.store.close()

    @cached_property
    def table(self) -> pa.Table:
        """The joined table (:mod:`autointerp.report.joined`)."""
        return read_joined(self.folder)

    @cached_property
    def corpus(self) -> Corpus | None:
        """The corpus; None where it is not at hand."""
        from autointerp.corpus import Corpus

        return None if self._corpus is None else Corpus.open(self._corpus)

    @cached_property
    def analysis(self) -> Analysis | None:
        """What `autointerp analyze` found; None where it has not run."""
        from autointerp.analysis.reading import Analysis

        return Analysis.open(self.folder)

    @property
    def subject(self) -> str:
        """Name of the model under study."""
        return str(self._about.get("name") or "unknown")

    @property
    def hook(self) -> str:
        """Place in it."""
        return str(self._about.get("hook") or "unknown")

    @property
    def kind(self) -> str:
        """``protein`` or ``text``."""
        return str(self._about.get("kind") or "text")

    @property
    def _about(self) -> dict[str, Any]:
        return {} if self.cache is None else self.cache.manifest["subject"]

    def needs_contexts(self, what: str) -> tuple[ActivationCache, Corpus]:
        """Cache and corpus.

        Raises
        ------
        UsageError : one is not at hand; the message says what needs it.
        """
        for name, value in (("cache", self.cache), ("corpus", self.corpus)):
            if value is None:
                raise UsageError(
                    f"{what} needs the contexts of the features, and the {name} that run.toml of {self.folder} names "
                    "is not there (or not finished)"
                )
        assert self.cache is not None
        assert self.corpus is not None
        return self.cache, self.corpus

    @cached_property
    def features(self) -> list[int]:
        """The features to export, ascending: the chosen ones; else those that have an explanation, or all if none has.

        Raises
        ------
        UsageError : one is asked for that the run does not know.
        """
        known = self.table["feature"].to_numpy()
        if self.chosen is not None:
            wanted = sorted(set(self.chosen))
            if absent := sorted(set(wanted) - set(known.tolist())):
                raise UsageError(f"feature {absent[0]}: the run knows features {known.min()} … {known.max()}")
            return wanted
        told = [n for n in self.table.column_names if n.startswith("explanation[")]
        explained = np.zeros(len(known), bool)
        for name in told:
            explained |= np.asarray(self.table[name].is_valid())
        return (known[explained] if explained.any() else known).tolist()

    def rows(self, features: Sequence[int]) -> Iterator[dict[str, Any]]:
        """The rows of the joined table of some features, in their order; some hundred are in memory at a time."""
        import pyarrow as pa

        known = self.table["feature"].to_numpy()
        at = np.searchsorted(known, features)
        for begin in range(0, len(at), ROWS):
            yield from self.table.take(pa.array(at[begin : begin + ROWS])).to_pylist()

    def results(self, features: Sequence[int]) -> dict[int, list[dict[str, Any]]]:
        """Explanations of some features, each with ``explainer``, ``client``, ``text`` and ``scores``.

        A score is ``scorer``, ``client``, ``value``, ``ci_low``, ``ci_high``, ``n``, ``n_failed`` and ``null``.
        """
        found: dict[int, dict[tuple[str, str], dict[str, Any]]] = {}
        for row in self.store.query(study=self.study, feature=list(features)).to_pylist():
            own = found.setdefault(row["feature"], {}).setdefault(
                (row["explainer"], row["client"]),
                {"explainer": row["explainer"], "client": row["client"], "text": row["explanation"], "scores": []},
            )
            if row["scorer"] is not None:
                numbers = {name: row[name] for name in ("scorer", "value", "ci_low", "ci_high", "n", "n_failed")}
                own["scores"].append(numbers | {"client": row["judge"], "null": row["null_value"]})
        return {feature: list(told.values()) for feature, told in found.items()}

    @cached_property
    def study(self) -> str | None:
        """Name of the run's study, where its store holds several."""
        names = self.store.studies()["name"].to_pylist()
        named = settings_of(self.folder).get("study")
        return named if named in names and len(names) > 1 else None
