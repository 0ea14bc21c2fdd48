"""Small tables of results: CSV files that a figure is drawn from without a run."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from autointerp.files import read_json, write_json, write_text
from autointerp.statistics.bootstrap import aggregate, paired
from experiments.common.materials import Material
from experiments.common.options import Options, plain

Row = Mapping[str, Any]


def results_folder(options: Options, script: str) -> Path:
    """Where the tables of the experiment in ``script`` go: ``results/JUDGE`` beside it, or where the options say."""
    if options.results:
        return options.results
    name = plain(options.judge) + ("-quick" if options.quick else "")
    return Path(script).parent / "results" / name


def write(folder: Path, name: str, rows: Iterable[Row]) -> None:
    """``name.csv``: floats with four digits, an empty cell for None."""
    rows = list(rows)
    columns = list(dict.fromkeys(column for row in rows for column in row))
    text = io.StringIO()
    table = csv.DictWriter(text, columns, lineterminator="\n")
    table.writeheader()
    for row in rows:
        table.writerow({column: _cell(value) for column, value in row.items()})
    write_text(folder / f"{name}.csv", text.getvalue())


def _cell(value: Any) -> Any:
    if isinstance(value, (float, np.floating)):
        return "" if np.isnan(value) else f"{value:.4g}" if abs(value) < 1e-3 else f"{value:.4f}"
    return "" if value is None else value


def read(folder: Path, name: str) -> list[dict[str, Any]]:
    """The rows of ``name.csv``; numbers as floats, empty cells of numbers as NaN."""
    with (folder / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        rows: list[dict[str, Any]] = list(csv.DictReader(file))
    for column in rows[0] if rows else ():
        try:
            numbers = [float(row[column]) if row[column] else np.nan for row in rows]
        except ValueError:
            continue
        for row, number in zip(rows, numbers, strict=True):
            row[column] = number
    return rows


def conditions(folder: Path, options: Options, used: Material | None = None, **facts: Any) -> None:
    """``conditions.json``: without its conditions a number says nothing."""
    about: dict[str, Any] = {"autointerp": version("autointerp"), "client": options.client, "judge": options.judge}
    about |= {"quick": options.quick, "seed": options.seed}
    if used is not None:
        manifest = used.cache.manifest
        subject, coder = manifest["subject"], manifest["coder"]
        about |= {
            "material": used.name,
            "subject": Path(str(subject["name"])).name,
            "hook": subject["hook"],
            "level": used.cache.level,
            "coder": f"{coder['architecture']}, {used.cache.n_features} features, k {coder.get('k')}",
            "n_sequences": used.cache.n_sequences,
            "n_tokens": used.cache.n_tokens,
            "groups": used.corpus.manifest["grouping"]["by"],
        }
    write_json(folder / "conditions.json", {**about, **facts})


def conditions_of(folder: Path) -> dict[str, Any]:
    """What :func:`conditions` wrote."""
    return read_json(folder / "conditions.json")


def values(rows: Iterable[Row], **equal: Any) -> dict[int, float]:
    """Value by feature of the rows that have these cells."""
    return {
        int(row["feature"]): np.nan if row["value"] is None else float(row["value"])
        for row in rows
        if all(row[key] == value for key, value in equal.items())
    }


def summary(rows: Sequence[Row], by: Sequence[str] = ("condition", "scorer")) -> list[dict[str, Any]]:
    """Median with its bootstrap interval, quartiles and failed trials, for every combination of the columns ``by``.

    ``n_attempted`` rows, of which ``n_features`` have a value.
    """
    parts: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        parts.setdefault(tuple(row[key] for key in by), []).append(row)
    table = []
    for key, part in parts.items():
        found = np.array([np.nan if row["value"] is None else row["value"] for row in part], float)
        one = aggregate(found)
        trials, failed = (sum(row[name] for row in part) for name in ("n", "n_failed"))
        cells = {"n_attempted": len(part), "n_features": int((~np.isnan(found)).sum()), "median": one["median"].value}
        cells |= {"low": one["median"].low, "high": one["median"].high}
        cells |= {"first_quartile": one["first_quartile"].value, "third_quartile": one["third_quartile"].value}
        table.append(
            {**dict(zip(by, key, strict=True)), **cells, "mean": one["mean"].value, "n_trials": trials}
            | {"n_failed": failed}
        )
    return table


def differences(rows: Sequence[Row], against: str, scorers: Sequence[str]) -> list[dict[str, Any]]:
    """What every condition changes for the same features, compared with the condition ``against``."""
    table = []
    for condition in dict.fromkeys(row["condition"] for row in rows):
        for scorer in scorers:
            first, second = (values(rows, condition=name, scorer=scorer) for name in (condition, against))
            both = sorted({*first, *second})
            if condition == against or not both:
                continue
            x, y = (np.array([one.get(feature, np.nan) for feature in both]) for one in (first, second))
            found = paired(x, y)
            head = {"condition": condition, "against": against, "scorer": scorer, "n": found["n"]}
            cells: dict[str, Any] = {}
            for name in ("median", "mean"):
                cells |= dict(zip((name, f"{name}_low", f"{name}_high"), found[name], strict=True))  # type: ignore[call-overload]
            table.append({**head, **cells, "share_higher": found["share_higher"], "p": found["p"]})
    return table
