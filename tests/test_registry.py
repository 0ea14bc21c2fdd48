from __future__ import annotations

import sys
import types
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from autointerp import registry as module
from autointerp.errors import UsageError
from autointerp.registry import Registry


@pytest.fixture
def built_in(monkeypatch: pytest.MonkeyPatch) -> Registry:
    """A registry with one built-in that registers itself when its module is imported."""
    registry = Registry("scorer", {"late": "a_module_of_ours"})

    class Finder:
        @staticmethod
        def find_spec(name: str, path: Any = None, target: Any = None) -> Any:
            if name != "a_module_of_ours":
                return None
            from importlib.machinery import ModuleSpec

            class Loader:
                @staticmethod
                def create_module(spec: Any) -> Any:
                    return types.ModuleType(name)

                @staticmethod
                def exec_module(made: Any) -> None:
                    registry("late")(dict)

            return ModuleSpec(name, Loader)  # type: ignore[arg-type]

    monkeypatch.setattr(sys, "meta_path", [Finder, *sys.meta_path])
    yield registry
    sys.modules.pop("a_module_of_ours", None)


def test_a_built_in_is_imported_when_first_asked_for(built_in: Registry) -> None:
    assert built_in.names() == ["late"]
    assert "a_module_of_ours" not in sys.modules
    assert built_in.get("late") is dict
    assert "a_module_of_ours" in sys.modules


def test_a_decorated_class_is_found_and_stays_what_it_is() -> None:
    registry = Registry("scorer", {})

    @registry("mine")
    class Mine:
        pass

    assert registry.get("mine") is Mine
    assert registry("mine")(Mine) is Mine  # the same again is no clash
    with pytest.raises(UsageError, match="scorer 'mine' is registered twice"):
        registry("mine")(object)


def test_an_unknown_name_gets_the_list_and_the_nearest() -> None:
    registry = Registry("scorer", {"detection": "x", "fuzzing": "y"})
    with pytest.raises(UsageError) as caught:
        registry.get("detectoin")
    assert str(caught.value) == ("unknown scorer 'detectoin'; valid: detection, fuzzing (did you mean 'detection'?)")


def test_another_package_adds_its_own_by_an_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [
        EntryPoint("scorer:theirs", "collections:OrderedDict", "autointerp"),
        EntryPoint("explainer:theirs", "collections:Counter", "autointerp"),
    ]
    monkeypatch.setattr(module, "entry_points", lambda group: points if group == "autointerp" else [])
    scorers, explainers = Registry("scorer", {}), Registry("explainer", {})
    assert scorers.names() == ["theirs"]
    assert scorers.get("theirs").__name__ == "OrderedDict"
    assert explainers.get("theirs").__name__ == "Counter"


def test_every_built_in_of_the_house_registers_under_its_name() -> None:
    from autointerp.clients.backend import client
    from autointerp.explainers import explainer
    from autointerp.scorers import scorer

    for registry in (explainer, scorer, client):
        for name in registry.names():
            assert registry.get(name) is not None
