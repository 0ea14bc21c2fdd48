"""The subject and the coder that a run is about."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from autointerp.errors import UsageError
from autointerp.files import read_json
from autointerp.report.joined import place_of, settings_of

if TYPE_CHECKING:
    from autointerp.clients.local.studied import Studied


def manifest_of(run: Path) -> dict[str, Any]:
    """The manifest of the cache that the run in a folder was made from; empty where it is not at hand."""
    cache = place_of(run, "cache")
    return read_json(cache / "cache.json") if cache is not None and (cache / "cache.json").exists() else {}


def load_studied(
    run: str | Path,
    subject: str | None = None,
    coder: str | None = None,
    *,
    hook: str | None = None,
    device: str = "cpu",
) -> Studied:
    """Load the subject and the coder of a run.

    Parameters
    ----------
    subject, coder, hook : by default those of ``run.toml``, or else of the cache that it names; a coder that neither
        names is looked for in a folder ``coder`` beside the run.

    Raises
    ------
    UsageError : one is not known, or the coder is not that of the cache.
    """
    from autointerp.clients.local.studied import Studied

    run = Path(run)
    settings, manifest = settings_of(run), manifest_of(run)
    about = manifest.get("subject", {})
    subject = subject or settings.get("subject") or about.get("name")
    beside = run.absolute().parent / "coder"
    coder = coder or settings.get("coder") or (str(beside) if beside.is_dir() else None)
    for name, value in (("subject", subject), ("coder", coder)):
        if not value:
            gone = settings.get("cache") if not manifest else None
            why = f", and its cache {gone} is not there" if gone else ""
            raise UsageError(f"{run} does not say which {name} it is about{why}: give --{name}")
    studied = Studied(subject, coder, hook or about.get("hook"), manifest.get("level"), device)
    wanted = manifest.get("coder", {}).get("digest")
    if wanted and studied.coder.digest != wanted:
        raise UsageError(
            f"coder {coder} (digest {studied.coder.digest[:12]}…) is not that of the run's cache ({wanted[:12]}…): its "
            "features are others; give the right one with --coder"
        )
    return studied
