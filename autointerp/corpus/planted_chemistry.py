"""Residues under constraint: draw them, replace them, and break the matches that no one planted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from autointerp.corpus.planted_elements import ELEMENTS, LETTERS, Element, read_pattern, regexes

# Percent in Swiss-Prot (UniProtKB release statistics), in the order of LETTERS. Cysteine is thinned from 1.4 to 0.3:
# at its natural rate, chance cysteines would outnumber the disulfide-bonded ones by far.
_PERCENT = (
    *(8.25, 0.3, 5.46, 6.72, 3.86, 7.07, 2.27, 5.91, 5.80, 9.65),
    *(2.41, 4.06, 4.74, 3.93, 5.53, 6.64, 5.35, 6.86, 1.1, 2.92),
)
# Residues that replace each other more often, by the positive entries of BLOSUM62.
_SIMILAR = ("ILMV", "FWY", "HKR", "DENQ", "AST", "AG")
_SIMILAR_ODDS = 4.0


@dataclass(frozen=True)
class Span:
    """Where an element (or, with a ``kind``, a decoy of it) lies in a protein."""

    element: Element
    start: int
    end: int
    kind: str = ""


@dataclass
class Protein:
    """A protein in the making: residues, what each position may hold, and what lies where."""

    residues: np.ndarray  # (length,) indices into LETTERS
    sets: np.ndarray  # (length,) indices into the chemistry's residue sets
    spans: list[Span] = field(default_factory=list)
    identity: float | None = None

    @property
    def letters(self) -> bytes:
        """One letter a residue."""
        return np.frombuffer(LETTERS.encode(), np.uint8)[self.residues].tobytes()


@dataclass
class Piece:
    """A stretch of an ancestor: background, an element, or a decoy."""

    sets: np.ndarray
    residues: np.ndarray
    element: Element | None = None
    kind: str = ""
    anchor: str = ""  # the end of the protein that it must lie at: "<", ">" or neither


class Chemistry:
    """Sets of allowed residues, and how residues are drawn from and replaced within them."""

    def __init__(self) -> None:
        self._index: dict[str, int] = {}
        self._patterns: dict[str, list[tuple[int, int, int]]] = {}
        for element in ELEMENTS:
            for pattern in (*element.plant, *element.near_misses):
                steps = read_pattern(pattern)
                self._patterns[pattern] = [(self._intern(s), low, high or low) for s, low, high in steps]
        self.background, self.start = self._intern(LETTERS), self._intern("M")
        self._exact = [(e, regexes(e.exact)) for e in ELEMENTS if e.exact]

    def _intern(self, letters: str) -> int:
        return self._index.setdefault(letters, len(self._index))

    @cached_property
    def _draws(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Cumulative draw (n_sets, 20), cumulative replacement (n_sets, 20, 20), and sizes (n_sets,) of the sets."""
        allowed = np.array([[c in letters for c in LETTERS] for letters in self._index], float)
        weight = allowed * np.array(_PERCENT)
        similar = np.array([[any(a in g and b in g for g in _SIMILAR) for b in LETTERS] for a in LETTERS])
        odds = np.where(similar, _SIMILAR_ODDS, 1.0) * (1 - np.eye(20))
        # A position with one allowed residue is never replaced; its row of zeros is never drawn from.
        return _cumulative(weight), _cumulative(weight[:, None, :] * odds), allowed.sum(1).astype(int)

    def draw(self, sets: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Residues at natural frequencies within each position's set."""
        return (self._draws[0][sets] < rng.random(len(sets))[:, None]).sum(1)

    def replace(self, sets: np.ndarray, residues: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Other residues of the same sets, similar ones more often."""
        return (self._draws[1][sets, residues] < rng.random(len(sets))[:, None]).sum(1)

    def mutable(self, sets: np.ndarray) -> np.ndarray:
        """Which positions allow more than one residue."""
        return self._draws[2][sets] > 1

    def sample(self, pattern: str, rng: np.random.Generator) -> Piece:
        """A random match of a pattern."""
        steps = self._patterns[pattern]
        counts = [low if low == high else int(rng.integers(low, high + 1)) for _, low, high in steps]
        sets = np.repeat([s for s, _, _ in steps], counts)
        anchor = "<" if pattern.startswith("<") else ">" if pattern.endswith(">") else ""
        return Piece(sets, self.draw(sets, rng), anchor=anchor)

    def linker(self, length: int, rng: np.random.Generator) -> Piece:
        """Background residues."""
        sets = np.full(length, self.background)
        return Piece(sets, self.draw(sets, rng))

    def matches(self, text: bytes) -> Iterator[tuple[str, int, int]]:
        """Every match, overlapping ones included, of every pattern that defines an element."""
        for element, expressions in self._exact:
            for expression in expressions:
                match = expression.search(text)
                while match:
                    yield element.name, match.start(), match.end()
                    match = expression.search(text, match.start() + 1)

    def repair(self, protein: Protein, rng: np.random.Generator) -> bool:
        """Break, in place, the matches that were not planted; false if some resist."""
        planted = {(s.element.name, s.start, s.end) for s in protein.spans if not s.kind}
        covered = np.zeros(len(protein.residues), bool)
        for span in protein.spans:
            covered[span.start : span.end] = True
        for _ in range(300):
            chance = [m for m in self.matches(protein.letters) if m not in planted]
            if not chance:
                return True
            for _, start, end in chance:
                free = start + np.flatnonzero(self.mutable(protein.sets[start:end]))
                background = free[~covered[free]]
                # Background first; but the residue that decides may lie inside a planted element's free positions.
                where = background if len(background) and rng.random() < 0.8 else free
                at = rng.choice(where, 1)
                protein.residues[at] = self.replace(protein.sets[at], protein.residues[at], rng)
        return False


def _cumulative(weight: np.ndarray) -> np.ndarray:
    total = weight.sum(-1, keepdims=True)
    cumulative = np.cumsum(weight / np.where(total > 0, total, 1), -1)
    return np.where(cumulative > 1 - 1e-9, 2.0, cumulative)  # no uniform draw lies past the last allowed residue
