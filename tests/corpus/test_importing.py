from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from autointerp.corpus import Corpus, Filters, Source, import_corpus
from autointerp.corpus.importing import detect_format
from autointerp.errors import FormatError, UsageError

TSV = (
    "Entry\tOrganism\tProtein families\tLength\tSequence\tDisulfide bond\tHelix\n"
    "A\tHomo sapiens (Human)\tkinase\t9\tMKVCAWYTC\tDISULFID 4..9\tHELIX 2..3; HELIX <5..7\n"
    "B\tMus musculus (Mouse)\tkinase\t4\tMKVM\t\t\n"
    "C\tHomo sapiens (Human)\t\t9\tMKVCAWYTC\tDISULFID 4..9\t\n"
    "D\tHomo sapiens (Human)\t\t5\tMK-VA\t\tHELIX ?..3\n"
    "E\tHomo sapiens (Human)\t\t5\tGGHHP\t\tHELIX 1..2\n"
)


@pytest.fixture
def tsv(tmp_path: Path) -> Path:
    path = tmp_path / "small.tsv.gz"
    path.write_bytes(gzip.compress(TSV.encode(), mtime=0))
    return path


def jsonl(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_table_becomes_a_corpus(tsv: Path, tmp_path: Path) -> None:
    corpus, tally = (made := import_corpus(tsv, tmp_path / "out", group_by="protein_families")).corpus, made.tally
    assert corpus.ids == ["A", "B", "E"]
    assert corpus.groups.tolist() == [0, 0, 1]
    assert corpus.kind == "protein"
    rows = [(r["sequence"], r["start"], r["end"], r["type"], r["instance"]) for r in corpus.annotations.to_pylist()]
    assert rows == [
        (0, 3, 4, "Disulfide bond", 0), (0, 8, 9, "Disulfide bond", 0), (0, 1, 3, "Helix", 1), (2, 0, 2, "Helix", 2),
    ]  # fmt: skip
    assert (tally.read, dict(tally.skipped)) == (5, {"duplicate of an earlier sequence": 1, "illegal letters": 1})
    assert tally.annotations == {"fuzzy position (< or >)": 1}  # of kept sequences only
    source = corpus.manifest["source"]
    assert (source["name"], source["skipped"]["illegal letters"]) == ("small.tsv.gz", 1)
    assert corpus.manifest["grouping"] == {"by": "protein_families"}


def test_same_input_same_bytes(tsv: Path, tmp_path: Path, no_mmseqs: Path) -> None:
    for name in ("a", "b"):
        import_corpus(tsv, tmp_path / name, filters=Filters(sample=2, seed=4))
    for file in ("corpus.json", "sequences.parquet", "annotations.parquet"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    assert str(tmp_path) not in (tmp_path / "a" / "corpus.json").read_text()


def test_columns_of_several_types_and_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autointerp.corpus.tables._CHUNK", 2)
    rows = [
        {"text": "a", "n": 1, "mixed": 1, "late": None}, {"text": "b", "n": 2, "mixed": "x"},
        {"text": "c", "n": 2.5, "mixed": 3, "late": "z"}, {"text": "d", "n": None, "flag": True}, {"text": "e"},
    ]  # fmt: skip
    corpus = import_corpus(jsonl(tmp_path / "a.jsonl", rows), tmp_path / "out").corpus
    columns = {name: corpus.column(name).to_pylist() for name in corpus.metadata_columns}
    assert columns == {
        "n": [1.0, 2.0, 2.5, None, None],
        "mixed": ["1", "x", "3", None, None],
        "late": [None, None, "z", None, None],
        "flag": [None, None, None, True, None],
    }
    assert corpus.groups.tolist() == [0, 1, 2, 3, 4]
    assert corpus.kind == "text"


def test_exclude_takes_homologues_along(tmp_path: Path, no_mmseqs: Path) -> None:
    rng = np.random.default_rng(0)
    old = ["".join(rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), 120)) for _ in range(4)]
    cousin = "".join(c if rng.random() < 0.8 else "A" for c in old[0])
    new = [old[1], cousin, "".join(rng.permutation(list(old[2]))), "".join(rng.permutation(list(old[3])))]
    seen = import_corpus(
        jsonl(tmp_path / "old.jsonl", [{"text": t} for t in old]), tmp_path / "old", kind="protein", group_by="none"
    ).corpus
    path = tmp_path / "new.tsv"
    lines = [f"{i}\t{t}\tHELIX {i + 1}..{i + 2}\n" for i, t in enumerate(new)]
    path.write_text("Entry\tSequence\tHelix\n" + "".join(lines))
    made = import_corpus(path, tmp_path / "out", exclude=seen)
    assert made.corpus.texts(range(2)) == new[2:]
    assert dict(made.tally.skipped) == {"excluded": 1, "homologue of an excluded sequence": 1}
    assert made.corpus.groups.tolist() == [0, 1]
    assert [(r["sequence"], r["start"]) for r in made.corpus.annotations.to_pylist()] == [(0, 2), (1, 3)]
    assert made.corpus.manifest["source"]["exclude"] == seen.digest
    only_exact = import_corpus(path, tmp_path / "exact", exclude=seen, group_by="none")
    assert len(only_exact.corpus) == 3


def test_near_duplicates_share_a_group_and_are_excluded_together(tmp_path: Path) -> None:
    story = "Once upon a time there was a small dog who lived by the sea and loved to swim with his friend the crab. "
    texts = [f"{story * 3}The end.", f"{story * 3}The crab was happy.", "One day it rained, so Tom stayed at home."]
    path = jsonl(tmp_path / "a.jsonl", [{"text": t} for t in texts])
    corpus = import_corpus(path, tmp_path / "out").corpus
    assert corpus.groups.tolist() == [0, 0, 1]
    assert corpus.manifest["grouping"]["by"] == "near-duplicates"
    assert import_corpus(path, tmp_path / "none", group_by="none").corpus.groups.tolist() == [0, 1, 2]
    seen = import_corpus(jsonl(tmp_path / "old.jsonl", [{"text": texts[0]}]), tmp_path / "old").corpus
    made = import_corpus(path, tmp_path / "new", exclude=seen)
    assert made.corpus.texts(range(1)) == texts[2:]
    assert dict(made.tally.skipped) == {"excluded": 1, "near-duplicate of an excluded text": 1}


def test_nothing_left_says_why(tsv: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"none of 5 sequences is left \(4 another organism, 1 no organism|5 another org"
    ):
        import_corpus(tsv, tmp_path / "out", filters=Filters(organism="Rattus"))
    assert not (tmp_path / "out").exists()
    for name in ("a.fasta", "a.jsonl", "a.txt", "a.tsv"):
        (tmp_path / name).write_text("")
        with pytest.raises(FormatError, match="empty"):
            import_corpus(tmp_path / name, tmp_path / "out")


def test_wrong_settings(tsv: Path, tmp_path: Path) -> None:
    text = tmp_path / "a.txt"
    text.write_text("one\n\ntwo")
    for source, options, message in [
        (tsv, {"group_by": "protein_family"}, "did you mean 'protein_families'"),
        (text, {"group_by": "identity"}, "identity is not for text; give near-duplicates, none or"),
        (tsv, {"group_by": "near-duplicates"}, "near-duplicates is not for protein; give identity"),
        (text, {"kind": "music"}, "valid: protein, text"),
        (Source(str(text), format="docx"), {}, "valid: tsv, fasta, jsonl, txt, hf"),
    ]:
        with pytest.raises(UsageError, match=message):
            import_corpus(source, tmp_path / "out", **options)


def test_formats_are_detected(tmp_path: Path) -> None:
    assert [detect_format(n) for n in ("x.tsv.gz", "x.FAA", "x.jsonl", "x.v2.txt.gz", "hf:org/repo")] == [
        "tsv", "fasta", "jsonl", "txt", "hf",
    ]  # fmt: skip
    for content, format_ in [(">a\nMK", "fasta"), ('{"text": 1}', "jsonl"), ("Entry\tSequence\n", "tsv")]:
        (tmp_path / "download").write_bytes(gzip.compress(content.encode()))
        assert detect_format(str(tmp_path / "download")) == format_
    (tmp_path / "x.docx").write_text("words")
    with pytest.raises(UsageError, match=r"cannot tell the format of .*--format takes one of: tsv, fasta"):
        detect_format(str(tmp_path / "x.docx"))


def test_yeast(data: Path, tmp_path: Path, no_mmseqs: Path) -> None:
    source = data / "proteins" / "yeast_swissprot.tsv.gz"
    corpus = import_corpus(source, tmp_path / "y", filters=Filters(max_length=1022, sample=800, seed=1)).corpus
    assert len(corpus) == 800
    assert corpus.lengths.max() <= 1022
    annotated = corpus.annotations
    ends = annotated["end"].to_numpy()
    assert np.all(ends <= corpus.lengths[annotated["sequence"].to_numpy()])
    bonds = annotated.filter(np.array(annotated["type"].to_pylist()) == "Disulfide bond").to_pylist()
    assert {corpus.text(b["sequence"])[b["start"]] for b in bonds} == {"C"}
    assert Corpus.open(tmp_path / "y").digest == corpus.digest
