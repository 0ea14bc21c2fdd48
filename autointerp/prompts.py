"""What explainers and scorers share: how a context is written for an LLM, and how its JSON answer is read."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from typing import Any

from autointerp.records import Example

OPEN, CLOSE = "<<", ">>"


def render(example: Example, marked: Collection[int] = ()) -> str:
    """The context's text, runs of ``marked`` tokens between ``<<`` and ``>>``, its ends shown as [start] and [end].

    Delimiters that stand in the text itself are spaced out, so that a mark is always ours.
    """
    pieces: list[str] = []
    inside = False
    for index, token in enumerate(example.tokens):
        if (index in marked) != inside:
            pieces.append(CLOSE if inside else OPEN)
            inside = not inside
        pieces.append(_plain(token))
    if inside:
        pieces.append(CLOSE)
    return ("[start]" if example.at_start else "") + "".join(pieces) + ("[end]" if example.at_end else "")


def numbered(texts: Sequence[str]) -> str:
    """One ``Example i: text`` a line, counted from 1."""
    return "\n".join(f"Example {i}: {text}" for i, text in enumerate(texts, 1))


def find_json(text: str) -> Any:
    """The JSON value in a reply: the whole of it, a fenced block, or the first object or array that parses; else None."""
    stripped = re.sub(r"^```[a-zA-Z]*\s*|\s*```$", "", text.strip())
    decoder = json.JSONDecoder()
    try:
        return decoder.decode(stripped)
    except ValueError:
        pass
    for match in re.finditer(r"[{\[]", text):
        try:
            return decoder.raw_decode(text, match.start())[0]
        except ValueError:
            continue
    return None


def _plain(text: str) -> str:
    return text.replace(OPEN, "< <").replace(CLOSE, "> >").replace("\r", " ").replace("\n", " ⏎ ")
