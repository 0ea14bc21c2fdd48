"""An independent reader of prompts: what stands outside fences is an instruction, what stands inside is data."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field

OPENING = re.compile(r"<data-([0-9]+)>")


@dataclass
class Reading:
    """The lines of a message outside fences, and those within each fence."""

    outside: list[str] = field(default_factory=list)
    fences: list[list[str]] = field(default_factory=list)
    numbers: list[str] = field(default_factory=list)


def read(message: str) -> Reading:
    """Read line by line, at every kind of line break; a fence is closed by the line of its own number alone."""
    found, name = Reading(), ""
    for line in message.splitlines():
        if not name and (opening := OPENING.fullmatch(line)):
            name = opening[1]
            found.numbers.append(name)
            found.fences.append([])
        elif name and line == f"</data-{name}>":
            name = ""
        elif name:
            found.fences[-1].append(line)
        else:
            found.outside.append(line)
    assert not name, "a fence was left open"
    return found


def read_carelessly(message: str) -> list[str]:
    """What a sloppy reader takes for the material of each fence: it ends where the number is next seen, in any form."""
    text, found = unicodedata.normalize("NFKC", message), []
    while opening := OPENING.search(text):
        inside, _, text = text[opening.end() :].partition(opening[1])
        found.append(inside.removesuffix("</data-").strip("\n"))
        text = text.removeprefix(">")
    return found
