"""Which format a folder holds: detection by file names, then the format's own reader."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from autointerp.coders import dictionary_learning, own, saelens, sparsify
from autointerp.coders.coder import SparseCoder
from autointerp.errors import FormatError, UsageError

FORMATS: tuple[tuple[str, tuple[str, ...], Callable[[Path], SparseCoder]], ...] = (
    ("autointerp", (own.MANIFEST, saelens.CONFIG, saelens.WEIGHTS), own.read),
    ("sparsify", (sparsify.CONFIG, sparsify.WEIGHTS), sparsify.read),
    ("SAELens", (saelens.CONFIG, saelens.WEIGHTS), saelens.read),
    ("dictionary_learning", (dictionary_learning.CONFIG, dictionary_learning.WEIGHTS), dictionary_learning.read),
)


def read_coder(folder: Path) -> SparseCoder:
    """The coder in ``folder``, in float32 on the CPU; the first format whose files are all there is taken."""
    for _, files, read in FORMATS:
        if all((folder / name).is_file() for name in files):
            try:
                return read(folder)
            except UsageError as error:  # sizes that contradict each other
                raise FormatError(folder, "a consistent coder", str(error)) from None
    wanted = "; ".join(f"{name}: {' + '.join(files)}" for name, files, _ in FORMATS)
    raise FormatError(folder, f"a coder folder ({wanted})", _content(folder))


def _content(folder: Path) -> str:
    if not folder.exists():
        return "no such folder"
    if not folder.is_dir():
        return "a file; give the folder it lies in"
    names = sorted(p.name + "/" * p.is_dir() for p in folder.iterdir())
    return (", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")) or "an empty folder"
