"""Names of places in a model, resolved to modules: ``layer:N``, TransformerLens names, module paths."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass

from autointerp.errors import UsageError

LAYER = re.compile(r"layer:(-?\d+)(\.raw)?")
LENS = re.compile(r"blocks\.(-?\d+)\.hook_(resid_pre|resid_post|attn_out|mlp_out)")


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the landmarks of a model are.

    Attributes
    ----------
    blocks : module path of each transformer block, in order.
    final : module whose output is the last state, after the final LayerNorm if there is one.
    """

    blocks: tuple[str, ...]
    final: str


@dataclass(frozen=True, slots=True)
class Place:
    """A hook resolved: the output of a module, or its input when ``before``."""

    name: str
    layer: int | None
    module: str
    before: bool = False


def find_place(
    name: str, layout: Layout, modules: Collection[str], branch: Callable[[int, str], str], subject: str
) -> Place:
    """Resolve a hook's name.

    Parameters
    ----------
    modules : the model's module paths.
    branch : called with a block's index and ``"attn_out"`` or ``"mlp_out"``; gives the module whose output is what that
        part of the block adds to the residual stream.
    subject : the model's name, for the error.

    Raises
    ------
    UsageError : no such place.
    """
    n = len(layout.blocks)
    if (match := LAYER.fullmatch(name)) and -n - 1 <= (index := int(match[1])) <= n:
        return residual(index % (n + 1), layout, raw=bool(match[2]))
    if (match := LENS.fullmatch(name)) and -n <= (index := int(match[1])) < n:
        index %= n
        if match[2].startswith("resid"):
            return residual(index + (match[2] == "resid_post"), layout, raw=True)
        module = branch(index, match[2])
        return Place(module, index + 1, module)
    if name in modules:
        return _module(name, layout)
    raise UsageError(_unknown(name, n, modules, subject))


def residual(index: int, layout: Layout, *, raw: bool) -> Place:
    """The residual stream after ``index`` blocks; the last one before the final LayerNorm only if ``raw``."""
    n = len(layout.blocks)
    if index == 0:
        return Place("layer:0", 0, layout.blocks[0], before=True)
    if index == n and not raw:
        return Place(f"layer:{n}", n, layout.final)
    return Place(f"layer:{index}{'.raw' if index == n else ''}", index, layout.blocks[index - 1])


def _module(name: str, layout: Layout) -> Place:
    if name == layout.final:
        return residual(len(layout.blocks), layout, raw=False)
    for i, block in enumerate(layout.blocks):
        if name == block:
            return residual(i + 1, layout, raw=True)
        if name.startswith(f"{block}."):
            return Place(name, i + 1, name)
    return Place(name, None, name)


def _unknown(name: str, n: int, modules: Collection[str], subject: str) -> str:
    layers = [f"layer:{i}" for i in range(n + 1)] + [f"layer:{n}.raw"]
    parts = ("resid_pre", "resid_post", "attn_out", "mlp_out")
    lens = [f"blocks.{i}.hook_{part}" for i in range(n) for part in parts]
    near = difflib.get_close_matches(name, [*layers, *lens, *modules], n=5, cutoff=0.4)
    return (
        f"unknown hook {name!r} of {subject}; valid: layer:0 … layer:{n}, layer:{n}.raw (before the final norm), "
        f"blocks.0 … {n - 1} with .hook_{', .hook_'.join(parts)}, or a module path"
        + (f"; near: {', '.join(near)}" if near else "")
    )
