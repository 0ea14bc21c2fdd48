"""A whole study by hand: the same call again and again, with prompts answered in between."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from autointerp.explainers import DefaultExplainer
from autointerp.pipeline import Pipeline
from autointerp.scorers import DetectionScorer
from autointerp.store import RunStore
from tests.studies import planted_loader, planted_study


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("manual")
    planted_study(folder)
    return folder


def answer_all(folder: Path) -> int:
    """Answer what waits, as someone who sees every feature in every example would; how many."""
    n = 0
    for prompt in folder.glob("*.prompt.txt"):
        answer = prompt.with_name(prompt.name.replace(".prompt.", ".answer."))
        if not answer.exists():
            n += 1
            count = re.findall(r"There are (\d+)", prompt.read_text())
            reply = {"answers": [1] * int(count[-1])} if count else {"explanation": "fires on something"}
            answer.write_text(f"Sure!\n```json\n{json.dumps(reply)}\n```\n")
    return n


async def test_the_same_call_continues_with_what_was_answered(study: Path, tmp_path: Path) -> None:
    folder, seen = tmp_path / "prompts", []
    with RunStore.open(tmp_path / "run") as store:
        for _ in range(3):
            pipeline = Pipeline(
                planted_loader(study), DefaultExplainer(), [DetectionScorer()], client=f"manual/{folder}", store=store
            )
            report = await pipeline.run(range(3))
            await pipeline.client.aclose()
            seen.append((report.explained, report.scores, answer_all(folder)))
        table = store.scores().to_pylist()
    assert seen[0][0] == 0
    assert seen[0][2] == 3, "a prompt for each feature, and the run has ended"
    assert seen[1][0] == 3
    assert seen[1][2] > 3, "now the prompts that judge the explanations"
    assert seen[2][2] == 0, "nothing waits"
    assert len(table) == 6, "three scores and their nulls"
    assert all(row["n_failed"] == 0 and row["value"] == 0.5 for row in table)
