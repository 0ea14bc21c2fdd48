"""What explainers and scorers share as plans: their names, and plans made of plans."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import fields
from typing import Any, TypeVar

from autointerp.records import Plan

T = TypeVar("T")


def side_by_side(plans: Sequence[Plan[T]]) -> Plan[list[T]]:
    """Several plans as one: the requests of each round of all of them are one round."""
    results: dict[int, T] = {}
    waiting: dict[int, Sequence[Any]] = {}

    def go(i: int, outcomes: Sequence[Any] | None) -> None:
        try:
            waiting[i] = next(plans[i]) if outcomes is None else plans[i].send(outcomes)
        except StopIteration as end:
            results[i] = end.value

    try:
        for i in range(len(plans)):
            go(i, None)
        while waiting:
            asked, waiting = waiting, {}
            outcomes = iter((yield [request for requests in asked.values() for request in requests]))
            for i, requests in asked.items():
                go(i, [next(outcomes) for _ in requests])
    finally:
        for plan in plans:
            plan.close()
    return [results[i] for i in range(len(plans))]


def named(plan: Any, name: str, version: int, without: Collection[str] = ()) -> str:
    """``name@version`` and every setting of the dataclass ``plan`` that differs from its default and matters.

    Parameters
    ----------
    without : settings that make no difference beside the others.
    """
    values = {f.name: (getattr(plan, f.name), f.default) for f in fields(plan) if f.name not in without}
    changed = {name: value for name, (value, default) in values.items() if value != default}
    options = "&".join(f"{k}={v if isinstance(v, str) else format(v, 'g')}" for k, v in changed.items())
    return f"{name}@{version}" + (f"?{options}" if options else "")
