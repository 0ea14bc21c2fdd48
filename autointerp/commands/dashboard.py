"""``autointerp dashboard``: look at runs in a browser."""

from __future__ import annotations

import asyncio
import secrets
import sys
import webbrowser
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from tyro.conf import Positional

from autointerp.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from autointerp.dashboard import Run


@dataclass(frozen=True)
class Config:
    """Look at runs in a browser: features, explanations and why they scored so, contexts, proteins, progress."""

    runs: Annotated[tuple[Path, ...], Positional]
    """Folders of runs."""
    names: str | None = None
    """What to call the runs, separated by commas; by default the names of their folders."""
    export: Path | None = None
    """Write a static site into this folder instead: it opens from disk and from any file server."""
    host: str = "127.0.0.1"
    """Address to answer at; one that others can reach asks them for a token."""
    port: int = 8631
    """Port to answer at; 0 for any that is free. A taken one is an error."""
    token: str | None = None
    """The token asked for; by default a new one is made where --host can be reached by others."""
    open: bool = True
    """Open the browser."""
    cache: Path | None = None
    """Folder of the cache, where it is not the one that run.toml names."""
    corpus: Path | None = None
    """Folder of the corpus, likewise."""
    structures: Path | None = None
    """Folder of PDB or mmCIF files, named by the sequences' ids, for the protein view."""
    subject: str | None = None
    """Subject for trying texts and steering; by default the cache's."""
    coder: str | None = None
    """Coder for the same; by default the run's."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where these run."""

    POSITIONAL: ClassVar[bool] = True


def run(config: Config) -> None:
    """Serve the pages until Ctrl-C, or write them."""
    from autointerp.commands.report import named
    from autointerp.dashboard import Options, export_site, open_runs

    if not config.runs:
        raise UsageError("give the folder of a run, or of several")
    if not 0 <= config.port < 65536:
        raise UsageError(f"--port {config.port}: 0 … 65535")
    if len(config.runs) > 1 and (config.cache or config.corpus):
        raise UsageError("--cache and --corpus are for one run")
    options = Options(config.cache, config.corpus, config.structures, config.subject, config.coder, config.device)
    runs = open_runs(named(config.runs, config.names), options)
    try:
        if config.export:
            from autointerp.progress import Bars

            n = export_site(runs, config.export, observer=Bars() if sys.stderr.isatty() else None)
            print(f"wrote {config.export / 'index.html'} and {n:,} payloads; open it, or serve the folder")
            return
        asyncio.run(serve(runs, config))
    finally:
        for one in runs:
            one.close()


async def serve(runs: Sequence[Run], config: Config) -> None:
    """Answer until cancelled."""
    from aiohttp import web

    from autointerp.dashboard import make_app
    from autointerp.dashboard.overview import table
    from autointerp.dashboard.server import LOCAL

    local = config.host in LOCAL
    token = config.token if config.token is not None else "" if local else secrets.token_urlsafe(16)
    if not local and not token:
        raise UsageError(f"--host {config.host} can be reached by others: --token must not be empty")
    runner = web.AppRunner(make_app(runs, token=token, local=local), access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, config.host, config.port, shutdown_timeout=1)
        try:
            await site.start()
        except OSError as error:
            raise UsageError(
                f"--port {config.port} on {config.host}: {error.strerror}; --port 0 takes a free one"
            ) from None
        port = runner.addresses[0][1]
        host = f"[{config.host}]" if ":" in config.host else config.host
        address = f"http://{host}:{port}/" + (f"?token={token}" if token else "")
        print(f"{address}\nCtrl-C ends it", flush=True)
        for one in runs:  # while the browser starts
            asyncio.get_running_loop().run_in_executor(None, table, one)
        if config.open:
            webbrowser.open(address)
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()
