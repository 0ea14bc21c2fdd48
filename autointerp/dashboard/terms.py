"""The GO terms of a feature as a small graph."""

from __future__ import annotations

from typing import Any

from autointerp.dashboard.page import missing
from autointerp.dashboard.run import Run

MOST = 12
"""Terms of a feature in each namespace."""
MOST_NODES = 45


def of_feature(run: Run, number: int) -> dict[str, Any]:
    """Found terms, and the terms above them with the edges between, where ``go/terms.parquet`` holds the ontology.

    Returns
    -------
    ``found``: term, name, namespace, counts and q of each; ``nodes``: id, name, depth, whether found; ``edges``: pairs
    of places in ``nodes``, child and parent. Or what to say instead.
    """
    table = run.table("go/enrichment")
    if table is None:
        where = f"{run.place('cache') or 'CACHE'} --corpus {run.place('corpus') or 'CORPUS'}"
        command = f"autointerp go {where} --obo go-basic.obo --out {run.folder}/go"
        return run.why_no("go/enrichment", "Gene Ontology terms have not been tested.", command)
    kept = (
        "term",
        "name",
        "namespace",
        "direction",
        "in_study",
        "study",
        "in_background",
        "background",
        "fold",
        "q",
        "bonferroni",
    )
    rows: list[dict[str, Any]] = []
    counts: dict[Any, int] = {}
    for row in table.records(number):
        counts[row.get("namespace")] = counts.get(row.get("namespace"), 0) + 1
        if counts[row.get("namespace")] <= MOST:
            rows.append({k: row[k] for k in kept if k in row})
    return {"found": rows, "total": sum(counts.values())} | _graph(run, [str(row["term"]) for row in rows])


def _graph(run: Run, found: list[str]) -> dict[str, Any]:
    known = run.cached("ontology", lambda: _ontology(run))
    if not known or not found:
        return {} if known or not found else {"no_graph": missing(
            "The graph above these terms was not written.", "run the same `autointerp go` command again"
        )}  # fmt: skip
    nodes: dict[str, int] = {}
    queue, edges = [term for term in found if term in known], []
    while queue and len(nodes) < MOST_NODES:
        term = queue.pop(0)
        if term in nodes:
            continue
        nodes[term] = len(nodes)
        queue += known[term][3]
    for term in nodes:
        edges += [(nodes[term], nodes[parent]) for parent in known[term][3] if parent in nodes]
    told = [
        {"id": t, "name": known[t][0], "namespace": known[t][1], "depth": known[t][2], "found": t in found}
        for t in nodes
    ]
    return {"nodes": told, "edges": edges}


def _ontology(run: Run) -> dict[str, tuple[str, str, int, list[str]]]:
    """Name, namespace, depth and parents of each term that stands above a found one."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = run.folder / "go" / "terms.parquet"
    try:
        rows = pq.read_table(path).to_pylist() if path.exists() else []
    except (pa.ArrowInvalid, OSError):
        return {}
    return {
        r["term"]: (r["name"], r["namespace"], int(r["depth"]), [p for p in r["parents"].split(" ") if p]) for r in rows
    }
