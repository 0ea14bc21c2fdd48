"""What a terminal shows: bars of a histogram, and contexts with their activations as colour."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

RESET = "\x1b[0m"
_WEAK, _STRONG = np.array([178, 174, 170]), np.array([255, 115, 0])
"""Background of the weakest and the strongest activation: grey to orange, about equally light, so that the strong one
stands out on a dark and on a light terminal; the text on it is black (contrast at least 7)."""


def colourful() -> bool:
    """Whether the output wants colours: it is a terminal, and the environment does not set NO_COLOR (no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def plain(text: str) -> str:
    """``text`` on one line and without control characters: no escape sequence of a corpus reaches the terminal."""
    return "".join(c if c.isprintable() else "⏎" if c == "\n" else "·" for c in text)


def bar(share: float, width: int = 40) -> str:
    """A bar of ``share`` (0 … 1) of ``width`` columns, to an eighth of a column; something is never nothing."""
    eighths = max(round(share * width * 8), int(share > 0))
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


def decades(log10_frequency: np.ndarray, step: float = 0.5) -> Iterator[str]:
    """Lines of a histogram of log10 frequencies (at most 0) in bins of ``step``; the last bin is closed."""
    lowest, highest = np.floor(log10_frequency.min() / step), np.floor(log10_frequency.max() / step) + 1
    edges = np.arange(min(lowest, -1), min(highest, 0) + 1) * step
    counts = np.histogram(log10_frequency, edges)[0]
    for low, high, count in zip(edges[:-1], edges[1:], counts.tolist(), strict=True):
        yield f"10^{low:<4g} … 10^{high:<4g}  {count:>7,}  {bar(count / counts.max())}".rstrip()


def highlighted(tokens: Iterable[str], activations: Sequence[float], top: float, colour: bool) -> str:
    """One line with the active tokens marked: coloured by their share of ``top``, or else runs of them in « »."""
    pieces, inside = [], False
    for token, value in zip(tokens, activations, strict=True):
        if colour:
            pieces.append(_painted(plain(token), value / top) if value > 0 else plain(token))
            continue
        if (value > 0) != inside:
            pieces.append("»" if inside else "«")
            inside = not inside
        pieces.append(plain(token))
    return "".join(pieces) + ("»" if inside else "")


def _painted(token: str, share: float) -> str:
    red, green, blue = np.rint(_WEAK + (_STRONG - _WEAK) * min(share, 1.0)).astype(int).tolist()
    return f"\x1b[48;2;{red};{green};{blue};38;2;0;0;0m{token}{RESET}"
