"""The other side of `dashboard.py`: pages as a plain server makes them, from files that it reads for each request.

A page of the table comes from the joined table that `autointerp report` writes, of which only the columns are read
that are searched, compared or shown; a feature from bare SQLite, its explanations, scores and trials, a JSON object a
row. Neither counts HTTP.
"""

from __future__ import annotations

import json
import sqlite3
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from autointerp.report.joined import read_joined

PAGE = 50
"""Rows of a page."""
NAMES = {"explanation": "explanation[explainer-0]", "score.detection": "score[explainer-0/detection]"}
"""What the joined table calls the dashboard's columns, where it is something else."""
SHOWN = ("feature", *NAMES.values(), "frequency", "pattern")


def write_features(run: Path, path: Path, frequency: list[float]) -> None:
    """The joined table of ``run``, with the ``frequency`` that the analysis of a real run holds."""
    table = read_joined(run).append_column("frequency", pa.array(frequency, pa.float32()))
    pq.write_table(table, path, compression="zstd")


def page(path: Path, query: str) -> tuple[int, bytes]:
    """How many rows fit ``query``, an address' parameters of the overview, and the first of them."""
    asked = dict(parse_qsl(query))
    words, sort = asked.pop("q", "").split(), asked.pop("sort", "-score.detection")
    by = NAMES.get(sort.lstrip("-"), sort.lstrip("-"))
    told = [NAMES["explanation"]]
    if asked.pop("all", "") == "1":
        told = [name for name in pq.read_schema(path).names if name.startswith("explanation[")]
    table = pq.read_table(path, columns=list(dict.fromkeys([*SHOWN, *told, by])))
    keep = np.ones(table.num_rows, bool)
    lower = [pc.utf8_lower(table[name]) for name in told] if words else []
    for word in words:
        hits = [pc.match_substring(column, word.lstrip("-")).to_numpy() for column in lower]
        keep &= np.any(hits, 0) != word.startswith("-")
    for name, value in asked.items():
        column = table[NAMES.get(name, name)].to_numpy()
        low, is_range, high = value.partition("~")
        if is_range:
            keep &= (column >= float(low or "-inf")) & (column <= float(high or "inf"))
        else:
            keep &= np.isin(column, value.split("|"))
    found = table.filter(pa.array(keep))
    order = pc.sort_indices(found, [(by, "descending" if sort.startswith("-") else "ascending")])
    return found.num_rows, json.dumps(found.take(order[:PAGE]).to_pylist()).encode()


ROWS = (
    "SELECT * FROM explanations WHERE study = 1 AND feature = ?",
    "SELECT * FROM scores WHERE study = 1 AND feature = ?",
    "SELECT trials.* FROM scores JOIN trials ON trials.score = scores.id WHERE scores.study = 1 AND scores.feature = ?",
)


def feature(store: Path, number: int) -> bytes:
    """Explanations, scores and trials of a feature; not its contexts, statistics and neighbours."""
    db = sqlite3.connect(f"file:{store}?mode=ro", uri=True)
    db.row_factory = sqlite3.Row
    found = json.dumps([[dict(row) for row in db.execute(sql, (number,))] for sql in ROWS]).encode()
    db.close()
    return found


def median_ms(act: Callable[[], Any], turns: int = 7) -> float:
    """The median of some turns, in ms."""
    times = []
    for _ in range(turns):
        began = time.perf_counter()
        act()
        times.append(1e3 * (time.perf_counter() - began))
    return statistics.median(times)
