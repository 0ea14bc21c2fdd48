"""What other tools export, read into a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from autointerp.errors import FormatError, UsageError

if TYPE_CHECKING:
    from autointerp.export.landing import Landed

EXPECTED = (
    "a Neuronpedia export (features, activations or explanations with batch-N.jsonl.gz) or a delphi run "
    "(explanations/HOOK_latentN.txt, scores)"
)


def import_run(source: str | Path, out: str | Path, *, hook: str | None = None, kind: str | None = None) -> Landed:
    """Read what lies at ``source`` into a new run at ``out``, with a corpus and a cache of the contexts it carries.

    Parameters
    ----------
    hook : of a delphi run with several hookpoints. kind : ``protein`` or ``text``; found from the tokens by default.

    Raises
    ------
    UsageError : ``out`` is taken, or one of several sources or hookpoints is to be chosen.
    FormatError : nothing that is known, or a file that is not what it should be.
    """
    from autointerp.export import from_delphi, from_neuronpedia

    source, out = Path(source), Path(out)
    if not source.is_dir():
        raise FormatError(source, EXPECTED, "a file" if source.exists() else "no such folder")
    if from_delphi.is_delphi(source):
        return from_delphi.read(source, out, hook, kind)
    folder = from_neuronpedia.find(source)
    if folder is None:
        found = ", ".join(sorted(p.name for p in source.iterdir())[:6]) or "an empty folder"
        raise FormatError(source, EXPECTED, found)
    if hook is not None:
        raise UsageError("--hook chooses a hookpoint of a delphi run; this is a Neuronpedia export")
    return from_neuronpedia.read(folder, out, kind)
