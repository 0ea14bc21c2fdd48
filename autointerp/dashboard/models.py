"""The subject and the coder of a run, loaded when a reader first asks something of them; one question at a time."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

from autointerp.errors import AutointerpError, UsageError

if TYPE_CHECKING:
    from autointerp.clients.local.studied import Studied
    from autointerp.dashboard.run import Run

T = TypeVar("T")
LONGEST = 100_000
"""Characters that may be pasted."""


class Models:
    """What answers for a run.

    A question that comes while another is answered is refused at once: a queue of forward passes would take every
    thread that the site answers from.
    """

    def __init__(self, run: Run) -> None:
        self._run, self._turn = run, Lock()
        self._studied: Studied | None = None

    def ask(self, question: Callable[[Studied], T]) -> T:
        """The answer to ``question``; the models are loaded first, if they are not yet.

        Raises
        ------
        AutointerpError : busy, or a model that cannot be loaded.
        """
        if not self._turn.acquire(blocking=False):
            doing = "at another question" if self._studied else "being loaded"
            raise AutointerpError(f"The model is {doing}; ask again when it is done.")
        try:
            if self._studied is None:
                self._studied = self._load()
            return question(self._studied)
        finally:
            self._turn.release()

    def _load(self) -> Studied:
        from autointerp.annotating import load_studied

        run, options = self._run, self._run.options
        about = {} if run.cache is None else run.cache.manifest["subject"]  # --cache may name another than run.toml
        subject = options.subject or run.settings.get("subject") or about.get("name")
        return load_studied(run.folder, subject, options.coder, hook=about.get("hook"), device=options.device)


def cleaned(text: Any, kind: str) -> tuple[str, str]:
    """(name, sequence) of what was pasted: a text as it is; a protein bare or as FASTA, without spaces.

    Raises
    ------
    UsageError : nothing, too much, several sequences, or what is no sequence of residues.
    """
    text = text if isinstance(text, str) else ""
    if not text.strip():
        raise UsageError("Paste a sequence or a text first.")
    if len(text) > 2 * LONGEST:
        raise UsageError(f"{len(text):,} characters; at most {LONGEST:,} can be tried at once")
    name = ""
    if kind == "protein":
        lines = text.strip().splitlines()
        headers = [line[1:].strip() for line in lines if line.startswith(">")]
        if len(headers) > 1:
            raise UsageError(f"{len(headers)} sequences were pasted; paste one of them")
        name = headers[0] if headers else ""
        text = "".join("".join(line.split()) for line in lines if not line.startswith(">")).rstrip("*")
        if odd := sorted({c for c in text if not (c.isascii() and (c.isalpha() or c in "*-."))}):
            raise UsageError(f"{odd[0]!r} is no residue; paste one-letter codes, or FASTA")
    if not text.strip():
        raise UsageError("The sequence is empty.")
    if len(text) > LONGEST:
        raise UsageError(f"{len(text):,} characters; at most {LONGEST:,} can be tried at once")
    return name[:200], text
