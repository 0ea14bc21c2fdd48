"""The planted run with everything that is optional: a second explainer, tables of analysis, concepts and GO."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from autointerp.dashboard.run import Run, open_runs
from autointerp.records import Explanation, FeatureStatistics, Score, Skipped
from autointerp.store import RunStore
from tests.dashboard.planted import N_FEATURES, NASTY

OTHER = "another reading of feature"
STATISTICS = FeatureStatistics(10, 1.0, 0.5, 0.1, 5, 5)


def add_tables(run: Path) -> None:
    """Everything that a page can show, small."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    n = N_FEATURES
    rows = list(range(n))
    tables = {
        "analysis/features": {
            "feature": pa.array(rows, pa.int32()), "pattern": ["point" if f % 2 else "long" for f in rows],
            "x": [float(f % 7) for f in rows], "y": [float(f // 7) for f in rows],
            "cluster": pa.array([f % 3 - 1 for f in rows], pa.int32()), "dead": [f == 40 for f in rows],
            "duplicate_of": pa.array([3 if f == 5 else None for f in rows], pa.int32()),
        },
        "analysis/neighbours": {
            "feature": [f for f in rows for _ in range(2)], "by": ["decoder", "encoder"] * n, "rank": [0, 0] * n,
            "neighbour": [(f + 1) % n for f in rows for _ in range(2)], "similarity": [0.5, 0.25] * n,
        },
        "analysis/logits": {
            "feature": [f for f in rows for _ in range(2)], "side": ["promoted", "suppressed"] * n, "rank": [0, 0] * n,
            "token": ["A", NASTY] * n, "value": [1.5, -1.25] * n,
        },
        "analysis/logo": {
            "feature": [f for f in rows for _ in range(3)], "offset": [-1, 0, 0] * n, "symbol": ["K", "A", "W"] * n,
            "bits": [0.5, 2.0, 1.0] * n,
        },
        "concepts/features": {"feature": [4, 1], "concept": ["Domain: SH2", "Region: acidic"], "f1": [0.5, 0.75]},
        "concepts/pairs": {"feature": [1, 4, 1], "concept": ["Region: acidic", "Domain: SH2", "Domain: SH3"],
                           "f1": [0.75, 0.5, 0.4], "precision": [0.7, 0.5, 0.4], "recall": [0.8, 0.5, 0.4]},
        "go/enrichment": {"feature": [1, 1], "namespace": ["molecular_function"] * 2, "term": ["GO:3", "GO:4"],
                          "name": ["third", "fourth"], "in_study": [3, 2], "study": [5, 5], "q": [0.001, 0.01]},
        "go/terms": {"term": ["GO:1", "GO:2", "GO:3", "GO:4"], "name": ["root", "second", "third", "fourth"],
                     "namespace": ["molecular_function"] * 4, "depth": [0, 1, 2, 2],
                     "parents": ["", "GO:1", "GO:2", "GO:1 GO:2"]},
    }  # fmt: skip
    for name, columns in tables.items():
        (run / name).parent.mkdir(exist_ok=True)
        pq.write_table(pa.table(columns), run / f"{name}.parquet")


async def add_results(run: Path) -> None:
    """A second explainer of five features, a failed explanation, a skipped feature."""
    with RunStore.open(run) as store:
        for f in range(5):
            await store.put_explanation(Explanation(f, f"{OTHER} {f}", "contrastive@1"), "c", STATISTICS)
            value = f / 10 + 0.5
            score = Score(f, "contrastive@1", "detection@2", value, value - 0.1, value + 0.1, 20, 0, {}, (), "m")
            await store.put_score(score, "c", "judge")
        await store.put_explanation(Explanation(9, "", "default@1", failure="refusal: no"), "c", STATISTICS)
        store.note_skipped(Skipped(10, "activating contexts", 3, 10))


@pytest.fixture
def tabled(planted: Path, tmp_path: Path) -> Iterator[Run]:
    """The run with everything, one's own."""
    folder = tmp_path / "tabled"
    shutil.copytree(planted, folder)
    add_tables(folder)
    asyncio.run(add_results(folder))
    (one,) = open_runs({"demo": folder})
    yield one
    one.close()
