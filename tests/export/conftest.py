"""A run small enough to work out by hand: two proteins, three features, two explanations, and what is known of them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from autointerp.records import Explanation, FeatureStatistics, Trial
from autointerp.scorers.summary import summarise
from autointerp.store import RunStore
from tests.doubles import make_corpus, write_cache
from tests.studies import study

__all__ = ["study"]

TEXTS = ("MKVLACDE", "GGHIKL")
FIRES = {(2, 0): 4.0, (3, 0): 2.0, (10, 0): 1.0, (8, 2): 8.0}
"""(flat token, feature): activation. Feature 1 never fires."""
TRIALS = (
    Trial("0:0:4", "activating", 1, True, True, prompt=0),
    Trial("0:2:4", "activating", 0, True, False, prompt=0, probability=0.25),
    Trial("1:1:4", "random", -1, False, False, prompt=1),
    Trial("1:2:4", "random", -1, False, None, "truncated", prompt=1),
)
SAID = 'fires on V, after "K" <b>'


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Folder of the run; corpus and cache lie beside it."""
    folder = tmp_path / "study" / "run"
    corpus = make_corpus(tmp_path / "study" / "corpus", TEXTS)
    dense = np.zeros((14, 3), np.float32)
    for place, value in FIRES.items():
        dense[place] = value
    write_cache(tmp_path / "study" / "cache", dense, corpus)
    known = FeatureStatistics(3, 4.0, 7 / 3, 3 / 14, 2, 2)
    score = summarise(0, "default@2", "detection@2", TRIALS)
    other = replace(summarise(0, "default@2", "fuzzing@2", TRIALS[:3]), value=0.75, ci_low=0.5, ci_high=0.875)

    async def put(store: RunStore) -> None:
        await store.put_explanation(Explanation(0, SAID, "default@2", "m"), "c", known)
        await store.put_explanation(Explanation(2, "fires at G", "default@2", "m"), "c", known)
        await store.put_explanation(Explanation(1, "", "default@2", "m", "truncated"), "c", known)
        await store.put_explanation(Explanation(0, "another", "residue@1", "m"), "c", known)
        for one in (score, other, replace(score, null=True, partner=2, value=0.5)):
            await store.put_score(one, "c", "j")

    with RunStore.open(folder) as store:
        store.bind({})
        asyncio.run(put(store))
    lines = [f'{name} = "{folder.parent / name}"' for name in ("cache", "corpus")]
    (folder / "run.toml").write_text("\n".join(["[run]", *lines]) + "\n")
    (folder / "concepts").mkdir()
    concepts = {"feature": [0], "concept": ["Active site; any"], "f1": [0.5], "threshold": [0.15]}
    pq.write_table(pa.table(concepts), folder / "concepts/features.parquet")
    (folder / "go").mkdir()
    terms = {
        "feature": [0],
        "term": ["GO:0000001"],
        "name": ["one"],
        "direction": ["over"],
        "log10_p": [-3.0],
        "q": [0.01],
    }
    pq.write_table(pa.table(terms), folder / "go/enrichment.parquet")
    return folder


def with_analysis(run: Path) -> None:
    """What `autointerp analyze` would add."""
    from autointerp.analysis.tables import FORMAT, MANIFEST, VERSION, table_of, write
    from autointerp.files import write_json

    folder = run / "analysis"
    tables = {
        "features": {"feature": [0, 1, 2], "max": [4.0, 0.0, 8.0], "frequency": [3 / 14, 0.0, 1 / 14]},
        "logits": {
            "feature": [0, 0, 0],
            "side": ["promoted", "promoted", "suppressed"],
            "rank": [0, 1, 0],
            "token": ["V", "K", "G"],
            "value": [1.5, 0.5, -2.0],
        },
        "neighbours": {"feature": [0, 0], "by": ["decoder", "encoder"], "rank": [0, 0], "neighbour": [2, 1],
                       "similarity": [0.5, 0.25]},
        "logit_moments": {"feature": [0], "low": [-2.0], "high": [2.0], "histogram": [[3, 1]]},
    }  # fmt: skip
    for name, columns in tables.items():
        write(folder, name, [table_of(name, columns)])
    write_json(folder / MANIFEST, {"format": FORMAT, "version": VERSION, "tables": {name: {} for name in tables}})
