"""Asks each of the model strings given once, and prints what came of it."""

from __future__ import annotations

import asyncio
import json
import sys

from autointerp.clients import Limits, connect
from autointerp.records import Failure, Message, NotSent, Request


async def main() -> None:
    """``python -m tests.clients.tls_child SPEC…``: a JSON list of [kind, message, sent, attempts]."""
    said = []
    for spec in sys.argv[1:]:
        async with connect(spec, limits=Limits(backoff_s=1e-3, backoff_cap_s=1e-3), api_key="the-key") as client:
            outcome = await client.generate(Request((Message("user", "secret prompt"),)))
            kind, message = (
                (outcome.kind, outcome.message) if isinstance(outcome, Failure) else ("answer", outcome.text)
            )
            said.append([kind, message, not isinstance(outcome, NotSent), client.statistics.sent])
    print(json.dumps(said))


if __name__ == "__main__":
    asyncio.run(main())
