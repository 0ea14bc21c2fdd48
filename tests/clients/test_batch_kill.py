"""A batch run killed at random moments: nothing is paid twice, and the accounts are exact."""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path

import pytest

from autointerp.clients import ModelSpec
from autointerp.store import RunStore
from tests.clients.batch_servers import AnthropicBatches, BatchServer, OpenAIBatches

CHILD = Path(__file__).with_name("batch_child.py")
REPOSITORY = CHILD.parents[2]
ANSWERS = sorted(f"WORD {i}" for i in range(30))


async def child(spec: str, folder: Path, kill_after: float | None = None) -> str:
    """What the process printed; "" if it was killed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(CHILD), spec, str(folder), cwd=REPOSITORY, stdout=asyncio.subprocess.PIPE,
        env={"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    if kill_after is not None:
        try:
            await asyncio.wait_for(process.wait(), kill_after)
        except TimeoutError:
            process.kill()
    output, _ = await process.communicate()
    return output.decode()


@pytest.mark.parametrize(("wire", "model"), [("anthropic", "claude-haiku-4-5"), ("openai", "gpt-4o-mini")])
@pytest.mark.parametrize("kills", [3, pytest.param(30, marks=pytest.mark.full)])
async def test_a_run_that_is_killed_again_and_again_pays_once(
    wire: str, model: str, kills: int, tmp_path: Path
) -> None:
    rng = random.Random(wire)
    servers: dict[str, type[BatchServer]] = {"anthropic": AnthropicBatches, "openai": OpenAIBatches}
    async with servers[wire](polls=10**9) as server:
        spec = f"batch+{wire}/{model}@{server.url}?price=0.5,2.5&batch_size=8"
        for _ in range(kills):
            await child(spec, tmp_path, kill_after=rng.uniform(0.4, 2.0))
        for batch in server.batches.values():
            batch["polls"] = 1
        server.polls = 1
        assert await child(spec, tmp_path) == f"{ANSWERS}\n"
        with RunStore.open(tmp_path) as store:
            spend = store.spend()
            assert await store.open_jobs(ModelSpec.parse(spec).text) == []
        each = (1000 * 0.5 + 100 * 2.5) / 1e6
        assert spend.answers == 30
        assert spend.confirmed_usd == pytest.approx(30 * each)
        billed = server.tally.total() * each
        assert spend.confirmed_usd + spend.maybe_usd >= billed - 1e-9
        assert set(server.tally.values()) == {1}, "no request was carried out twice"
        assert spend.maybe_usd == 0.0
