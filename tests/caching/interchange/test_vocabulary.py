from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from autointerp.errors import UsageError
from caching.interchange import Vocabulary
from caching.interchange.vocabulary import BROKEN
from tests.doubles import make_corpus, write_cache


def by_bytes(ids: list[int]) -> str:
    return bytes(ids).decode("utf-8", "replace")


@pytest.mark.parametrize("text", ["plain", "naïve 日本 😀!", "😀", "", "日本日本"])
def test_a_character_of_several_tokens_stands_at_its_last(text: str) -> None:
    vocabulary = Vocabulary("bytes", "text", 256, {}, by_bytes)
    pieces = vocabulary.pieces(list(text.encode()))
    assert pieces == [part for c in text for part in ([""] * (len(c.encode()) - 1) + [c])]


def test_bytes_that_are_no_character_are_shown_as_such() -> None:
    vocabulary = Vocabulary("bytes", "text", 256, {}, by_bytes)
    cut = "日本".encode()[1:5]
    assert vocabulary.pieces([65, *cut, 66, 0xFF]) == ["A", *[BROKEN] * 4, "B", BROKEN]
    assert vocabulary.pieces([*cut[:2], *"é".encode()]) == [BROKEN, BROKEN, "", "é"]


def test_a_text_tokenizer(data: Path) -> None:
    from transformers import AutoTokenizer

    folder = data / "models" / "stories260K"
    tokenizer, vocabulary = AutoTokenizer.from_pretrained(folder), Vocabulary.of(str(folder))
    text = 'Once upon a time, there was a café.\n"😀 No!" said  Tim.'
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    pieces = vocabulary.pieces(ids)
    assert len(pieces) == len(ids)
    assert "".join(pieces).strip() == text
    assert vocabulary.kind == "text"
    assert set(vocabulary.special.values()) >= {tokenizer.bos_token_id, tokenizer.eos_token_id}
    assert vocabulary.size == len(tokenizer)


def test_a_protein_tokenizer(data: Path) -> None:
    from transformers import AutoTokenizer

    folder = data / "models" / "esm2_t6_8M_UR50D_config_only"
    vocabulary = Vocabulary.of(str(folder))
    ids = AutoTokenizer.from_pretrained(folder)("MKTWX")["input_ids"]
    assert vocabulary.kind == "protein"
    assert vocabulary.pieces(ids[1:-1]) == list("MKTWX")
    assert set(vocabulary.special) >= {"<cls>", "<pad>", "<eos>", "<unk>", "<mask>"}
    assert {ids[0], ids[-1]} <= set(vocabulary.special.values())


def test_no_such_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="tokenizer"):
        Vocabulary.of(str(tmp_path))


def test_text_there_and_back(data: Path, tmp_path: Path) -> None:
    """A cache of stories, for delphi and back: the contexts' text is the corpus's, cut at tokens."""
    from autointerp.subjects import load_subject
    from caching.interchange import read_delphi, write_delphi

    folder = data / "models" / "stories260K"
    texts = [
        t.strip() for t in (data / "text" / "tinystories_2MiB.txt").read_text("utf-8")[:6000].split("<|endoftext|>")
    ]
    corpus, subject = make_corpus(tmp_path / "corpus", texts, kind="text"), load_subject(str(folder), device="cpu")
    tokens = subject.tokenize(texts)
    dense = np.random.default_rng(0).integers(1, 9, (sum(len(t.ids) for t in tokens), 2))
    cache = write_cache(tmp_path / "cache", dense, corpus, subject)
    written = write_delphi(cache, tmp_path / "delphi", ctx_len=16, n_splits=2)
    read = read_delphi(written.folder, tmp_path / "back", tmp_path / "contexts", Vocabulary.of(str(folder)))
    found = iter(read.corpus.texts(range(len(read.corpus))))
    for text, (ends, ids) in zip(texts, ((t.ends, t.ids) for t in tokens), strict=True):
        assert ends is not None
        for a in range(0, len(ids), 16):
            expected = text[ends[a - 1] if a else 0 : ends[min(a + 16, len(ids)) - 1]]
            assert next(found) == (expected if a else " " + expected)  # the model's first token holds a space
    np.testing.assert_array_equal(read.cache.tokens, np.concatenate([t.ids for t in tokens]))
