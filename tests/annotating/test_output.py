"""Annotated sequences as TSV, JSON and HTML."""

from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np

from autointerp.annotating import Annotated, Firing
from autointerp.annotating.page import html_pieces
from autointerp.annotating.writing import COLUMNS, json_pieces, tsv_lines

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)> [a](javascript:alert(3)) \u202e\"'&<!--"
ABOUT: dict[str, Any] = {
    "explanations": [{"explainer": "default", "text": f"a\ttab {EVIL}", "scores": {}}],
    "concept": EVIL,
    "concept_f1": 0.5,
    "go_terms": ["GO:1", "GO:2"],
    "go_names": ["one", EVIL],
    "family": EVIL,
}


def firing(feature: int, positions: list[int], values: list[float], about: dict[str, Any]) -> Firing:
    where, strength = np.array(positions, np.int32), np.array(values, np.float32)
    peak = positions[int(strength.argmax())] if positions else -1
    return Firing(feature, where, strength, peak, float(strength.max()), 0.5, len(positions) / 6, about)


def sample(name: str = "P1") -> Annotated:
    firings = [firing(7, [0, 1, 4], [1.0, 3.0, 2.0], ABOUT), firing(2, [5], [1.25], {})]
    return Annotated(name, "MKVLAC", np.arange(1, 7), firings, n_fired=9)


def test_tsv_by_hand() -> None:
    rows = [line.split("\t") for line in tsv_lines([sample()])]
    assert rows[0] == list(COLUMNS)
    assert {len(row) for row in rows} == {len(COLUMNS)}
    first, second = (dict(zip(COLUMNS, row, strict=True)) for row in rows[1:])
    assert (first["peak"], first["peak_token"], first["regions"], first["n_positions"]) == ("2", "K", "1-2,5-5", "3")
    assert (first["share"], first["max"], first["coverage"]) == ("0.5", "3", "0.5")
    assert first["explanation"].startswith("a tab ")
    assert first["go_terms"].startswith("GO:1 one; GO:2 ")
    assert (second["feature"], second["regions"], second["explanation"], second["concept"]) == ("2", "6-6", "", "")


def test_tsv_of_level_sequence_has_no_place() -> None:
    one = Annotated("P", "MK", np.array([1, 2]), [firing(3, [], [2.0], {})], 1)
    row = dict(zip(COLUMNS, list(tsv_lines([one]))[1].split("\t"), strict=True))
    assert (row["peak"], row["peak_token"], row["regions"]) == ("", "", "")


def test_json_is_one_object_with_everything() -> None:
    value = json.loads(b"".join(json_pieces([sample(), sample("P2")], {"subject": "s"})))
    assert (value["format"], value["version"], value["subject"]) == ("autointerp-annotated", 1, "s")
    assert [one["id"] for one in value["sequences"]] == ["P1", "P2"]
    one = value["sequences"][0]
    assert ("".join(one["tokens"]), one["n_fired"]) == ("MKVLAC", 9)
    assert one["features"][0] == {
        "feature": 7, "max": 3.0, "share": 0.5, "peak": 1, "coverage": 0.5, "positions": [0, 1, 4],
        "values": [1.0, 3.0, 2.0], "about": ABOUT,
    }  # fmt: skip
    assert json.loads(b"".join(json_pieces([], {}))) == {
        "format": "autointerp-annotated",
        "version": 1,
        "sequences": [],
    }


class Reader(HTMLParser):
    """Tags, text outside scripts, and the scripts."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.scripts, self.inside = "", [], False
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside = tag in ("script", "style")
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside and self.scripts and self.tags[-1][0] == "script":
            self.scripts[-1] += data
        elif not self.inside:
            self.text += data


def test_the_page_shows_what_it_is_given_and_runs_nothing_of_it() -> None:
    source = "".join(html_pieces([sample(EVIL)], EVIL, protein=True))
    page = Reader(source)
    names = [tag for tag, _ in page.tags]
    assert "img" not in names
    assert names.count("script") == 2  # the data and our own
    assert not any(key.startswith("on") for _, attributes in page.tags for key in attributes)
    assert page.text.count(EVIL) >= 4  # title, id, concept, family
    data = json.loads(page.scripts[0])
    assert [row["feature"] for row in data] == [7, 2]
    assert data[0]["positions"] == [0, 1, 4]
    assert "about" not in data[0]
    assert not re.search(r"(src|href)\s*=|url\(|@import|https?://", source.replace("src=x", ""))


def test_residues_stand_in_numbered_lines() -> None:
    long = Annotated("P", "ACDEFGHIKL" * 13, np.arange(1, 131), [], 0)
    page = Reader("".join(html_pieces([long], "t", protein=True)))
    assert sum(tag == "i" for tag, _ in page.tags) == 130
    assert "  1 ACDEFGHIKL ACDEFGHIKL" in page.text
    assert "\n 61 " in page.text
    assert "\n121 ACDEFGHIKL" in page.text
    plain = Reader("".join(html_pieces([long], "t", protein=False)))
    assert long.text in plain.text


def test_tsv_is_read_by_a_csv_reader() -> None:
    rows = list(csv.DictReader(list(tsv_lines([sample()])), delimiter="\t", quoting=csv.QUOTE_NONE))
    assert [row["feature"] for row in rows] == ["7", "2"]
