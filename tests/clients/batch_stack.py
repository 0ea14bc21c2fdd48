"""A whole batch client whose desk waits in no time."""

from __future__ import annotations

import asyncio
from typing import Any

from autointerp.clients import Limits, ModelSpec, price_of
from autointerp.clients.connect import ConnectedClient
from tests.clients.conftest import VirtualTime

KEY = "the-key"


def make(spec: ModelSpec, journal: Any) -> ConnectedClient:
    """The client of ``spec``, with ``KEY``."""
    time, limits = VirtualTime(), Limits()

    async def sleep(seconds: float) -> None:
        time.now += seconds
        await asyncio.sleep(0.002)  # real, for the server to answer

    backend = spec.backend(spec, limits=limits, api_key=KEY, sleep=sleep, clock=time.clock)
    timing = {"sleep": sleep, "clock": time.clock}
    return ConnectedClient(backend, journal=journal, limits=limits, price=price_of(spec), key=KEY, timing=timing)
