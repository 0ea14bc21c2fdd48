"""SIGKILL at random moments of one run against a server that counts: nothing paid is lost, and nothing is hidden."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from autointerp.store import RunStore
from tests.pipeline.test_interrupt import Child, query, reply, tables
from tests.servers import FakeServer, Received

PRICE = (2.0, 8.0)
"""Dollars per million tokens in and out."""


class Priced(Child):
    """A run that knows what its model costs."""

    async def run(self) -> int:
        study, out, url = self.args
        self.args = (study, out, f"{url}?price={PRICE[0]},{PRICE[1]}")
        return await super().run()


async def killed(study: Path, out: Path, server: FakeServer, rng: random.Random, within: int) -> bool:
    """Start the run and kill it around one of its next ``within`` requests; False if it ended before."""
    child, left = Priced(study, out, server.url), rng.randint(1, within)
    ended, dead = asyncio.Event(), asyncio.Event()

    async def answer(received: Received) -> str:
        nonlocal left
        left -= 1
        if left <= 0:
            ended.set()
        if left < 0 or (left == 0 and rng.random() < 0.5):  # else it is answered, and the kill comes as it is written
            await dead.wait()
        return reply(received)

    server.answer = answer
    run, kill = asyncio.create_task(child.run()), asyncio.create_task(ended.wait())
    await asyncio.wait([run, kill], return_when=asyncio.FIRST_COMPLETED)
    kill.cancel()
    if run.done():
        assert run.result() == 0, child.err
        return False
    await asyncio.sleep(rng.random() * 0.03)  # the moment is random: before, while or after an answer is written
    child.process.kill()
    await run
    dead.set()
    return True


@pytest.mark.parametrize("kills", [3, pytest.param(50, marks=pytest.mark.full)])
async def test_a_storm_of_kills_changes_nothing_but_the_requests_in_flight(
    study: Path, tmp_path: Path, kills: int
) -> None:
    rng, calm, stormy = random.Random(kills), tmp_path / "calm", tmp_path / "stormy"
    async with FakeServer("compatible", reply) as server:
        whole = Priced(study, calm, server.url)
        assert await whole.run() == 0, whole.err
        total = server.count
    async with FakeServer("compatible") as server:
        answered: set[str] = set()
        done = 0
        while done < kills and await killed(study, stormy, server, rng, max(2, total // kills)):
            done += 1
            if (stormy / "run.db").exists():
                now = {key for (key,) in query(stormy, "SELECT key FROM responses")}
                assert answered <= now, "an acknowledged answer is lost"
                answered = now
        assert done == kills, "the run was over before the storm"
        server.answer = reply
        last = Priced(study, stormy, server.url)
        assert await last.run() == 0, last.err
        tally = list(server.tally.values())
    assert tables(stormy) == tables(calm)
    torn = query(stormy, "SELECT COUNT(*) FROM attempts WHERE outcome IS NULL OR outcome != 'answer'")[0][0]
    assert len(tally) == total, "the questions are those of the calm run"
    assert sum(charge.times for charge in tally) - total <= torn, "paid twice only where a kill cut it off"
    twice = "SELECT key FROM attempts WHERE outcome = 'answer' GROUP BY key HAVING COUNT(*) > 1"
    assert query(stormy, twice) == [], "an acknowledged answer was asked for again"
    charged = sum(c.input_tokens * PRICE[0] + c.output_tokens * PRICE[1] for c in tally) / 1e6
    with RunStore.open(stormy, readonly=True) as store:
        spend = store.spend()
    assert spend.confirmed_usd <= charged + 1e-9
    assert charged <= spend.confirmed_usd + spend.maybe_usd + 1e-9
    assert spend.maybe_usd > 0 or torn == 0
