"""Annotated sequences as a table, as JSON, and as a page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson

from autointerp.annotating.firing import Annotated, Firing

COLUMNS = ("sequence", "feature", "share", "max", "peak", "peak_token", "n_positions", "coverage", "regions",
           "explanation", "concept", "concept_f1", "go_terms", "family")  # fmt: skip


def tsv_lines(found: Iterable[Annotated]) -> Iterator[str]:
    """A heading, then a row for each sequence and feature; positions count from 1 and regions hold both their ends."""
    yield "\t".join(COLUMNS)
    for one in found:
        for firing in one.firings:
            yield "\t".join(map(_cell, _row(one, firing)))


def _row(one: Annotated, firing: Firing) -> list[object]:
    peak = firing.peak if firing.peak >= 0 else None
    about = firing.about
    return [
        one.id,
        firing.feature,
        firing.share,
        firing.max,
        None if peak is None else peak + 1,
        None if peak is None else one.tokens[peak],
        len(firing.positions),
        firing.coverage,
        ",".join(f"{a + 1}-{b}" for a, b in firing.runs()),
        said(about),
        about.get("concept"),
        about.get("concept_f1"),
        named_terms(about),
        about.get("family"),
    ]


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else " ".join(str(value).split())


def said(about: Mapping[str, Any]) -> str:
    """The first explanation in what is known of a feature; nothing without one."""
    told = about.get("explanations") or ()
    return told[0]["text"] if told else ""


def named_terms(about: Mapping[str, Any]) -> str:
    """``GO:0005524 ATP binding; …``."""
    return "; ".join(
        f"{term} {name}" for term, name in zip(about.get("go_terms", ()), about.get("go_names", ()), strict=True)
    )


def json_pieces(found: Iterable[Annotated], facts: Mapping[str, Any]) -> Iterator[bytes]:
    """One JSON object, piece by piece: ``format``, ``version``, ``facts``, and ``sequences``; positions from 0."""
    head = {"format": "autointerp-annotated", "version": 1, **facts}
    yield orjson.dumps(head)[:-1] + b',"sequences":['
    for i, one in enumerate(found):
        yield (b",\n" if i else b"\n") + orjson.dumps(one.as_json())
    yield b"\n]}\n"
