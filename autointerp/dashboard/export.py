"""The dashboard as a static site: one small script per payload, so that it opens from disk or any file server."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache, partial
from importlib.resources import files
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autointerp.dashboard.pages import pages
from autointerp.dashboard.run import Options, Run, open_runs
from autointerp.dashboard.site import as_bytes, asset_names, index_html, site
from autointerp.errors import UsageError, disk_errors
from autointerp.progress import Observer, Stage

if TYPE_CHECKING:
    from autointerp.dashboard.page import Payload

MARKER = "autointerp-dashboard.txt"
AT_ONCE = 50
"""Payloads that a process makes before it says so."""


def export_site(
    runs: Sequence[Run], out: Path, *, features: Sequence[int] | None = None, processes: int | None = None,
    observer: Observer | None = None,
) -> int:  # fmt: skip
    """Write the site of ``runs`` into ``out``; return how many payloads it has.

    Parameters
    ----------
    features : only the pages of these features; the table lists all. processes : as many as there are processors.

    Raises
    ------
    UsageError : ``out`` holds something that is no such site.
    """
    if out.exists() and any(out.iterdir()) and not (out / MARKER).exists():
        raise UsageError(f"{out} is not empty and no exported dashboard; choose another --export")
    out.mkdir(parents=True, exist_ok=True)
    (out / MARKER).write_text("written by `autointerp dashboard --export`; open index.html\n", encoding="utf-8")
    with disk_errors("writing the site", out):
        for name in asset_names():
            target = out / "assets" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((files("autointerp.dashboard") / "assets" / name).read_bytes())
        (out / "index.html").write_text(index_html(live=False), encoding="utf-8")
        _write(out, "site", site(runs, live=False))
        names = [(run.slug, name) for run in runs for name in _names(run, features)]
        return 1 + write_payloads(runs, names, out, processes or os.cpu_count() or 1, observer)


def _names(run: Run, features: Sequence[int] | None) -> Iterator[str]:
    """Names of a run's payloads; of features only those wanted."""
    wanted = None if features is None else {f"feature/{feature}" for feature in features}
    for page in pages().values():
        for name in page.exported(run):
            if wanted is None or name in wanted or not name.startswith("feature/"):
                yield name


def write_payloads(
    runs: Sequence[Run], names: list[tuple[str, str]], out: Path, processes: int, observer: Observer | None = None
) -> int:
    """Write the payloads of those names, (run, name), into the site in ``out``; return how many."""
    parts = list(_batches(names, AT_ONCE))
    with Stage(observer, "exporting", len(names), "page") as stage:
        if processes == 1 or len(parts) < 2 * processes:
            for part in parts:
                stage.advance(_write_part(runs, part, out))
            return len(names)
        # spawned, because a forked process shares connections of SQLite with its parent, which SQLite forbids
        what: Opened = (tuple((run.name, run.folder) for run in runs), runs[0].options)
        with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
            for n in pool.map(partial(_in_process, what, out), parts):
                stage.advance(n)
    return len(names)


def _batches(names: Iterable[tuple[str, str]], n: int) -> Iterator[list[tuple[str, str]]]:
    rest = iter(names)
    while part := list(islice(rest, n)):
        yield part


Opened = tuple[tuple[tuple[str, Path], ...], Options]
"""What a process needs to open the runs for itself: their names and folders, and the options."""


@lru_cache(maxsize=1)
def _open(what: Opened) -> list[Run]:
    return open_runs(dict(what[0]), what[1])


def _in_process(what: Opened, out: Path, part: list[tuple[str, str]]) -> int:
    return _write_part(_open(what), part, out)


def _write_part(runs: Sequence[Run], part: list[tuple[str, str]], out: Path) -> int:
    by_slug = {run.slug: run for run in runs}
    for slug, name in part:
        _write(out, f"{slug}/{name}", _made(by_slug[slug], name))
    return len(part)


def _made(run: Run, name: str) -> Any:
    """The payload of that name."""
    make, parts = _resolved(name)
    return make(run, **parts)


def _resolved(name: str) -> tuple[Payload, dict[str, str]]:
    """The function behind a payload's name, and the parts of the name."""
    words = name.split("/")
    for page in pages().values():
        for pattern, make in page.payloads.items():
            shape = pattern.split("/")
            if len(shape) == len(words) and all(s == w or s.startswith("{") for s, w in zip(shape, words, strict=True)):
                return make, {s[1:-1]: w for s, w in zip(shape, words, strict=True) if s.startswith("{")}
    raise UsageError(f"no page makes the payload {name!r}")


def _write(out: Path, name: str, value: Any) -> None:
    """A script that hands the payload to the page: a page from disk may load scripts, and nothing else."""
    path = out / "data" / f"{name}.js"
    body = b'Dashboard.receive("' + name.encode() + b'",' + as_bytes(value) + b");\n"
    try:
        path.write_bytes(body)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
