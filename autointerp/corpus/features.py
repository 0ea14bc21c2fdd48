"""UniProt feature columns: ``DOMAIN 3..49; /note="F-box"; /evidence="…"; DOMAIN …`` to annotations."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from autointerp.corpus.entries import Annotation

LABELS = (
    "Active site", "Binding site", "Metal binding", "Nucleotide binding", "Calcium binding", "DNA binding", "Site",
    "Disulfide bond", "Cross-link", "Glycosylation", "Lipidation", "Modified residue", "Non-standard residue",
    "Signal peptide", "Transit peptide", "Propeptide", "Helix", "Turn", "Beta strand", "Coiled coil",
    "Compositional bias", "Domain", "Motif", "Region", "Repeat", "Zinc finger", "Transmembrane",
    "Topological domain", "Intramembrane",
)  # fmt: skip
"""Feature types that become annotations."""
NOT_LABELS = (
    "Chain", "Peptide", "Initiator methionine", "Alternative sequence", "Natural variant", "Mutagenesis",
    "Sequence conflict", "Sequence uncertainty", "Non-adjacent residues", "Non-terminal residue",
)  # fmt: skip
"""Feature types that say how a protein is made, or how entries differ, not what a stretch of it is: never labels."""
ENDS_ONLY = ("Disulfide bond", "Cross-link")
"""Feature types whose two positions are the two linked residues, not a range."""

_TYPES = {name.lower(): name for name in (*LABELS, *NOT_LABELS)}
# A key with its position, or a qualifier; a quote inside a quoted value is doubled.
_TOKEN = re.compile(
    r'\s*(?:/(?P<name>\w+)="(?P<value>(?:[^"]|"")*)"|(?P<key>[A-Z][A-Z_]+) (?P<position>[^;]+))\s*(?:;|$)'
)
_POSITION = re.compile(r"(\d+)(?:\.\.(\d+))?")


KEYS = {
    "INIT_MET": "Initiator methionine", "SIGNAL": "Signal peptide", "PROPEP": "Propeptide", "CHAIN": "Chain",
    "TRANSIT": "Transit peptide", "PEPTIDE": "Peptide", "TOPO_DOM": "Topological domain", "TRANSMEM": "Transmembrane",
    "INTRAMEM": "Intramembrane", "DOMAIN": "Domain", "REPEAT": "Repeat", "CA_BIND": "Calcium binding",
    "ZN_FING": "Zinc finger", "DNA_BIND": "DNA binding", "NP_BIND": "Nucleotide binding", "REGION": "Region",
    "COILED": "Coiled coil", "MOTIF": "Motif", "COMPBIAS": "Compositional bias", "ACT_SITE": "Active site",
    "METAL": "Metal binding", "BINDING": "Binding site", "SITE": "Site", "NON_STD": "Non-standard residue",
    "MOD_RES": "Modified residue", "LIPID": "Lipidation", "CARBOHYD": "Glycosylation", "DISULFID": "Disulfide bond",
    "CROSSLNK": "Cross-link", "VAR_SEQ": "Alternative sequence", "VARIANT": "Natural variant",
    "MUTAGEN": "Mutagenesis", "UNSURE": "Sequence uncertainty", "CONFLICT": "Sequence conflict",
    "NON_CONS": "Non-adjacent residues", "NON_TER": "Non-terminal residue", "HELIX": "Helix", "TURN": "Turn",
    "STRAND": "Beta strand",
}  # fmt: skip
"""Feature types by the keys of the flat file."""


def feature_type(column: str) -> str | None:
    """The feature type of a UniProt column (``"Domain [FT]"`` → ``"Domain"``), or None."""
    return _TYPES.get(column.strip().lower().removesuffix("[ft]").rstrip())


def read_features(type_: str, value: str, length: int, first: int, skipped: list[str]) -> list[Annotation]:
    """Annotations of one feature column of one entry.

    Parameters
    ----------
    type_ : feature type, one of :data:`LABELS` or :data:`NOT_LABELS` (counted, none returned).
    value : content of the column.
    length : residues of the sequence.
    first : number of the first instance.
    skipped : takes the reason of each feature that is left out.

    Returns
    -------
    One row a region, or one a residue and the same ``instance`` for the two ends of a bond. ``label`` is the ligand, or
    the note up to its first ``;``, or ``"any"``.
    """
    return to_annotations(((type_, *feature) for feature in split_features(value, skipped)), length, first, skipped)


def to_annotations(
    features: Iterable[tuple[str, str, Mapping[str, str]]], length: int, first: int, skipped: list[str]
) -> list[Annotation]:
    """Annotations of (type, position, qualifiers), whatever the format they were written in; see :func:`read_features`.

    Parameters
    ----------
    features : position as UniProt writes it, ``3..49`` (from 1, inclusive); of the qualifiers ``ligand`` and ``note``.
    """
    rows: list[Annotation] = []
    for type_, position, qualifiers in features:
        if type_ in NOT_LABELS:
            skipped.append(f"not a label: {type_}")
            continue
        span = _span(position, length)
        if isinstance(span, str):
            skipped.append(span)
            continue
        note = qualifiers.get("ligand") or qualifiers.get("note", "")
        label = note.split(";")[0].strip() or "any"
        start, end = span
        bond = type_ in ENDS_ONLY and end - start > 1
        pieces = [(start, start + 1), (end - 1, end)] if bond else [span]
        rows.extend(Annotation(a, b, type_, label, first) for a, b in pieces)
        first += 1
    return rows


def split_features(value: str, skipped: list[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """(position, qualifiers) of each feature in one cell of a table, as they are written."""
    qualifiers: dict[str, str] = {}
    position, at = "", 0
    while match := _TOKEN.match(value, at):
        at = match.end()
        if match["key"]:
            if position:
                yield position, qualifiers
            position, qualifiers = match["position"].strip(), {}
        else:
            qualifiers[match["name"]] = match["value"].replace('""', '"')
    if position:
        yield position, qualifiers
    if value[at:].strip():
        skipped.append("unreadable feature text")


def _span(position: str, length: int) -> tuple[int, int] | str:
    """``"3..49"`` (1-based, inclusive) as (2, 49), or the reason why not."""
    if ":" in position:
        return "position on another isoform"
    if "?" in position:
        return "unknown position (?)"
    if "<" in position or ">" in position:
        return "fuzzy position (< or >)"
    match = _POSITION.fullmatch(position)
    if not match:
        return "unreadable position"
    start, end = int(match[1]) - 1, int(match[2] or match[1])
    if not 0 <= start < end:
        return "unreadable position"
    return (start, end) if end <= length else "past the end of the sequence"
