"""Files that are whole or absent: atomic writes, JSON manifests with format and version, digests, mapped tensors."""

from __future__ import annotations

import hashlib
import json
import math
import mmap
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from autointerp.errors import FormatError, disk_errors

DTYPES = {
    "U8": np.uint8, "U16": np.uint16, "U32": np.uint32, "U64": np.uint64, "I8": np.int8, "I16": np.int16,
    "I32": np.int32, "I64": np.int64, "F16": np.float16, "F32": np.float32, "F64": np.float64, "BOOL": np.bool_,
}  # fmt: skip


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; when the block succeeds, flush it to disk and rename it.

    Raises
    ------
    DiskFull : no space left; nothing is left behind and an older file at ``path`` stays as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with disk_errors(f"writing {path.name}", path.parent):
            yield temporary
            with open(temporary, "rb+") as handle:
                os.fsync(handle.fileno())
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_temporaries(folder: Path, name: str = "*") -> None:
    """Remove what a process that was killed inside :func:`atomic` left in ``folder``, for files of that name."""
    for path in folder.glob(f".{name}.{'[0-9a-f]' * 8}.tmp"):
        path.unlink()


@contextmanager
def atomic_open(path: str | Path) -> Iterator[BinaryIO]:
    """:func:`atomic`, opened for writing bytes."""
    with atomic(path) as temporary, open(temporary, "wb") as handle:
        yield handle


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` as UTF-8, atomically."""
    with atomic_open(path) as handle:
        handle.write(text.encode())


def write_json(path: str | Path, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically; the bytes depend on the value alone."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def read_json(path: str | Path, format: str | None = None, version: int | None = None) -> dict[str, Any]:
    """Read a JSON object and, if ``format`` is given, refuse another format or a newer version.

    Raises
    ------
    FormatError : not there, not JSON, or not the expected format and version.
    """
    path = Path(path)
    expected = f"{format} version {version}" if format else "a JSON object"
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise FormatError(path, expected, "no such file") from None
    except (ValueError, UnicodeDecodeError) as error:
        raise FormatError(path, expected, f"text that is not JSON ({error})") from None
    if not isinstance(value, dict):
        raise FormatError(path, expected, f"a JSON {type(value).__name__}")
    if format and (value.get("format") != format or value.get("version") != version):
        raise FormatError(path, expected, f"format {value.get('format')!r} version {value.get('version')!r}")
    return value


def digest_file(path: str | Path) -> str:
    """SHA-256 of a file's bytes, as 64 hex digits: what ``sha256sum`` prints, and fast where CPUs have it built in."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def digest_json(value: Any) -> str:
    """BLAKE2b-128 of the canonical JSON of ``value``, as 32 hex digits."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


class TensorFile:
    """A safetensors file read slice by slice, so that reading it never makes more than the slice resident.

    Raises
    ------
    FormatError : missing, truncated, or not a safetensors file of numeric arrays.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.entries: dict[str, tuple[np.dtype, tuple[int, ...], int]] = {}
        try:
            header = self._header()
            self.metadata: dict[str, str] = dict(header.pop("__metadata__", {}))
            for name, entry in header.items():
                self.entries[name] = self._entry(name, **entry)
        except FileNotFoundError:
            raise FormatError(path, "a safetensors file", "no such file") from None
        except (ValueError, TypeError, AttributeError) as error:  # of a header that is no JSON, or other JSON
            raise FormatError(path, "a safetensors file", f"a header that describes no tensors ({error})") from None

    def _header(self) -> dict[str, Any]:
        with open(self.path, "rb") as handle:
            self._size = os.fstat(handle.fileno()).st_size
            length = int.from_bytes(handle.read(8), "little")
            if not 2 <= length <= self._size - 8:
                found = f"{self._size:,} bytes, header of {length:,} (truncated?)"
                raise FormatError(self.path, "a safetensors file", found)
            self._data = 8 + length
            return json.loads(handle.read(length))

    def _entry(
        self, name: str, dtype: str, shape: list[int], data_offsets: list[int]
    ) -> tuple[np.dtype, tuple[int, ...], int]:
        if dtype not in DTYPES:
            raise FormatError(self.path, "numeric tensors", f"{name} of type {dtype}")
        begin, end = data_offsets
        if not all(type(n) is int and n >= 0 for n in [begin, *shape]):
            raise ValueError(f"{name}: shape {shape} at {begin}")
        kind = np.dtype(DTYPES[dtype])
        if end - begin != math.prod(shape) * kind.itemsize:
            raise ValueError(f"{name}: shape {shape} in {end - begin} bytes")
        if self._data + end > self._size:
            raise FormatError(self.path, f"{self._data + end:,} bytes", f"{self._size:,} bytes: the file is truncated")
        return kind, tuple(shape), self._data + begin

    def __contains__(self, name: str) -> bool:
        return name in self.entries

    def size(self, name: str) -> int:
        """Length of the first axis of ``name``."""
        return self.entries[name][1][0]

    def read(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Rows ``start:stop`` of a one-dimensional tensor, copied into memory."""
        dtype, shape, begin = self.entries[name]
        stop = shape[0] if stop is None else stop
        return np.fromfile(self.path, dtype, stop - start, offset=begin + start * dtype.itemsize)

    def map(self) -> dict[str, np.ndarray]:
        """All tensors as read-only views of one memory map; nothing is read until it is touched."""
        with open(self.path, "rb") as handle:
            buffer = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)
        return {
            name: np.frombuffer(buffer, dtype, math.prod(shape), begin).reshape(shape)
            for name, (dtype, shape, begin) in self.entries.items()
        }


def map_tensors(path: str | Path) -> dict[str, np.ndarray]:
    """Memory-map a safetensors file; see :class:`TensorFile`."""
    return TensorFile(path).map()


def write_tensors(
    path: str | Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None
) -> str:
    """Write arrays (and ``metadata`` into the header) as safetensors, atomically; return the file's digest."""
    pieces = {name: (array.dtype, array.shape, [array]) for name, array in tensors.items()}
    return write_tensor_stream(path, pieces, metadata)


def write_tensor_stream(
    path: str | Path,
    tensors: Mapping[str, tuple[np.dtype, tuple[int, ...], Iterable[np.ndarray]]],
    metadata: Mapping[str, str] | None = None,
) -> str:
    """Write tensors piece by piece as safetensors, atomically; return the file's digest.

    Written here rather than by the safetensors library so that no tensor must be whole in memory, a full disk is an
    ``OSError``, and the file gets the permissions that the user's umask asks for.

    Parameters
    ----------
    tensors : name to (dtype, shape, pieces); joined, the pieces fill the shape.
    """
    names = {np.dtype(kind): name for name, kind in DTYPES.items()}
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    # wider types first, as the library does, so that every tensor is aligned
    for name, (dtype, shape, _) in sorted(tensors.items(), key=lambda item: (-np.dtype(item[1][0]).itemsize, item[0])):
        begin, end = end, end + math.prod(shape) * np.dtype(dtype).itemsize
        header[name] = {"dtype": names[np.dtype(dtype)], "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with atomic(path) as temporary:
        digest = hashlib.sha256()  # as digest_file, without reading everything again
        with open(temporary, "wb") as handle:
            for part in (len(text).to_bytes(8, "little"), text):
                digest.update(part)
                handle.write(part)
            for name in [n for n in header if n in tensors]:
                dtype, shape, pieces = tensors[name]
                written = 0
                for piece in pieces:
                    data = np.ascontiguousarray(piece, dtype)
                    digest.update(data.data)
                    handle.write(data.data)
                    written += data.size
                assert written == math.prod(shape), f"{name}: {written} of {math.prod(shape)} values"
        return digest.hexdigest()
