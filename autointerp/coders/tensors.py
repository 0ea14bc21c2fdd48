"""The tensors of a checkpoint, taken one by one, so that nothing missing, misshapen or left over goes unnoticed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from autointerp.errors import FormatError


class Tensors:
    """Tensors of one checkpoint file; :meth:`take` each that is known, then :meth:`done`.

    Raises
    ------
    FormatError : from every method, naming the file, what was expected and what was found.
    """

    def __init__(self, path: Path, tensors: Mapping[str, Any]) -> None:
        self.path = path
        self._left = {name: t for name, t in tensors.items() if isinstance(t, Tensor)}

    @classmethod
    def safe(cls, path: Path) -> Tensors:
        """The tensors of a safetensors file."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return cls(path, load_file(path))
        except SafetensorError as error:
            raise FormatError(path, "a safetensors file", f"a damaged one ({error})") from None

    def __contains__(self, name: str) -> bool:
        return name in self._left

    def take(self, name: str) -> Tensor:
        """The tensor called ``name``, as float32."""
        if name not in self._left:
            raise FormatError(self.path, f"a tensor {name!r}", ", ".join(sorted(self._left)) or "none left")
        return self._left.pop(name).detach().float()

    def matrix(self, name: str, rows: int | None, columns: int | None) -> Tensor:
        """The matrix called ``name`` as (rows, columns), turned if it is stored the other way; None is any size."""
        matrix = self.take(name)
        want = (rows, columns)
        for candidate in (matrix, matrix.T):
            if matrix.ndim == 2 and all(w in (None, n) for w, n in zip(want, candidate.shape, strict=True)):
                return candidate
        raise FormatError(self.path, f"{name} of {rows or 'any'} × {columns or 'any'}", f"{tuple(matrix.shape)}")

    def drop(self, *names: str) -> None:
        """Ignore tensors that do not change the codes."""
        for name in names:
            self._left.pop(name, None)

    def done(self) -> None:
        """Refuse tensors that nobody took: they belong to an architecture that would be read wrongly."""
        if self._left:
            raise FormatError(self.path, "no further tensors", ", ".join(sorted(self._left)))


def setting(path: Path, config: Mapping[str, Any], name: str, valid: Mapping[Any, Any]) -> Any:
    """``valid[config[name]]``, or an error that lists the valid values."""
    if config.get(name) not in valid:
        raise FormatError(path, f"{name} among {', '.join(map(str, valid))}", f"{config.get(name)!r}")
    return valid[config[name]]
