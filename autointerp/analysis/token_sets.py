"""Sets of tokens that mean something together: which of them a feature's effect on the logits favours."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from autointerp.errors import FormatError

RESIDUE_SETS = {
    "hydrophobic": "AVILMFWC",
    "aromatic": "FWYH",
    "aliphatic": "AVIL",
    "positive": "KRH",
    "negative": "DE",
    "polar": "STNQ",
    "small": "GASCTP",
    "tiny": "GAS",
    "large": "FWYRKM",
    "helix-forming": "AELMQKR",
    "strand-forming": "VIYFWT",
    "turn-forming": "GPNDS",
    "amide": "NQ",
    "sulphur": "CM",
    "hydroxyl": "STY",
}
"""Residues by chemistry (Taylor 1986, doi:10.1016/0022-5193(86)90075-3) and by preference (Chou & Fasman 1978)."""
SHAPES = {
    "begins a word": r"[ ▁Ġ]\w.*",
    "continues a word": r"[^\W\d_].*",
    "capitalised": r"\s*[A-Z][a-z]+",
    "all capitals": r"\s*[A-Z]{2,}",
    "one letter": r"\s*[^\W\d_]",
    "number": r"\s*\d+",
    "punctuation": r"\s*[^\w\s]+",
    "space": r"\s+",
    "ends in -ing": r"\s*\w*ing",
    "ends in -ed": r"\s*\w+ed",
    "ends in -ly": r"\s*\w+ly",
    "ends in -s": r"\s*\w+[^s\W]s",
    "beyond ASCII": r".*[^\x00-\x7f].*",
}
"""Tokens by what they look like: a regular expression that the whole token matches."""
WORDS = {
    "pronouns": "i you he she it we they me him her us them my your his its our their mine yours hers ours theirs",
    "female": "she her hers girl woman mother mom mum sister daughter aunt queen lady mrs miss",
    "male": "he him his boy man father dad brother son uncle king mr sir",
    "articles and determiners": "a an the this that these those some any each every no another",
    "prepositions": "of in to for with on at from by about into over after under above through between against",
    "conjunctions": "and but or nor so yet because if while when although though unless until since",
    "forms of be, have, do": "be am is are was were been being have has had having do does did done doing",
    "modal verbs": "can could will would shall should may might must",
    "negations": "no not never none nothing nobody nor neither cannot n't",
    "question words": "who what when where why how which whose whom",
    "numbers in words": "one two three four five six seven eight nine ten hundred thousand million first second third",
    "months and days": "january february march april may june july august september october november december monday "
    "tuesday wednesday thursday friday saturday sunday",
    "saying": "say says said tell tells told ask asks asked answer answered reply replied shout shouted call called",
    "feelings": "happy sad angry scared afraid excited proud sorry surprised worried love hate glad upset mad",
}
"""Words, matched without case and surrounding space."""
LEAST = 2
"""Tokens that a set needs."""


def read_token_sets(path: Path) -> dict[str, list[str]]:
    """A user's sets: a JSON object of name to list of tokens.

    Raises
    ------
    FormatError : it is not that.
    """
    expected = "a JSON object of names to lists of tokens"
    try:
        sets = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise FormatError(path, expected, str(error.strerror)) from None
    except ValueError as error:
        raise FormatError(path, expected, f"text that is not JSON ({error})") from None
    right = isinstance(sets, dict) and all(
        isinstance(words, list) and all(isinstance(w, str) for w in words) for words in sets.values()
    )
    if not right:
        raise FormatError(path, expected, "other JSON")
    return sets


def membership(
    tokens: Sequence[str], kind: str, extra: Mapping[str, Sequence[str]] | None = None
) -> tuple[list[str], np.ndarray]:
    """Names of the sets that have tokens here, and which: (n_sets,), (n_tokens, n_sets) bool.

    Parameters
    ----------
    tokens : texts of the tokens. kind : ``protein`` or ``text``. extra : further sets, of tokens without their space.
    """
    folded = np.array([token.strip(" ▁Ġ\n").lower() for token in tokens], object)
    found: dict[str, np.ndarray] = {}
    if kind == "protein":
        for name, residues in RESIDUE_SETS.items():
            found[name] = np.isin(folded, list(residues.lower()))
    else:
        for name, shape in SHAPES.items():
            matches = re.compile(shape).fullmatch
            found[name] = np.array([matches(token) is not None for token in tokens])
        for name, words in WORDS.items():
            found[name] = np.isin(folded, words.split())
    for name, chosen in (extra or {}).items():
        found[name] = np.isin(folded, [word.strip().lower() for word in chosen])
    kept = {name: column for name, column in found.items() if LEAST <= column.sum() < len(tokens)}
    return list(kept), np.stack(list(kept.values()), 1) if kept else np.zeros((len(tokens), 0), bool)
