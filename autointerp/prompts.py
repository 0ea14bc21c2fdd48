"""What explainers and scorers share: how a context is written for an LLM, and how its JSON answer is read."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from typing import Any

from autointerp.records import Example

OPEN, CLOSE = "<<", ">>"
LINE_BREAK = re.compile("\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
"""What ``str.splitlines`` splits at: an example takes one line."""


def render(example: Example, marked: Collection[int] = ()) -> str:
    """The context's text, runs of ``marked`` tokens between ``<<`` and ``>>``, its ends shown as [start] and [end].

    Delimiters that stand in the text itself are spaced out, so that a mark is always ours.
    """
    runs = _runs(example, marked)
    pieces: list[str] = []
    for i, (inside, text) in enumerate(runs):
        if (inside or i > 0) and text.startswith(("<", ">")):  # it must not lengthen a delimiter
            text = " " + text
        if (inside or i < len(runs) - 1) and text.endswith(("<", ">")):
            text += " "
        pieces.append(OPEN + text + CLOSE if inside else text)
    return ("[start]" if example.at_start else "") + "".join(pieces) + ("[end]" if example.at_end else "")


def _runs(example: Example, marked: Collection[int]) -> list[tuple[bool, str]]:
    """The text cut where marking begins or ends: (whether marked, text)."""
    if not marked:
        return [(False, _plain(example.text))]
    ends, cuts = example.ends.tolist(), [0]
    inside = [False]
    for index in range(len(ends)):
        if (index in marked) != inside[-1]:
            cuts.append(ends[index - 1] if index else 0)
            inside.append(not inside[-1])
    stretches = zip(inside, cuts, [*cuts[1:], len(example.text)], strict=True)
    return [(mark, _plain(example.text[a:b])) for mark, a, b in stretches if mark or a < b]


def numbered(texts: Sequence[str]) -> str:
    """One ``Example i: text`` a line, counted from 1."""
    return "\n".join(f"Example {i}: {text}" for i, text in enumerate(texts, 1))


def find_json(text: str) -> Any:
    """The JSON value in a reply: all of it, a fenced block, the first object that parses, the first array, or None."""
    stripped = re.sub(r"^```[a-zA-Z]*\s*|\s*```$", "", text.strip())
    decoder = json.JSONDecoder()
    try:
        return decoder.decode(stripped)
    except ValueError:
        pass
    except RecursionError:
        return None
    for opening in (r"\{", r"\["):
        for match in re.finditer(opening, text):
            try:
                return decoder.raw_decode(text, match.start())[0]
            except ValueError:
                continue
            except RecursionError:  # a reply that went astray; to go on would take minutes
                return None
    return None


def _plain(text: str) -> str:
    """``text`` on one line and without delimiters."""
    if text.isalnum():  # residues, and most words: nothing to escape
        return text
    return re.sub(r"(?<=<)(?=<)|(?<=>)(?=>)", " ", LINE_BREAK.sub(" ⏎ ", text))
