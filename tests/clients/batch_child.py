"""A process of a batch run, to be killed: asks thirty questions through the server named on its command line."""

from __future__ import annotations

import asyncio
import sys

from autointerp.clients import ModelSpec
from autointerp.records import Message, Request
from autointerp.store import RunStore
from tests.clients.batch_stack import make


async def main(text: str, folder: str) -> None:
    spec = ModelSpec.parse(text)
    requests = [Request((Message("user", f"word {i}"),), temperature=None) for i in range(30)]
    with RunStore.open(folder) as store:
        async with make(spec, store) as client:
            outcomes = await asyncio.gather(*(client.generate(request) for request in requests))
    print(sorted(getattr(outcome, "text", str(outcome)) for outcome in outcomes))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
