"""Registries of explainers, scorers, clients and subjects: one decorated class each, from here or from a plug-in.

Other packages add theirs through the entry-point group ``autointerp``: an entry point whose name is ``KIND:NAME``
(``"scorer:mine"``) and whose value is the class.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any, TypeVar

from autointerp.errors import UsageError, nearest

T = TypeVar("T")


class Registry:
    """Names to classes of one kind, imported when first asked for.

    Parameters
    ----------
    kind : what the names stand for, e.g. ``"scorer"``; used in errors and in entry-point names.
    modules : the built-in names and the module that defines (and registers) each.
    """

    def __init__(self, kind: str, modules: Mapping[str, str]) -> None:
        self.kind = kind
        self._modules = dict(modules)
        self._known: dict[str, Any] = {}

    def __call__(self, name: str) -> Callable[[T], T]:
        """Register the decorated class or factory under ``name``."""

        def register(thing: T) -> T:
            if name in self._known and self._known[name] is not thing:
                raise UsageError(f"{self.kind} {name!r} is registered twice")
            self._known[name] = thing
            return thing

        return register

    def names(self) -> list[str]:
        """Every name that :meth:`get` accepts, sorted."""
        return sorted({*self._modules, *self._known, *self._plugins()})

    def get(self, name: str) -> Any:
        """Return what is registered as ``name``.

        Raises
        ------
        UsageError : the name is unknown; the message lists the known names and the nearest.
        """
        if name not in self._known and name in self._modules:
            importlib.import_module(self._modules[name])
        if name not in self._known:
            plugin = self._plugins().get(name)
            if plugin is None:
                raise UsageError(f"unknown {self.kind} {name!r}; {nearest(name, self.names())}")
            self._known[name] = plugin.load()
        return self._known[name]

    def _plugins(self) -> dict[str, Any]:
        prefix = f"{self.kind}:"
        return {e.name[len(prefix) :]: e for e in entry_points(group="autointerp") if e.name.startswith(prefix)}
