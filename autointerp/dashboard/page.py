"""What a file of this room adds to the site: scripts, payloads that are read, actions that are done, columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from autointerp.dashboard.run import Run

Payload = Callable[..., Any]
"""(run, *parts of the name) -> something that is JSON, or bytes of JSON."""
Action = Callable[["Run", dict[str, Any]], Any]
"""(run, body) -> something that is JSON."""


@dataclass(frozen=True, eq=False)
class Column:
    """A column of the overview's table, aligned with the run's features.

    Attributes
    ----------
    name : unique in the run. label : its heading. group : what it stands under where columns are chosen.
    kind : ``"number"``; ``"category"``, whose values are codes in ``words``, −1 for none; ``"tags"``, whose values are
        lists of such codes; ``"text"``.
    values : one a feature, NaN or None where there is none.
    more : further facts: ``low``, ``high``, ``null`` (values beside these), ``range``, ``chance``, ``log``, ``shown``.
    """

    name: str
    label: str
    kind: str
    values: Any
    group: str = "feature"
    words: tuple[str, ...] = ()
    more: Mapping[str, Any] = field(default_factory=dict)

    def json(self) -> dict[str, Any]:
        """The column as it is sent."""
        words = {"words": self.words} if self.kind in ("category", "tags") else {}
        about = {"name": self.name, "label": self.label, "kind": self.kind, "group": self.group}
        return about | words | dict(self.more) | {"values": self.values}


def nothing(run: Run) -> Iterable[Any]:
    """What a page adds that adds nothing."""
    return ()


@dataclass(frozen=True, eq=False)
class Page:
    """What one file adds.

    Attributes
    ----------
    scripts, styles : files of ``assets/``, loaded in order.
    payloads : name with ``{part}`` s to the function that makes it; read at ``data/RUN/NAME``.
    actions : name to what is done when a browser posts to ``act/RUN/NAME``; a static site has none.
    exported : the names of a run's payloads that a static site holds.
    columns : further columns of the overview.
    about : small facts about a run for the page's own script.
    """

    scripts: tuple[str, ...] = ()
    styles: tuple[str, ...] = ()
    payloads: Mapping[str, Payload] = field(default_factory=dict)
    actions: Mapping[str, Action] = field(default_factory=dict)
    exported: Callable[[Run], Iterable[str]] = nothing
    columns: Callable[[Run], Iterable[Column]] = nothing
    about: Callable[[Run], dict[str, Any]] | None = None


def missing(what: str, command: str = "") -> dict[str, str]:
    """In the place of what cannot be shown: what is missing, and the command that makes it."""
    return {"missing": what, "command": command}


def short(values: np.ndarray, digits: int = 4) -> np.ndarray:
    """(n,) float32 with so many significant digits, which are what is sent."""
    values = np.asarray(values, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        power = 10.0 ** (digits - 1 - np.floor(np.log10(np.abs(values))))
        return np.where(values == 0, 0.0, np.round(values * power) / power).astype(np.float32)
