"""Sparse coders: encode, decode, and every checkpoint format behind one call. Importing this imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from autointerp.errors import UsageError, missing

if TYPE_CHECKING:
    from autointerp.coders.coder import SparseCoder
    from autointerp.coders.codes import Codes
    from autointerp.coders.own import save_coder

__all__ = ["Codes", "SparseCoder", "load_coder", "save_coder"]

_HOMES = {"Codes": "codes", "SparseCoder": "coder", "save_coder": "own"}


def load_coder(
    path: str | Path, *, device: str = "cpu", dtype: str = "float32", d_in: int | None = None
) -> SparseCoder:
    """Read a sparse coder from a folder: ours, SAELens (6 and later), sparsify or dictionary_learning.

    Parameters
    ----------
    path : the folder, or a control that needs none: ``neurons[?k=K]`` (the coordinates themselves) or
        ``random?n_features=M[&k=K][&seed=S]`` (an untrained coder).
    d_in : width of the states, for a control.
    dtype : ``float32``, ``float16``, ``bfloat16`` or ``float64``; the digest is always that of the float32 tensors.

    Raises
    ------
    FormatError : no known format, or a file that contradicts its configuration; says what was looked for and found.
    UsageError : an unknown ``dtype``, or a control without ``d_in`` or with options that do not fit.
    """
    with missing("reading a sparse coder", "torch"):
        from autointerp.coders import controls
        from autointerp.coders.formats import read_coder
    if controls.is_control(str(path)) and not Path(path).is_dir():
        if d_in is None:
            raise UsageError(f"coder {path}: a control needs d_in, the width of the states it reads")
        return controls.make_control(str(path), d_in).to(device, dtype)
    return read_coder(Path(path)).to(device, dtype)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    with missing("sparse coders", "torch"):
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
