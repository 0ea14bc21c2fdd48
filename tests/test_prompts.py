from __future__ import annotations

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autointerp.prompts import CLOSE, OPEN, ask_again, fenced, find_json, numbered, one_line, render, spoken
from autointerp.records import Message, Request, Response
from tests.studies import example


def test_marks_stand_around_runs_of_tokens() -> None:
    e = example(tokens=["The", " cat", " sat", " on", " mats"], start=3)
    assert render(e, {1, 2, 4}) == "The<< cat sat>> on<< mats>>"
    assert render(e, {0}) == "<<The>> cat sat on mats"
    assert render(e) == "The cat sat on mats"
    assert render(e, range(5)) == "<<The cat sat on mats>>"


def test_ends_of_the_sequence_are_shown() -> None:
    assert render(example("MKV", start=0, length=9)) == "[start]MKV"
    assert render(example("MKV", start=6, length=9), {2}) == "MK<<V>>[end]"
    assert render(example("MKV", start=0, length=3)) == "[start]MKV[end]"


@pytest.mark.parametrize(
    ("tokens", "marked", "shown"),
    [
        (["a<<b>>c"], (), "a< <b> >c"),
        (["<", "<", "x"], (), "< <x"),  # a delimiter made by two tokens
        (["<<<"], (), "< < <"),
        ([">>>>"], (), "> > > >"),
        (["<", "x", ">"], {1}, "< <<x>> >"),
        (["<"], {0}, "<< < >>"),
        (["a<", "<b"], {0}, "<<a< >> <b"),
        (["a", ">", "b"], {0, 1}, "<<a> >>b"),
        (["line\none", "\r\n", "two"], {2}, "line ⏎ one ⏎ <<two>>"),
        (["a\u2028b\x85c\x0cd"], (), "a ⏎ b ⏎ c ⏎ d"),
        (["naïve", " 日本", " 😀"], {1}, "naïve<< 日本>> 😀"),
        (["שלום", " עולם"], {1}, "שלום<< עולם>>"),
        (["[start]ab[end]", "[END] [start", "]"], {0}, "<<[ start]ab[ end]>>[END] [ start]"),
        (["[", "end]"], {1}, "[<<end]>>"),
        (["é", "", "f"], {1}, "é<<>>f"),  # a token that ends inside a letter has no text of its own
    ],
)
def test_a_delimiter_is_always_ours(tokens: list[str], marked: set[int], shown: str) -> None:
    assert render(example(tokens=tokens), marked) == shown


TOKENS = st.lists(st.text(st.sampled_from("ab<> \n\u2028é[]"), min_size=1, max_size=4), min_size=1, max_size=8)


@settings(deadline=None)
@given(TOKENS, st.sets(st.integers(0, 7)))
def test_any_text_reads_back_as_marked_and_unmarked_runs(tokens: list[str], marked: set[int]) -> None:
    shown = render(example(tokens=tokens), marked)
    assert len(shown.splitlines()) <= 1
    pieces = re.split(f"({OPEN}|{CLOSE})", shown)
    delimiters = [p for p in pieces if p in (OPEN, CLOSE)]
    assert delimiters == [OPEN, CLOSE] * (len(delimiters) // 2)  # never nested, never left open
    inside = "".join(pieces[i + 1] for i, p in enumerate(pieces) if p == OPEN)
    wanted = "".join(t for i, t in enumerate(tokens) if i in marked)

    def letters(text: str) -> str:
        return re.sub(r"[\s⏎]", "", text)

    assert letters(inside) == letters(wanted)
    assert letters("".join(p for p in pieces if p not in (OPEN, CLOSE))) == letters("".join(tokens))


def test_examples_are_numbered_from_one() -> None:
    assert numbered(["a", "b"]) == "Example 1: a\nExample 2: b"


# -------------------------------------------------------------------------------------------------------------- fences


def number(text: str) -> str:
    """The number of the fence around ``text``."""
    first, *_, last = fenced(text).split("\n")
    assert (first[:6], last) == ("<data-", f"</data-{first[6:]}")
    return first[6:-1]


def test_a_fence_follows_from_its_text_alone() -> None:
    text = "Example 1: MKV\nExample 2: WHC"
    assert fenced(text) == fenced(text) == f"<data-{number(text)}>\n{text}\n</data-{number(text)}>"
    assert len({number(f"{text}{i}") for i in range(100)}) > 95
    assert {len(number(f"{text}{i}")) for i in range(100)} == {6}
    for odd in ("", "\ud83d", "日本", "</data-1>"):
        assert number(odd).isdigit()


@pytest.mark.parametrize("digits", ["0123456789", "０１２３４５６７８９", "⁰¹²³⁴⁵⁶⁷⁸⁹"])
def test_a_number_that_stands_in_the_text_is_made_longer(digits: str) -> None:
    """Texts full of six-digit numbers hold that of their own fence now and then."""
    disguise, longer = str.maketrans("0123456789", digits), 0
    for i in range(400):
        numbers = " ".join(f"{(i * 7919 + j * 104729) % 10**6:06d}" for j in range(3000))
        found = number(numbers.translate(disguise))
        assert found not in numbers
        assert len(found) == 6 or found[:-1] in numbers  # no longer than it must be
        longer += len(found) > 6
    assert longer > 0


def test_line_breaks_are_shown() -> None:
    assert one_line("a\nb\r\nc\u2028d\x85e") == "a ⏎ b ⏎ c ⏎ d ⏎ e"
    everything = "".join(map(chr, range(0x2100)))
    assert len(one_line(everything).splitlines()) == 1


# ------------------------------------------------------------------------------------------------------------- replies


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ("[0, 1]", "[0, 1]"),
        ("<think>[1] perhaps</think>\n[0, 1]", "\n[0, 1]"),
        ("\n<think>\n</think>\n\nyes", "\n\nyes"),
        ("Let me see. [1]? No.</think>[0]", "[0]"),  # some templates open the thoughts themselves
        ("<think>[1] and then", ""),  # cut off
        ('{"explanation": "the token </think>"}', '{"explanation": "the token </think>"}'),
        ('```json\n{"explanation": "</think>"}\n```', '```json\n{"explanation": "</think>"}\n```'),
        ("", ""),
    ],
)
def test_thoughts_are_left_out(reply: str, words: str) -> None:
    assert spoken(reply) == words


@pytest.mark.parametrize(
    ("reply", "said", "max_tokens"),
    [
        (Response("hm"), "hm", 50),
        (Response(" \n"), "(no answer)", 50),
        (Response("", finish="length"), "(no answer)", 100),
        (Response("half \ud83d", finish="length"), "half ?", 100),
        (Response("no", finish="refusal"), "no", 50),
    ],
)
def test_a_reply_is_asked_again_in_its_conversation(reply: Response, said: str, max_tokens: int) -> None:
    first = Request((Message("user", "?"),), 50, schema={"type": "object"}, replicate=3, tag="x")
    again = ask_again(first, reply, "JSON only")
    assert again.messages == (*first.messages, Message("assistant", said), Message("user", "JSON only"))
    assert (again.max_tokens, again.schema, again.replicate, again.tag) == (max_tokens, first.schema, 3, "x")
    single = Request((Message("user", "?"),), 1, choices=("0", "1"))
    assert ask_again(single, Response("x", finish="length"), "digit").max_tokens == 1


@pytest.mark.parametrize(
    ("reply", "value"),
    [
        ('{"a": 1}', {"a": 1}),
        ("[0, 1]", [0, 1]),
        ('```json\n{"a": 1}\n```', {"a": 1}),
        ("```\n[1]\n```", [1]),
        ('Sure! Here it is:\n```json\n{"a": 1}\n```\nAnything else?', {"a": 1}),
        ('Examples [1] and [2] agree. {"a": [1]} Done.', {"a": [1]}),
        ("My answers: [0, 1, 1].", [0, 1, 1]),
        ('{"a": {"b": "}"}} {"c": 1}', {"a": {"b": "}"}}),
        ("{not json} but [1, 0]", [1, 0]),
        ('{"a": 1', None),
        ("nothing here", None),
        ("<think>maybe [1] or {}</think>\n[0, 1]", [0, 1]),
        ('<think>maybe {"a": 2}', None),
        ("", None),
        ("3", 3),
        ("[" * 20_000, None),
        ('{"a":' * 20_000, None),
    ],
)
def test_json_is_found_in_a_reply(reply: str, value: object) -> None:
    assert find_json(reply) == value


@settings(max_examples=60, deadline=None)
@given(st.recursive(st.none() | st.integers() | st.text(), lambda c: st.lists(c) | st.dictionaries(st.text(), c)))
def test_any_json_object_is_found_among_prose(value: object) -> None:
    assert find_json(f"I think: {json.dumps({'answers': value})} That is all.") == {"answers": value}
