"""Control coders: what a trained coder has to beat. The subject's own coordinates, and random directions.

They are named, not stored: ``neurons[?k=K]`` and ``random?n_features=M[&k=K][&seed=S]``.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import parse_qsl

import torch

from autointerp.coders.coder import SparseCoder
from autointerp.errors import UsageError, nearest


def neurons(d_in: int, k: int | None = None) -> SparseCoder:
    """The coordinates of the states as features: feature i is ReLU(x_i), feature d_in + i is ReLU(−x_i).

    Parameters
    ----------
    k : keep the k coordinates of largest magnitude only, which are the k largest of these features.
    """
    eye = torch.eye(d_in)
    return _control(torch.cat([eye, -eye]), k, "neurons" if k is None else f"neurons?k={k}")


def random(d_in: int, n_features: int, k: int | None = None, seed: int = 0) -> SparseCoder:
    """An untrained coder: directions drawn evenly from the unit sphere, tied decoder, no bias; TopK if ``k`` is given.

    The inputs are scaled to length √d_in each, so that all tokens have the same chance to be active.
    """
    directions = torch.randn(n_features, d_in, generator=torch.Generator().manual_seed(seed))
    directions /= directions.norm(dim=1, keepdim=True)
    top = "" if k is None else f"&k={k}"
    return _control(directions, k, f"random?n_features={n_features}{top}&seed={seed}", input_norm="norm")


def _control(directions: torch.Tensor, k: int | None, name: str, input_norm: str = "none") -> SparseCoder:
    m, d = directions.shape
    return SparseCoder(
        "relu" if k is None else "topk",
        directions,
        torch.zeros(m),
        directions.clone(),
        torch.zeros(d),
        k=k,
        subtract_b_dec=False,
        input_norm=input_norm,
        metadata={"control": name},
    )


CONTROLS: dict[str, tuple[Callable[..., SparseCoder], frozenset[str], frozenset[str]]] = {
    "neurons": (neurons, frozenset(), frozenset({"k"})),
    "random": (random, frozenset({"n_features"}), frozenset({"n_features", "k", "seed"})),
}
"""Name to (function, options that must be given, options that are known)."""


def is_control(name: str) -> bool:
    """Whether ``name`` asks for a control and not for a folder."""
    return name.partition("?")[0] in CONTROLS


def make_control(name: str, d_in: int) -> SparseCoder:
    """The control coder called ``name`` for states of width ``d_in``.

    Raises
    ------
    UsageError : an option that is unknown, missing or not a whole number.
    """
    kind, _, query = name.partition("?")
    function, needed, known = CONTROLS[kind]
    options: dict[str, int] = {}
    for key, text in parse_qsl(query, keep_blank_values=True):
        if key not in known:
            raise UsageError(f"coder {name!r}: unknown option {key!r}; {nearest(key, known)}")
        if not text.isdecimal() or (key != "seed" and not int(text)):
            raise UsageError(f"coder {name!r}: {key} is {text!r}; a whole number is needed")
        options[key] = int(text)
    if absent := needed - options.keys():
        raise UsageError(f"coder {name!r}: give {', '.join(sorted(absent))}, e.g. random?n_features=4096&k=32")
    return function(d_in, **options)
