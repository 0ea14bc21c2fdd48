"""``autointerp annotate``: which features fire where on given sequences, and what is known of them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from tyro.conf import Positional

from autointerp.errors import UsageError

if TYPE_CHECKING:
    from autointerp.annotating import Annotated as Found


@dataclass(frozen=True)
class Config:
    """Which features fire where on sequences, with their explanations, concepts and GO terms, from a run's tables."""

    fasta: Annotated[Path | None, Positional] = None
    """FASTA of proteins, gzipped or not; of a text model a file with a text a line."""
    run: Path | None = None
    """Folder of the run."""
    sequence: tuple[str, ...] = ()
    """Amino acids, instead of a file or besides; several may follow each other."""
    text: tuple[str, ...] = ()
    """Texts, for a text model."""
    subject: str | None = None
    """The model under study; by default that of the run."""
    coder: str | None = None
    """Its coder; by default that of the run, or a folder coder beside it."""
    hook: str | None = None
    """Where the coder reads; by default as the run's cache says, or the coder."""
    device: str = "cpu"
    """Where they compute: cpu, cuda, cuda:1, or auto."""
    out: Path | None = None
    """File to write; by default the terminal."""
    format: Literal["tsv", "json", "html"] | None = None
    """By default as --out ends, else tsv."""
    top: int | None = 20
    """Features of a sequence, the best ranked."""
    all: bool = False
    """All features, not the --top best."""
    by: Literal["share", "activation", "coverage", "sum"] = "share"
    """What features are ranked by: share of their maximum in the corpus, activation, tokens covered, or sum."""
    min_share: float = 0.1
    """Activations below this share of the feature's maximum do not count."""
    positions: str | None = None
    """Only what fires here: ranges of residues such as 10-40,77; counted from 1, ends included."""
    coverage: str = "0,1"
    """Only features that fire on a share of the tokens between these."""
    features: str | None = None
    """Only these: a range 0:1000, or a list 1,5,9."""

    POSITIONAL: ClassVar[bool] = True


def run(config: Config) -> None:
    """Read, annotate, write."""
    if config.run is None:
        raise UsageError("--run is missing: the folder of the run whose tables say what features mean")
    from autointerp.annotating import FeatureTables, iter_annotated, load_studied
    from autointerp.annotating.studied import manifest_of
    from autointerp.commands.run import parse_features

    kind = config.format or {".json": "json", ".html": "html", ".htm": "html"}.get(Path(config.out or "").suffix, "tsv")
    chosen = parse_features(config.features)
    filters: dict[str, Any] = {
        "min_share": config.min_share,
        "positions": ranges(config.positions),
        "coverage": _pair(config.coverage),
        "features": None if chosen is None else list(chosen),
        "top": None if config.all else config.top,
        "by": config.by,
    }
    studied = load_studied(config.run, config.subject, config.coder, hook=config.hook, device=config.device)
    protein = studied.subject.kind == "protein"
    ids, texts = read(config, protein)
    pooling = manifest_of(config.run).get("settings", {}).get("pooling") or "states"
    found = iter_annotated(
        texts,
        studied.subject,
        studied.coder,
        FeatureTables.open(config.run),
        ids=ids,
        hook=studied.hook,
        level=studied.level,
        pooling=pooling,
        **filters,
    )
    facts = {"run": str(config.run), "subject": studied.subject.name, "hook": studied.hook}
    write(config.out, pieces(found, kind, facts, protein))


def pieces(found: Iterable[Found], kind: str, facts: dict[str, Any], protein: bool) -> Iterator[bytes]:
    """The output, piece by piece."""
    from autointerp.annotating.page import html_pieces
    from autointerp.annotating.writing import json_pieces, tsv_lines

    if kind == "json":
        return json_pieces(found, facts)
    if kind == "html":
        title = f"Features of {Path(str(facts['subject'])).name}, {facts['hook']}"
        return (piece.encode("utf-8", "replace") for piece in html_pieces(found, title, protein=protein))
    return (f"{line}\n".encode("utf-8", "replace") for line in tsv_lines(found))


def write(out: Path | None, parts: Iterable[bytes]) -> None:
    """Into a file, whole or not at all, or to the terminal."""
    from autointerp.files import atomic_open

    if out is None:
        for part in parts:
            sys.stdout.write(part.decode())
        return
    with atomic_open(out) as handle:
        for part in parts:
            handle.write(part)
    print(f"wrote {out}")


def read(config: Config, protein: bool) -> tuple[list[str], list[str]]:
    """Ids and sequences of everything that is given.

    Raises
    ------
    UsageError : nothing is, what does not go with the subject, or letters that stand for no amino acid.
    """
    if not protein and config.sequence:
        raise UsageError("--sequence is for protein models; give --text to this text model")
    if protein and config.text:
        raise UsageError("--text is for text models; give --sequence to this protein model")
    ids, texts = _of_file(config.fasta, protein) if config.fasta else ([], [])
    given = config.sequence if protein else config.text
    ids += [f"sequence-{i + 1}" if protein else f"text-{i + 1}" for i in range(len(given))]
    texts += given
    if not texts:
        raise UsageError("nothing to annotate: give a FASTA, --sequence ACDE… or --text")
    return ids, [_residues(i, t) for i, t in zip(ids, texts, strict=True)] if protein else texts


def _of_file(path: Path, protein: bool) -> tuple[list[str], list[str]]:
    from autointerp.corpus.entries import Source, Tally, open_text
    from autointerp.corpus.fasta import read_fasta

    if not path.is_file():
        raise UsageError(f"no such file: {path}")
    if protein:
        entries = list(read_fasta(Source(str(path)), Tally()))
        return [entry.id for entry in entries], [entry.text for entry in entries]
    with open_text(str(path)) as handle:
        lines = [line.rstrip("\n") for line in handle if line.strip()]
    return [f"line-{i + 1}" for i in range(len(lines))], lines


def _residues(name: str, text: str) -> str:
    text = "".join(text.split()).upper().rstrip("*")
    if bad := sorted({letter for letter in text if not ("A" <= letter <= "Z")}):
        raise UsageError(f"sequence {name} holds {''.join(bad)[:20]!r}; amino acids are letters A to Z")
    return text


def ranges(text: str | None) -> tuple[tuple[int, int], ...]:
    """``10-40,77`` counted from 1 with both ends, as half-open ranges from 0.

    Raises
    ------
    UsageError : something else.
    """
    found = []
    for part in (text or "").split(",") if text else ():
        first, _, last = part.strip().partition("-")
        try:
            a, b = int(first), int(last or first)
        except ValueError:
            a = b = 0
        if not 1 <= a <= b:
            raise UsageError(f"--positions {text}: give ranges such as 10-40,77, from 1 on")
        found.append((a - 1, b))
    return tuple(found)


def _pair(text: str) -> tuple[float, float]:
    try:
        low, high = map(float, text.split(","))
    except ValueError:
        raise UsageError(f"--coverage {text}: give two shares, such as 0,0.5") from None
    return low, high
