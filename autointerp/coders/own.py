"""Our own format: a SAELens 6 folder that peers can read, with ``coder.json``, the manifest of how it came to be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from autointerp.coders import saelens
from autointerp.coders.coder import SparseCoder
from autointerp.errors import FormatError
from autointerp.files import read_json, write_json

MANIFEST, FORMAT, VERSION = "coder.json", "autointerp-coder", 1


def save_coder(coder: SparseCoder, folder: str | Path) -> None:
    """Write ``coder`` and its metadata to ``folder``; the manifest comes last and makes it complete.

    Raises
    ------
    UsageError : SAELens has no such architecture.
    """
    folder = Path(folder)
    saelens.write(coder, folder)
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "architecture": coder.architecture,
        "digest": coder.digest,
        "d_in": coder.d_in,
        "d_out": coder.d_out,
        "n_features": coder.n_features,
        "k": coder.k,
        "metadata": {name: value for name, value in coder.metadata.items() if name != "format"},
    }
    write_json(folder / MANIFEST, manifest)


def read(folder: Path) -> SparseCoder:
    """Read a coder and its metadata.

    Raises
    ------
    FormatError : another version, or tensors that are not those of the manifest.
    """
    manifest = read_json(folder / MANIFEST, FORMAT, VERSION)
    metadata = {"format": FORMAT, **manifest["metadata"]}
    coder = replace(saelens.read(folder), architecture=manifest["architecture"], metadata=metadata)
    if coder.digest != manifest["digest"]:
        raise FormatError(folder, f"tensors with digest {manifest['digest']}", coder.digest)
    return coder
