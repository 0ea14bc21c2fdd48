"""A process is killed in the middle of a run, again and again: no answer that it acknowledged is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from tests.databases import Place

CHILD = """
import asyncio, random, sys
from autointerp.clients import Limits, Scripted, connect
from autointerp.records import Message, Request
from autointerp.store import RunStore

async def main(store, rng):
    answers = Scripted(lambda r: "answer to " + r.messages[0].content)
    client = connect(answers, store=store, limits=Limits(max_in_flight=16))
    async def worker():
        while True:
            text = f"question {rng.randrange(10**9)}"
            outcome = await client.generate(Request((Message("user", text),)))
            sys.stdout.write(client.key(Request((Message("user", text),))) + " " + outcome.text + chr(10))
            sys.stdout.flush()
    await asyncio.gather(*(worker() for _ in range(16)))

with RunStore.open(sys.argv[1]) as store:
    asyncio.run(main(store, random.Random(int(sys.argv[2]))))
"""


@pytest.mark.parametrize("kills", [3, pytest.param(30, marks=pytest.mark.full)])
def test_no_acknowledged_answer_is_lost_to_sigkill(place: Place, kills: int) -> None:
    acknowledged: dict[str, str] = {}
    for number in range(kills):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(place.where), str(number)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(50 + 37 * (number % 11))]
        os.kill(child.pid, signal.SIGKILL)
        lines += child.stdout.readlines()  # what it still said before it died
        child.stdout.close()
        assert child.wait() == -signal.SIGKILL
        acknowledged |= dict(line.rstrip("\n").split(" ", 1) for line in lines if line.endswith("\n"))
        with place.open() as store:  # the lock died with its holder
            for key, text in acknowledged.items():
                found = store.get_response(key)
                assert found is not None
                assert found.text == text
            spend = store.spend()
        # every attempt has a row; those under way at the kill have no outcome
        assert spend.answers >= len(acknowledged)
        assert spend.attempts - spend.answers - spend.failed <= 16 * (number + 1)
    assert len(acknowledged) >= 50 * kills
    if place.kind == "sqlite":
        assert place.rows("PRAGMA integrity_check") == [("ok",)]
