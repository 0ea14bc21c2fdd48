"""Files are whole or absent; tensors are what the safetensors library says; damage is named."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from autointerp.errors import DiskFull, FormatError
from autointerp.files import (
    DTYPES,
    TensorFile,
    atomic,
    atomic_open,
    digest_file,
    digest_json,
    map_tensors,
    read_json,
    remove_temporaries,
    write_json,
    write_tensor_stream,
    write_tensors,
    write_text,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for property tests, which overwrite what they wrote."""
    return tmp_path_factory.mktemp("files")


def names(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()}


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), OSError(errno.EIO, "x"), SystemExit(1)])
def test_an_error_leaves_the_older_file_and_nothing_else(tmp_path: Path, error: BaseException) -> None:
    write_text(tmp_path / "a", "old")
    with pytest.raises(type(error)), atomic_open(tmp_path / "a") as handle:  # noqa: PT012 - the block is under test
        handle.write(b"new")
        raise error
    assert names(tmp_path) == {"a"}
    assert (tmp_path / "a").read_text() == "old"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_older_file(
    tmp_path: Path, code: int, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise OSError(code, "full")

    write_text(tmp_path / "a", "old")
    monkeypatch.setattr(os, call, fail)
    with pytest.raises(DiskFull, match="disk full while writing a in"):
        write_text(tmp_path / "a", "new")
    assert names(tmp_path) == {"a"}
    assert (tmp_path / "a").read_text() == "old"


def test_another_os_error_is_itself(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), atomic(tmp_path / "a"):
        raise PermissionError(errno.EACCES, "no")


def test_a_file_is_flushed_before_it_is_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or a power cut may leave a name without content."""
    calls: list[str] = []
    for name in ("fsync", "replace"):
        original = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, o=original, n=name: calls.append(n) or o(*a))
    write_text(tmp_path / "new" / "folder" / "a", "ü\n")
    assert calls == ["fsync", "replace"]
    assert (tmp_path / "new" / "folder" / "a").read_bytes() == "ü\n".encode()


def test_files_get_the_permissions_of_the_umask(tmp_path: Path) -> None:
    script = (
        "import os,sys; os.umask(0o027); from autointerp.files import *; import numpy as np; from pathlib import Path; "
    )
    script += "p = Path(sys.argv[1]); write_text(p / 'a', ''); write_tensors(p / 'b', {'x': np.arange(3)})"
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)
    assert [oct((tmp_path / n).stat().st_mode & 0o777) for n in "ab"] == ["0o640", "0o640"]


def test_only_temporaries_of_ours_are_removed(tmp_path: Path) -> None:
    keep = {"a.tmp", ".a.tmp", ".a.12345.tmp", ".a.1234567x.tmp", ".b.01234567.tmp.txt"}
    for name in keep | {".a.01234567.tmp", ".b.json.89abcdef.tmp"}:
        (tmp_path / name).touch()
    remove_temporaries(tmp_path, "a")
    assert names(tmp_path) == keep | {".b.json.89abcdef.tmp"}
    remove_temporaries(tmp_path)
    assert names(tmp_path) == keep
    remove_temporaries(tmp_path / "absent")


def test_json_bytes_follow_from_the_value(tmp_path: Path) -> None:
    value = {"format": "f", "version": 1, "b": ["ü", 1.5, None]}
    write_json(tmp_path / "a", value)
    write_json(tmp_path / "b", value)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert read_json(tmp_path / "a") == read_json(tmp_path / "a", "f", 1) == value
    assert digest_json({"a": 1, "b": 2}) == digest_json({"b": 2, "a": 1}) != digest_json({"a": 1, "b": 3})


@pytest.mark.parametrize(
    ("content", "found"),
    [(None, "no such file"), (b"{", "not JSON"), (b"\xff\xfe", "not JSON"), (b"[1]", "a JSON list"),
     (b'{"format": "g", "version": 1}', "format 'g' version 1"), (b'{"format": "f", "version": 2}', "version 2"),
     (b"{}", "format None")],
)  # fmt: skip
def test_json_that_is_not_ours(tmp_path: Path, content: bytes | None, found: str) -> None:
    if content is not None:
        (tmp_path / "a").write_bytes(content)
    with pytest.raises(FormatError, match=found) as caught:
        read_json(tmp_path / "a", "f", 1)
    assert str(tmp_path / "a") in str(caught.value)


def test_digest_is_sha256(tmp_path: Path) -> None:
    content = os.urandom(1_000_000)
    (tmp_path / "a").write_bytes(content)
    assert digest_file(tmp_path / "a") == hashlib.sha256(content).hexdigest()


arrays = st.dictionaries(
    st.text(st.characters(codec="utf-8", categories=("L", "N", "P")), min_size=1, max_size=8).filter(
        lambda n: n != "__metadata__"
    ),
    st.tuples(st.sampled_from(sorted(DTYPES)), st.lists(st.integers(0, 5), min_size=1, max_size=3)),
    max_size=5,
)


@given(arrays, st.integers(0, 2**32))
def test_written_tensors_are_safetensors(folder: Path, shapes: dict, seed: int) -> None:
    """The library reads what we wrote, we read what the library wrote, and a map shows the same, aligned."""
    rng = np.random.default_rng(seed)
    tensors = {n: rng.integers(0, 2, s).astype(DTYPES[d]) for n, (d, s) in shapes.items()}
    digest = write_tensors(folder / "ours", tensors, {"made by": "us"})
    assert digest == digest_file(folder / "ours")
    save_file(tensors, folder / "theirs")
    with safe_open(folder / "ours", "np") as file:
        assert file.metadata() == {"made by": "us"}
    for read in (load_file(folder / "ours"), map_tensors(folder / "ours"), map_tensors(folder / "theirs")):
        assert read.keys() == tensors.keys()
        for name, array in tensors.items():
            assert (read[name].dtype, read[name].shape) == (array.dtype, array.shape)
            np.testing.assert_array_equal(read[name], array)
    mapped = map_tensors(folder / "ours").values()
    assert all(a.flags.aligned and not a.flags.writeable for a in mapped)


def test_a_stream_is_written_piece_by_piece(tmp_path: Path) -> None:
    """A million numbers from a generator, never more than a piece in memory."""
    pieces = (np.full(10_000, i, np.int64) for i in range(100))
    tracemalloc.start()
    digest = write_tensor_stream(tmp_path / "a", {
        "x": (np.dtype(np.uint8), (3,), [np.array([1, 2]), np.array([], np.int64), np.array([3])]),
        "long": (np.dtype(np.float32), (1_000_000,), pieces),
    })  # fmt: skip
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()
    assert digest == digest_file(tmp_path / "a")
    read = load_file(tmp_path / "a")
    np.testing.assert_array_equal(read["long"], np.repeat(np.arange(100, dtype=np.float32), 10_000))
    np.testing.assert_array_equal(read["x"], np.array([1, 2, 3], np.uint8))
    with pytest.raises(AssertionError, match="x: 2 of 3"):
        write_tensor_stream(tmp_path / "b", {"x": (np.dtype(np.uint8), (3,), [np.array([1, 2])])})
    assert names(tmp_path) == {"a"}


@given(st.lists(st.integers(0, 255), max_size=30), st.data())
def test_read_gives_a_slice(folder: Path, values: list[int], data: st.DataObject) -> None:
    tensors = {"a": np.arange(7.0), "b": np.array(values, np.uint16), "c": np.arange(5, dtype=np.uint8)}
    save_file(tensors, folder / "f")
    file = TensorFile(folder / "f")
    start = data.draw(st.integers(0, len(values)))
    stop = data.draw(st.integers(start, len(values)))
    assert file.size("b") == len(values)
    assert ("b" in file, "d" in file) == (True, False)
    assert file.read("b", start, stop).tolist() == values[start:stop]
    assert file.read("b", start).tolist() == values[start:]
    assert file.read("c").tolist() == list(range(5))


def header(entries: object, data: bytes = b"\0" * 8) -> bytes:
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text + data


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    "content",
    [
        b"", b"short", b"\xff" * 8, b"\xff" * 100, bytes(8), (100).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]", (4).to_bytes(8, "little") + b"null", (2).to_bytes(8, "little") + b"\xff\xff",
        header({"x": 1}), header({"x": {}}), header({"x": {**ENTRY, "shape": [3]}}),
        header({"x": {**ENTRY, "shape": 2}}),
        header({"x": {**ENTRY, "dtype": "BF16"}}), header({"x": {**ENTRY, "dtype": ["F32"]}}),
        header({"x": ENTRY}, b"\0" * 7), header({"x": {**ENTRY, "data_offsets": [-4, 4]}}),
        header({"x": {**ENTRY, "data_offsets": [0]}}), header({"x": {**ENTRY, "data_offsets": [8, 0]}}),
        header({"x": {**ENTRY, "shape": [-2]}}),
    ],
)  # fmt: skip
def test_garbage_is_a_format_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "f").write_bytes(content)
    with pytest.raises(FormatError) as caught:
        TensorFile(tmp_path / "f")
    assert str(tmp_path / "f") in str(caught.value)


def test_a_missing_tensor_file(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no such file"):
        map_tensors(tmp_path / "f")


@given(st.data())
def test_any_truncation_or_flipped_header_byte_is_a_format_error_or_reads(folder: Path, data: st.DataObject) -> None:
    """Whatever happens to a header, no other exception and no read beyond the file."""
    path = folder / "f"
    save_file({"a": np.arange(4.0), "bb": np.arange(3, dtype=np.uint8)}, path)
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
        path.write_bytes(content)
        with pytest.raises(FormatError):
            TensorFile(path)
    else:
        content[data.draw(st.integers(0, len(content) - 36))] ^= data.draw(st.integers(1, 255))
        path.write_bytes(content)
        try:
            map_tensors(path)
        except FormatError:
            return
