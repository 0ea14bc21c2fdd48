"""A study in a process that logs everything and prints every object it holds; its parent looks for a key in that."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

from autointerp import DefaultExplainer, DetectionScorer, Pipeline, RunStore, connect
from autointerp.clients import Limits
from autointerp.commands.run import Config
from autointerp.commands.settings import to_toml
from autointerp.errors import AutointerpError
from autointerp.report import write_report
from tests.studies import planted_loader


async def one(study: Path, out: Path, spec: str, given: str | None) -> None:
    """One study; what ends it is printed with its traceback."""
    limits = Limits(max_in_flight=4, backoff_s=1e-3, backoff_cap_s=0.01)
    with RunStore.open(out) as store:
        seen: list[Any] = [limits, store]
        try:
            client = connect(spec, store=store, limits=limits, api_key=given)
            loader = planted_loader(study)
            pipeline = Pipeline(loader, DefaultExplainer(), [DetectionScorer()], client=client, store=store)
            seen += [
                client,
                client.spec,
                client._backend,
                pipeline,
                loader,
                pipeline.results,
                pipeline.estimate([0, 1]),
            ]
            (out / "run.toml").write_text(to_toml("run", Config(Path("c"), Path("c"), out, client=spec)))
            async with client:
                seen += [await pipeline.run(range(6)), client.statistics, client.flow]
        except AutointerpError as error:
            traceback.print_exc()
            seen += [error, error.__cause__, error.__context__, error.args]
        seen += [store.failures(), store.spend(), store.scores().to_pylist(), store.explanations().to_pylist()]
        print(*map(repr, seen), *map(str, seen), sep="\n")
        if len(store.explanations()):
            write_report(store)


def main() -> None:
    """``python -m tests.clients.canary_child STUDY OUT [[name, spec, whether the key is given], …]``."""
    logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
    study, out, given = Path(sys.argv[1]), Path(sys.argv[2]), os.environ["CANARY"]
    for name, spec, explicit in json.loads(sys.argv[3]):
        asyncio.run(one(study, out / name, spec, given if explicit else None), debug=True)
    for path in (Path("/proc/self/cmdline"), *Path("/proc/self/task").glob("*/comm")):
        with suppress(OSError):  # a thread that ended meanwhile has no name any more
            print(path.read_bytes())


if __name__ == "__main__":
    main()
