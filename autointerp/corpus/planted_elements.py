"""What the planted-motif proteome is made of: a catalogue of elements, and of the proteins that carry them.

Patterns are written in PROSITE's syntax (https://prosite.expasy.org/scanprosite/scanprosite_doc.html): ``[ST]`` one of,
``{P}`` none of, ``x`` any, ``(2,4)`` repeats, ``<`` and ``>`` the ends of the sequence. One addition: an open count, as
in ``Q(7,)``, is a maximal run, bounded on both sides by another residue.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass

LETTERS = "ACDEFGHIKLMNPQRSTVWY"
"""The twenty amino acids, in the order of every table here."""


@dataclass(frozen=True)
class Element:
    """A kind of region that is planted at known positions."""

    name: str
    """Label of the annotation."""
    type: str
    """UniProt feature type of the annotation."""
    plant: tuple[str, ...]
    """Patterns that planted instances are drawn from, one of them at random."""
    near_misses: tuple[str, ...]
    """Patterns of decoys: a required residue is wrong, or the run too short."""
    exact: str = ""
    """The definition: each of its matches, and nothing else, is an instance; empty where no pattern defines it."""
    shuffles: bool = True
    """Whether an instance with its residues shuffled is a decoy (a run shuffled is the same run)."""
    ends_only: bool = False
    """Whether the annotation covers the first and last residue only: two rows of one instance."""
    fragment: str = ""
    """What a protein that carries it is also called."""
    go: tuple[str, ...] = ()
    """Gene Ontology terms as ``NAME [GO:ID]``."""
    keywords: tuple[str, ...] = ()
    """UniProt keywords."""
    function: str = ""
    """A sentence for the protein's function."""


@dataclass(frozen=True)
class Architecture:
    """A kind of protein: which elements, and how many of each, between signal peptide and C-terminus."""

    name: str
    """Protein name before its number."""
    gene: str
    """Gene symbol before its number."""
    family: str
    """Name of the protein family, empty for none."""
    parts: tuple[tuple[str, int, int], ...]
    """(element, fewest, most)."""
    weight: float = 1.0
    """Relative frequency."""


_HELIX = "[ADEIKNQRSTV]"
_HEPTAD = "[AILV]-[AEKQRS](2)-[AILM]-[EK]-[ADEKNQRS]-[EKQR]"
_GREASY = "[AFGILMVW]"

ELEMENTS: tuple[Element, ...] = (
    Element(
        "P-loop",
        "Binding site",
        plant=("[AG]-x(4)-G-K-[ST]",),
        near_misses=("[AG]-x(4)-G-[EQR]-[ST]", "[AG]-x(4)-[DENQ]-K-[ST]"),
        exact="[AG]-x(4)-G-K-[ST]",
        fragment="ATP-binding protein",
        go=("ATP binding [GO:0005524]", "ATP hydrolysis activity [GO:0016887]"),
        keywords=("ATP-binding", "Nucleotide-binding"),
        function="Binds and hydrolyzes ATP.",
    ),
    Element(
        "C2H2 zinc finger",
        "Zinc finger",
        plant=("C-x(2,4)-C-x(3)-[FLVY]-x(5)-[ILMV]-x(2)-H-x(3,5)-H",),
        near_misses=(
            "C-x(2,4)-[AS]-x(3)-[FLVY]-x(5)-[ILMV]-x(2)-H-x(3,5)-H",
            "C-x(2,4)-C-x(3)-[FLVY]-x(5)-[ILMV]-x(2)-[NQ]-x(3,5)-H",
        ),
        exact="C-x(2,4)-C-x(3)-[CFILMVWY]-x(8)-H-x(3,5)-H",
        fragment="C2H2-type zinc finger protein",
        go=("zinc ion binding [GO:0008270]", "DNA-binding transcription factor activity [GO:0003700]"),
        keywords=("Zinc-finger", "Zinc", "Metal-binding", "DNA-binding"),
        function="Binds DNA through zinc fingers.",
    ),
    Element(
        "N-glycosylation",
        "Glycosylation",
        plant=("N-{P}-[ST]-{P}",),
        near_misses=("N-P-[ST]-x", "N-{P}-[ST]-P"),
        exact="N-{P}-[ST]-{P}",
        fragment="N-glycosylated protein",
        go=("cell surface [GO:0009986]",),
        keywords=("Glycoprotein",),
        function="N-glycosylated at the cell surface.",
    ),
    Element(
        "leucine zipper",
        "Region",
        plant=(f"L-{_HELIX}(6)-L-{_HELIX}(6)-L-{_HELIX}(6)-L",),
        near_misses=(
            f"L-{_HELIX}(6)-[AEK]-{_HELIX}(6)-L-{_HELIX}(6)-L",
            f"L-{_HELIX}(6)-L-{_HELIX}(6)-[AEK]-{_HELIX}(6)-L",
        ),
        exact="L-x(6)-L-x(6)-L-x(6)-L",
        fragment="leucine-zipper protein",
        go=("protein dimerization activity [GO:0046983]", "sequence-specific DNA binding [GO:0043565]"),
        keywords=("Leucine-zipper",),
        function="Dimerizes through a leucine zipper.",
    ),
    Element(
        "EF-hand",
        "Calcium binding",
        plant=("D-[AKQRT]-[DN]-[GKN]-[DNST]-G-[EFKQTY]-[ILV]-[DNST]-[AEFKL]-[DEKP]-E-[FILM]",),
        near_misses=(
            "[AKV]-[AKQRT]-[DN]-[GKN]-[DNST]-G-[EFKQTY]-[ILV]-[DNST]-[AEFKL]-[DEKP]-E-[FILM]",
            "D-[AKQRT]-[DN]-[GKN]-[DNST]-G-[EFKQTY]-[ILV]-[DNST]-[AEFKL]-[DEKP]-[AKQ]-[FILM]",
        ),
        exact="D-{W}-[DNS]-{FILVWY}-[DEGNST]-[DGHKNQR]-{GP}-[CILMV]-[ACDEGNQST]-x(2)-[DE]-[FILMVWY]",
        fragment="EF-hand protein",
        go=("calcium ion binding [GO:0005509]",),
        keywords=("Calcium", "Metal-binding"),
        function="Binds calcium through EF-hands.",
    ),
    Element(
        "RGD",
        "Motif",
        plant=("R-G-D",),
        near_misses=("R-G-E", "K-G-D"),
        exact="R-G-D",
        fragment="RGD-containing protein",
        go=("integrin binding [GO:0005178]", "cell adhesion [GO:0007155]"),
        keywords=("Cell adhesion",),
        function="Ligand of integrins.",
    ),
    Element(
        "KDEL",
        "Motif",
        plant=("K-D-E-L>",),
        near_misses=("K-D-[AV]-L>", "K-[AST]-E-L>"),
        exact="K-D-E-L>",
        fragment="ER-retained protein",
        go=("endoplasmic reticulum lumen [GO:0005788]",),
        keywords=("Endoplasmic reticulum",),
        function="Retained in the endoplasmic reticulum.",
    ),
    Element(
        "signal peptide",
        "Signal peptide",
        plant=("<M-[KNQRST](2,5)-[AFILV](8,12)-[GQST](2,3)-A-[GQST]-A",),
        near_misses=("<M-[KNQRST](2,5)-[AFILV](4,6)-[DE]-[AFILV](4,6)-[GQST](2,3)-A-[GQST]-A",),
        exact="<M-[KNQRST](2,5)-[AFILV](8,12)-[GQST](2,3)-A-[GQST]-A",
        fragment="secretory-pathway protein",
        go=("extracellular region [GO:0005576]",),
        keywords=("Signal", "Secreted"),
        function="Enters the secretory pathway.",
    ),
    Element(
        "transmembrane helix",
        "Transmembrane",
        plant=(f"{_GREASY}(18,23)",),
        near_misses=(f"{_GREASY}(8,10)-[DEKR]-{_GREASY}(8,10)",),
        exact=f"{_GREASY}(17,)",
        fragment="membrane protein",
        go=("membrane [GO:0016020]",),
        keywords=("Membrane", "Transmembrane", "Transmembrane helix"),
        function="Spans the membrane.",
    ),
    Element(
        "coiled coil",
        "Coiled coil",
        plant=tuple("-".join([_HEPTAD] * n) for n in range(4, 8)),
        near_misses=(),
        fragment="coiled-coil protein",
        go=("cytoskeleton [GO:0005856]",),
        keywords=("Coiled coil", "Cytoskeleton"),
        function="Forms coiled coils.",
    ),
    Element(
        "polyQ",
        "Compositional bias",
        plant=("Q(8,16)",),
        near_misses=("Q(4,5)",),
        exact="Q(7,)",
        shuffles=False,
        fragment="polyglutamine protein",
        go=("transcription coregulator activity [GO:0003712]",),
        keywords=("Transcription",),
        function="Regulates transcription.",
    ),
    Element(
        "polyS",
        "Compositional bias",
        plant=("S(8,14)",),
        near_misses=("S(4,5)",),
        exact="S(7,)",
        shuffles=False,
        fragment="serine-rich protein",
        go=("RNA splicing [GO:0008380]", "nuclear speck [GO:0016607]"),
        keywords=("mRNA splicing",),
        function="Takes part in RNA splicing.",
    ),
    Element(
        "acidic run",
        "Compositional bias",
        plant=("[DE](10,16)",),
        near_misses=("[DE](4,6)",),
        exact="[DE](9,)",
        shuffles=False,
        fragment="acidic protein",
        go=("histone binding [GO:0042393]",),
        keywords=("Chromatin regulator",),
        function="Binds histones.",
    ),
    Element(
        "disulfide bond",
        "Disulfide bond",
        plant=("C-{C}(5,40)-C",),
        near_misses=("C-{C}(5,40)-S", "S-{C}(5,40)-C"),
        shuffles=False,
        ends_only=True,
        fragment="disulfide-bonded protein",
        keywords=("Disulfide bond",),
        function="Stabilized by disulfide bonds.",
    ),
)
"""The catalogue of elements."""

ARCHITECTURES: tuple[Architecture, ...] = (
    Architecture("ATPase", "ATP", "P-loop ATPase", (("P-loop", 1, 2), ("acidic run", 0, 1)), 1.4),
    Architecture("Kinesin-like motor protein", "KNL", "kinesin-like", (("P-loop", 1, 1), ("coiled coil", 1, 2))),
    Architecture(
        "Zinc finger protein", "ZNF", "krueppel C2H2-type", (("C2H2 zinc finger", 1, 4), ("polyQ", 0, 1)), 1.5
    ),
    Architecture(
        "Transcription factor",
        "BZF",
        "bZIP",
        (("leucine zipper", 1, 1), ("polyQ", 0, 1), ("polyS", 0, 1), ("acidic run", 0, 1)),
        1.6,
    ),
    Architecture("Calmodulin-like protein", "CML", "calmodulin-like", (("EF-hand", 1, 4),)),
    Architecture(
        "Secreted glycoprotein",
        "SGP",
        "secreted glycoprotein",
        (("signal peptide", 1, 1), ("N-glycosylation", 1, 4), ("disulfide bond", 1, 3)),
    ),
    Architecture(
        "Integrin ligand",
        "ITL",
        "integrin ligand",
        (("signal peptide", 1, 1), ("RGD", 1, 2), ("disulfide bond", 0, 2), ("N-glycosylation", 0, 2)),
        1.6,
    ),
    Architecture(
        "ER chaperone",
        "ERC",
        "ER chaperone",
        (("signal peptide", 1, 1), ("EF-hand", 0, 2), ("N-glycosylation", 0, 1), ("KDEL", 1, 1)),
        1.4,
    ),
    Architecture(
        "Receptor",
        "RCP",
        "single-pass receptor",
        (("signal peptide", 1, 1), ("N-glycosylation", 1, 3), ("disulfide bond", 0, 2), ("transmembrane helix", 1, 1)),
    ),
    Architecture(
        "Transporter",
        "TRP",
        "multi-pass transporter",
        (("transmembrane helix", 2, 4), ("P-loop", 0, 1), ("N-glycosylation", 0, 1)),
    ),
    Architecture("Filament protein", "FIL", "filament", (("coiled coil", 1, 3), ("polyS", 0, 1))),
    Architecture("Splicing factor", "SPF", "splicing factor", (("polyS", 1, 2), ("polyQ", 0, 1), ("acidic run", 0, 1))),
    Architecture("Uncharacterized protein", "UNC", "", (), 1.5),
)
"""The catalogue of proteins."""

_TOKEN = re.compile(r"(x|[A-Z]|\[[A-Z]+\]|\{[A-Z]+\})(?:\((\d+)(?:(,)(\d*))?\))?")


def read_pattern(pattern: str) -> list[tuple[str, int, int | None]]:
    """Read a PROSITE pattern, its anchors left out, as (allowed residues, fewest, most); ``None`` for an open count."""
    steps: list[tuple[str, int, int | None]] = []
    for token in pattern.strip("<>").split("-"):
        match = _TOKEN.fullmatch(token)
        assert match, f"not PROSITE syntax: {token!r} in {pattern!r}"
        letters, low, comma, high = match.groups()
        if letters == "x":
            allowed = LETTERS
        elif letters[0] == "{":
            allowed = "".join(c for c in LETTERS if c not in letters)
        else:
            allowed = "".join(c for c in LETTERS if c in letters)
        fewest = int(low or 1)
        steps.append((allowed, fewest, (int(high) if high else None) if comma else fewest))
    return steps


def regexes(pattern: str) -> list[re.Pattern[bytes]]:
    """Regular expressions that together find every match of a PROSITE pattern, one for each choice of counts.

    An expression with variable counts finds one match at a start; with fixed counts none is hidden behind another.
    """
    steps = read_pattern(pattern)
    before, after = r"\A" if pattern.startswith("<") else "", r"\Z" if pattern.endswith(">") else ""
    if len(steps) == 1 and steps[0][2] is None:
        allowed, fewest, _ = steps[0]
        return [re.compile(f"(?<![{allowed}])[{allowed}]{{{fewest},}}(?![{allowed}])".encode())]
    choices = itertools.product(*(range(low, (high or low) + 1) for _, low, high in steps))
    bodies = ("".join(f"[{s[0]}]{{{n}}}" for s, n in zip(steps, counts, strict=True)) for counts in choices)
    return [re.compile(f"{before}{body}{after}".encode()) for body in bodies]
