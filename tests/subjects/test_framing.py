"""Token texts join to the text; batches mark content by ids alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autointerp.errors import UsageError
from autointerp.subjects import Tokens, load_subject
from autointerp.subjects.framing import Frame, ProteinTokenizer, TextTokenizer, make_batch, special_table


@pytest.fixture(scope="module")
def tokenizer(data: Path) -> TextTokenizer:
    from transformers import AutoTokenizer

    return TextTokenizer(AutoTokenizer.from_pretrained(data / "models/stories260K"), {1, 2})


def show(text: str, tokens: Tokens) -> list[str]:
    assert tokens.ends is not None
    ends = tokens.ends.tolist()
    return [text[a:b] for a, b in zip([0, *ends], ends, strict=False)]


def test_joined_tokens_are_the_stories(data: Path, tokenizer: TextTokenizer) -> None:
    text = (data / "text/tinystories_2MiB.txt").read_text(errors="ignore")
    stories = text.split("<|endoftext|>")[:600]
    whole = tokenizer(stories)
    assert ["".join(show(s, t)) for s, t in zip(stories, whole, strict=True)] == stories
    assert sum(len(t.ids) for t in whole) > 50_000
    assert all(t.ids.dtype == t.ends.dtype == np.int32 and len(t.ids) == len(t.ends) for t in whole)


def test_tokens_show_their_own_text(tokenizer: TextTokenizer) -> None:
    (a,) = tokenizer(["Once upon a time"])
    assert show("Once upon a time", a) == ["Once", " upon", " a", " time"]
    text = "naïve 🙂\n"
    (b,) = tokenizer([text])
    assert show(text, b) == [*" na", "", "ï", "ve", " ", "", "", "", "🙂", "\n"][1:]


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=40))
def test_any_text_joins(tokenizer: TextTokenizer, text: str) -> None:
    (tokens,) = tokenizer([text])
    assert "".join(show(text, tokens)) == (text if len(tokens.ids) else "")
    assert not np.isin(tokens.ids, [1, 2]).any()


def test_special_tokens_in_a_text_are_dropped(tokenizer: TextTokenizer) -> None:
    text = "Tim</s> saw<s>"
    (tokens,) = tokenizer([text])
    (plain,) = tokenizer(["Tim"])
    assert tokens.ids[: len(plain.ids)].tolist() == plain.ids.tolist()
    assert not np.isin(tokens.ids, [1, 2]).any()
    assert "".join(show(text, tokens)) == text
    assert [len(t.ids) for t in tokenizer(["", "</s>"])] == [0, 0]


def test_unknown_residues_become_x_and_lower_case_is_upper_case() -> None:
    tokenizer = ProteinTokenizer({"<unk>": 0, "A": 5, "C": 6, "X": 7})
    (tokens,) = tokenizer(["AcxJ*é日A"])
    assert tokens.ids.tolist() == [5, 6, 7, 7, 7, 7, 7, 5]
    assert tokens.ends is None
    assert tokenizer([""])[0].ids.shape == (0,)


@given(st.lists(st.lists(st.integers(4, 9), max_size=6), min_size=1, max_size=6), st.integers(0, 2), st.integers(0, 2))
def test_batches_against_a_loop(windows: list[list[int]], n_before: int, n_after: int) -> None:
    frame = Frame((1, 2)[:n_before], (3, 3)[:n_after], 0)
    special = special_table({0, 1, 2, 3}, 10)
    batch = make_batch([np.array(w, np.int32) for w in windows], frame, special)
    framed = [[*frame.prefix, *w, *frame.suffix] for w in windows]
    width = max(map(len, framed))
    assert batch.ids.tolist() == [row + [0] * (width - len(row)) for row in framed]
    mask = np.ones(batch.ids.shape, bool) if batch.mask is None else batch.mask
    assert mask.sum(1).tolist() == [len(row) for row in framed]
    assert (batch.mask is None) == (len(set(map(len, windows))) == 1)
    assert batch.ids.reshape(-1)[batch.rows].tolist() == [i for w in windows for i in w]
    ids, lengths, rows = batch.packed()
    assert ids.tolist() == [i for row in framed for i in row]
    assert lengths == [len(row) for row in framed]
    assert ids[rows].tolist() == [i for w in windows for i in w]


@pytest.mark.parametrize("bad", [2, 10, 40, -1, -7])
def test_windows_with_special_or_unknown_ids_are_refused(bad: int) -> None:
    with pytest.raises(UsageError, match="special or unknown"):
        make_batch([np.array([4, bad, 5])], Frame((1,), (), 0), special_table({1, 2}, 10))


def test_specials_never_give_states(checkpoint: Path) -> None:
    subject = load_subject(checkpoint)
    for special in subject.special_tokens.values():
        with pytest.raises(UsageError, match="special or unknown"):
            subject.states([np.array([5, special, 6])], ["layer:1"])
