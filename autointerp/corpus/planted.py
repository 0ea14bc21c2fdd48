"""The planted-motif proteome: protein sequences in which the truth about every element is known.

Families of homologues descend from an ancestor by substitutions and small indels; planted elements keep matching their
pattern. The truth is exact: where a pattern defines an element, each of its matches in a sequence is a planted,
annotated instance, because chance matches are broken by substitutions (none is annotated afterwards).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from autointerp.corpus.planted_chemistry import Chemistry, Piece, Protein, Span
from autointerp.corpus.planted_elements import ARCHITECTURES, ELEMENTS, LETTERS, Architecture
from autointerp.errors import UsageError

if TYPE_CHECKING:
    import pyarrow

IDENTITIES = (0.4, 0.6, 0.75, 0.9)
"""Design identities of the families: what two members share, on average."""
ORGANISMS = ("Synthetica prima", "Synthetica altera", "Artificium minor", "Artificium maior")
"""Organisms; the first letters of both words name them in an entry name."""

_LINKER = 3  # fewest background residues between two elements


@dataclass(frozen=True)
class Planted:
    """A planted proteome.

    Attributes
    ----------
    sequences : one row a protein: ``id``, ``text``, ``length``, ``group`` (the family), UniProt-like metadata, and
        ``family_identity``, the design identity of the family (null for a protein without homologues).
    annotations : one row a region: ``sequence`` (row), ``start``, ``end`` (0-based, half-open), ``type``, ``label``,
        ``instance`` (both ends of a disulfide bond share one).
    decoys : one row a decoy: ``sequence``, ``start``, ``end``, ``kind`` (``shuffled``, ``near-miss``, ``misplaced``),
        ``label`` of the element that it imitates. Decoys are never annotated.
    """

    sequences: pyarrow.Table
    annotations: pyarrow.Table
    decoys: pyarrow.Table


# ------------------------------------------------------------------------------------------------ ancestors and members


def _decoy(chemistry: Chemistry, rng: np.random.Generator) -> Piece:
    """A decoy of a random element."""
    element = ELEMENTS[rng.integers(len(ELEMENTS))]
    anchored = element.plant[0].strip("<>") != element.plant[0]
    kinds = ["near-miss"] * bool(element.near_misses) + ["shuffled"] * element.shuffles + ["misplaced"] * anchored
    kind = kinds[rng.integers(len(kinds))]
    patterns = element.near_misses if kind == "near-miss" else element.plant
    piece = chemistry.sample(patterns[rng.integers(len(patterns))], rng)
    piece.element, piece.kind = element, kind
    if kind != "near-miss":
        piece.anchor = ""
    if kind == "shuffled":
        piece.residues = rng.permutation(piece.residues)
        piece.sets = np.full(len(piece.sets), chemistry.background)
    return piece


def _parts(architecture: Architecture, chemistry: Chemistry, rng: np.random.Generator) -> list[Piece]:
    """The elements and decoys of a protein, in the order in which they stand."""
    catalogue = {e.name: e for e in ELEMENTS}
    places: dict[str, list[Piece]] = {"<": [], "": [], ">": []}
    for name, low, high in architecture.parts:
        element = catalogue[name]
        for _ in range(int(rng.integers(low, high + 1))):
            piece = chemistry.sample(element.plant[rng.integers(len(element.plant))], rng)
            piece.element = element
            places[piece.anchor].append(piece)
    for _ in range(int(rng.choice([0, 1, 2, 3], p=[0.45, 0.3, 0.15, 0.1]))):
        piece = _decoy(chemistry, rng)
        if not (piece.anchor and places[piece.anchor]):  # an end of the protein has room for one
            places[piece.anchor].append(piece)
    return places["<"] + [places[""][i] for i in rng.permutation(len(places[""]))] + places[">"]


def _ancestor(architecture: Architecture, chemistry: Chemistry, rng: np.random.Generator) -> list[Piece]:
    """Elements and decoys with background between them, and at the ends that none of them takes."""
    parts = _parts(architecture, chemistry, rng)
    at_start = bool(parts) and parts[0].anchor == "<"
    at_end = bool(parts) and parts[-1].anchor == ">"
    n_gaps = len(parts) + 1 - at_start - at_end
    room = int(rng.integers(70, 281)) - sum(len(p.sets) for p in parts) - _LINKER * n_gaps
    extra = rng.multinomial(max(room, 0), rng.dirichlet(np.ones(n_gaps)))
    gaps = [chemistry.linker(_LINKER + int(n), rng) for n in extra]
    pieces: list[Piece] = []
    if not at_start:
        pieces.append(gaps.pop())
        pieces[0].sets[0], pieces[0].residues[0] = chemistry.start, LETTERS.index("M")
    for i, part in enumerate(parts):
        pieces.append(part)
        if i < len(parts) - 1 or not at_end:
            pieces.append(gaps.pop())
    return pieces


def _assemble(pieces: list[Piece], identity: float | None) -> Protein:
    """Join the pieces and note where elements and decoys lie."""
    protein = Protein(
        np.concatenate([p.residues for p in pieces]), np.concatenate([p.sets for p in pieces]), identity=identity
    )
    start = 0
    for piece in pieces:
        end = start + len(piece.sets)
        if piece.element is not None:
            protein.spans.append(Span(piece.element, start, end, piece.kind))
        start = end
    return protein


def _substitution_rate(identity: float, pieces: list[Piece], chemistry: Chemistry) -> float:
    """Per mutable position and lineage, so that two members share ``identity`` of their positions.

    Two independent lineages agree at a mutable position with probability (1 - p)^2 + c p^2, where c is the chance that
    both changed to the same residue (about 0.1 under these replacement odds).
    """
    same = 0.1
    sets = np.concatenate([p.sets for p in pieces])
    n_mutable = int(chemistry.mutable(sets).sum())
    shared = (identity * len(sets) - (len(sets) - n_mutable)) / n_mutable
    shared = max(shared, same / (1 + same) + 1e-6)
    return (1 - math.sqrt(1 - (1 + same) * (1 - shared))) / (1 + same)


def _member(pieces: list[Piece], rate: float, chemistry: Chemistry, rng: np.random.Generator) -> list[Piece]:
    """A descendant: substitutions everywhere within the allowed sets, short indels in the background."""
    members = []
    for i, piece in enumerate(pieces):
        sets, residues = piece.sets.copy(), piece.residues.copy()
        hit = (rng.random(len(sets)) < rate) & chemistry.mutable(sets)
        residues[hit] = chemistry.replace(sets[hit], residues[hit], rng)
        if piece.element is None and rng.random() < 0.03 * rate * len(sets):
            size = int(rng.integers(1, 4))
            at = int(rng.integers(i == 0, len(sets) + 1))  # the first methionine stays
            if rng.random() < 0.5:
                new = chemistry.linker(size, rng)
                sets, residues = np.insert(sets, at, new.sets), np.insert(residues, at, new.residues)
            elif len(sets) - size > _LINKER and at + size <= len(sets):
                cut = slice(at, at + size)
                sets, residues = np.delete(sets, cut), np.delete(residues, cut)
        members.append(Piece(sets, residues, piece.element, piece.kind))
    return members


def _family(chemistry: Chemistry, rng: np.random.Generator) -> tuple[Architecture, list[Protein]]:
    """An architecture and its proteins: one alone, or several homologues at a design identity."""
    weights = np.array([a.weight for a in ARCHITECTURES])
    architecture = ARCHITECTURES[rng.choice(len(ARCHITECTURES), p=weights / weights.sum())]
    while True:
        pieces = _ancestor(architecture, chemistry, rng)
        ancestor = _assemble(pieces, None)
        if 60 <= len(ancestor.residues) <= 292 and chemistry.repair(ancestor, rng):
            break
    if rng.random() < 0.6:
        return architecture, [ancestor]
    cuts = np.cumsum([len(p.sets) for p in pieces])[:-1]
    for piece, residues in zip(pieces, np.split(ancestor.residues, cuts), strict=True):
        piece.residues = residues
    identity = float(rng.choice(IDENTITIES))
    rate = _substitution_rate(identity, pieces, chemistry)
    members: list[Protein] = []
    for _ in range(int(rng.integers(2, 9))):
        member = _assemble(_member(pieces, rate, chemistry, rng), identity)
        if len(member.residues) <= 300 and chemistry.repair(member, rng):
            members.append(member)
    return architecture, members


# --------------------------------------------------------------------------------------------------------------- tables


def _metadata(architecture: Architecture, protein: Protein, family: int, member: int) -> dict[str, Any]:
    """UniProt-like columns that follow from what was planted."""
    names = {s.element.name for s in protein.spans if not s.kind}
    elements = [e for e in ELEMENTS if e.name in names]
    terms = sorted({t for e in elements for t in e.go})
    number = f"{family}{chr(ord('A') + member)}"
    organism = ORGANISMS[(family + member) % len(ORGANISMS)]
    genus, species = organism.split()
    return {
        "entry_name": f"{architecture.gene}{number}_{genus[:3]}{species[:2]}".upper(),
        "protein_names": " ".join([f"{architecture.name} {number}", *(f"({e.fragment})" for e in elements)]),
        "gene_names": f"{architecture.gene}{number}",
        "organism": organism,
        "protein_families": f"{architecture.family} family, subfamily {family}" if architecture.family else "",
        "go_ids": "; ".join(t[t.index("[") + 1 : -1] for t in terms),
        "go_terms": "; ".join(terms),
        "keywords": "; ".join(sorted({k for e in elements for k in e.keywords})),
        "function": " ".join(["FUNCTION:", *(e.function for e in elements)]) if elements else "",
        "family_identity": protein.identity,
    }


def _proteins(
    n_sequences: int, chemistry: Chemistry, rng: np.random.Generator
) -> Iterator[tuple[int, Protein, dict[str, Any]]]:
    """(family, protein, metadata) of ``n_sequences`` proteins, family by family."""
    made, family = 0, 0
    while made < n_sequences:
        architecture, proteins = _family(chemistry, rng)
        for member, protein in enumerate(proteins[: n_sequences - made]):
            yield family, protein, _metadata(architecture, protein, family + 1, member)
            made += 1
        family += 1


def planted_proteome(n_sequences: int = 2000, seed: int = 0) -> Planted:
    """Generate a planted-motif proteome; the same arguments give the same tables.

    Parameters
    ----------
    n_sequences : number of proteins, in random order; about three quarters of them have homologues.
    seed : of the NumPy generator.

    Raises
    ------
    UsageError : fewer than one protein is asked for.
    """
    import pyarrow as pa

    if n_sequences < 1:
        raise UsageError(f"n_sequences is {n_sequences}; a planted proteome has at least 1 protein")
    rng = np.random.default_rng(seed)
    proteins = list(_proteins(n_sequences, Chemistry(), rng))
    rows: list[dict[str, Any]] = []
    annotations: list[tuple[int, int, int, str, str, int]] = []
    decoys: list[tuple[int, int, int, str, str]] = []
    instance = 0
    for row, i in enumerate(rng.permutation(len(proteins))):
        family, protein, metadata = proteins[i]
        text = protein.letters.decode()
        rows.append({"id": f"PLT{row:05d}", "text": text, "length": len(text), "group": family, **metadata})
        for span in protein.spans:
            element, start, end = span.element, span.start, span.end
            if span.kind:
                decoys.append((row, start, end, span.kind, element.name))
                continue
            ranges = [(start, start + 1), (end - 1, end)] if element.ends_only else [(start, end)]
            annotations.extend((row, a, b, element.type, element.name, instance) for a, b in ranges)
            instance += 1
    kinds = {"length": pa.int32(), "group": pa.int64(), "family_identity": pa.float64()}
    places = [("sequence", pa.int32()), ("start", pa.int32()), ("end", pa.int32())]
    words = [("label", pa.string())]
    return Planted(
        pa.Table.from_pylist(rows, pa.schema([(c, kinds.get(c, pa.string())) for c in rows[0]])),
        _table(annotations, [*places, ("type", pa.string()), *words, ("instance", pa.int64())]),
        _table(decoys, [*places, ("kind", pa.string()), *words]),
    )


def _table(rows: list[tuple[Any, ...]], fields: list[tuple[str, Any]]) -> pyarrow.Table:
    import pyarrow as pa

    schema = pa.schema(fields)
    return pa.Table.from_pylist([dict(zip(schema.names, r, strict=True)) for r in rows], schema)
