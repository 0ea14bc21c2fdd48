from __future__ import annotations

import errno
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autointerp.corpus import Corpus
from autointerp.errors import DiskFull, FormatError, UsageError

TEXTS = ["MKV", "ACDEFG", "naïve 🙂 text", "W"]


def table(texts: list[str] = TEXTS, **columns: list) -> pa.Table:
    n = len(texts)
    return pa.table({"id": [f"s{i}" for i in range(n)], "text": texts, "group": [7, 7, 0, 3][:n], **columns})


def regions(*rows: tuple) -> pa.Table:
    names = ["sequence", "start", "end", "type", "label", "instance"]
    return pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows])


def write(path: Path, sequences: pa.Table | None = None, annotations: pa.Table | None = None) -> Corpus:
    sequences = table(organism=["a", None, "b", "c"], n=[1, 2, 3, 4]) if sequences is None else sequences
    return Corpus.write(path, sequences, annotations, kind="text", source={"name": "x"}, grouping={"by": "none"})


def test_what_is_written_is_read(tmp_path: Path) -> None:
    row = (1, 0, 6, "Domain", "SH3", 0)
    write(tmp_path / "c", annotations=regions(row))
    corpus = Corpus.open(tmp_path / "c")
    assert len(corpus) == 4
    assert [s.text for s in corpus] == TEXTS
    assert corpus.texts(np.array([2, 0])) == [TEXTS[2], TEXTS[0]]
    assert corpus.ids == ["s0", "s1", "s2", "s3"]
    assert corpus.lengths.tolist() == [len(t) for t in TEXTS]
    assert (corpus.groups.tolist(), corpus.groups.dtype) == ([7, 7, 0, 3], np.int64)
    assert corpus.metadata(1) == {"organism": None, "n": 2} == dict(corpus[1].metadata)
    assert corpus.metadata_columns == ("organism", "n")
    assert corpus.column("organism").to_pylist() == ["a", None, "b", "c"]
    assert tuple(corpus.annotations.to_pylist()[0].values()) == row
    assert (corpus[-1].id, corpus[-1].group, corpus[-1].length, corpus.kind) == ("s3", 3, 1, "text")
    with pytest.raises(IndexError):
        corpus.text(4)
    with pytest.raises(UsageError, match=r"no metadata column 'genus'.*organism, n"):
        corpus.column("genus")


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=4))
def test_any_text_survives(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    corpus = write(tmp_path_factory.mktemp("any"), table(texts))
    assert corpus.texts(range(len(texts))) == texts
    assert corpus.lengths.tolist() == [len(t) for t in texts]


def test_a_slice_of_a_table_is_written_as_it_reads(tmp_path: Path) -> None:
    whole = table()
    chunked = pa.concat_tables([whole.slice(1, 1), whole.slice(2, 2)])
    corpus, same = write(tmp_path / "a", whole.slice(1)), write(tmp_path / "b", chunked)
    assert corpus.texts(range(3)) == TEXTS[1:] == same.texts(range(3))
    assert corpus.digest == same.digest
    assert Corpus.open(tmp_path / "a").texts(range(3)) == TEXTS[1:]


def test_same_tables_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / name, annotations=regions((0, 0, 1, "Site", "any", 0)))
    for file in ("corpus.json", "sequences.parquet", "annotations.parquet"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_digest_covers_ids_texts_and_groups(tmp_path: Path) -> None:
    base = table()
    variants = [
        base.set_column(0, "id", [["s0", "s1", "s2", "other"]]),
        base.set_column(1, "text", [["MK", "VACDEFG", *TEXTS[2:]]]),  # the same letters, cut elsewhere
        base.set_column(2, "group", [[7, 7, 0, 4]]),
    ]
    digests = {write(tmp_path / str(i), t).digest for i, t in enumerate([base, *variants])}
    assert len(digests) == 4
    assert write(tmp_path / "m", base.append_column("note", [["x"] * 4])).digest in digests


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (regions((4, 0, 1, "Site", "any", 0)), "annotation 0"),
        (regions((0, 0, 3, "Site", "any", 0), (0, 1, 4, "Site", "any", 1)), "annotation 1 .1–4. lies outside"),
        (regions((0, 2, 2, "Site", "any", 0)), "annotation 0"),
        (regions((-1, 0, 1, "Site", "any", 0)), "annotation 0"),
        (regions((0, 0, 1, "Site", "any", 0)).drop_columns("label"), "no column 'label'"),
    ],
)
def test_wrong_annotations_are_refused(tmp_path: Path, bad: pa.Table, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        write(tmp_path, annotations=bad)
    assert not (tmp_path / "corpus.json").exists()


def test_wrong_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no column 'group'"):
        write(tmp_path, table().drop_columns("group"))
    with pytest.raises(UsageError, match="at least one sequence"):
        write(tmp_path, table().slice(0, 0))
    with pytest.raises(UsageError, match="without a value in column 'text'"):
        write(tmp_path, table().set_column(1, "text", [["a", None, "b", "c"]]))
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        write(tmp_path / "file")


def test_what_is_no_corpus_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="autointerp-corpus version 1; found no such file"):
        Corpus.open(tmp_path)
    write(tmp_path)
    manifest = json.loads((tmp_path / "corpus.json").read_text())
    (tmp_path / "corpus.json").write_text(json.dumps(manifest | {"version": 2}))
    with pytest.raises(FormatError, match="version 2"):
        Corpus.open(tmp_path)
    (tmp_path / "corpus.json").write_text(json.dumps(manifest | {"n_sequences": 5}))
    with pytest.raises(FormatError, match=r"5 sequences, as corpus\.json says; found 4"):
        Corpus.open(tmp_path)


def test_damaged_tables_are_refused(tmp_path: Path) -> None:
    write(tmp_path)
    file = tmp_path / "sequences.parquet"
    whole = pq.read_table(file)
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(FormatError, match=r"sequences\.parquet"):
        Corpus.open(tmp_path)
    pq.write_table(whole.drop_columns("group"), file)
    with pytest.raises(FormatError, match="no column 'group'"):
        Corpus.open(tmp_path)
    file.unlink()
    with pytest.raises(FormatError, match="no such file"):
        Corpus.open(tmp_path)


def test_a_full_disk_keeps_the_old_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = write(tmp_path).digest
    whole = pq.write_table

    def full(data: pa.Table, path: Path, **options: object) -> None:
        if "annotations" in str(path):
            raise OSError(errno.ENOSPC, "No space left on device")
        whole(data, path, **options)

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(DiskFull):
        write(tmp_path, table(TEXTS[:2]))
    assert Corpus.open(tmp_path).digest == digest
    assert sorted(p.name for p in tmp_path.iterdir()) == ["annotations.parquet", "corpus.json", "sequences.parquet"]


def test_interrupted_before_the_manifest_is_no_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("autointerp.corpus.corpus.write_json", stop)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, table(TEXTS[:2]))
    with pytest.raises(FormatError, match=r"corpus\.json"):
        Corpus.open(tmp_path)
