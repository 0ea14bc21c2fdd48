"""Protein view: tracks against the cache, search, structures, and drawn in a browser."""

from __future__ import annotations

import gzip
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autointerp.cache import ActivationCache
from autointerp.corpus import Corpus
from autointerp.dashboard import protein as page
from autointerp.dashboard.protein import accession, find, sequence, structure, tracks
from autointerp.dashboard.run import Run
from autointerp.errors import UsageError
from tests.dashboard.planted import N_FEATURES, NASTY, Browser, pdb_of, until
from tests.dashboard.tabled import tabled
from tests.doubles import make_corpus, write_cache

__all__ = ["tabled"]
VIEWER = Path(page.__file__).parent / "assets" / "vendor" / "3Dmol-min.js"


def dense_of(planted: Path, row: int) -> np.ndarray:
    """(n_tokens, n_features) of one sequence, feature by feature."""
    cache = ActivationCache.open(planted.parent / "cache")
    first, last = (int(x) for x in cache.offsets[row : row + 2])
    dense = np.zeros((last - first, N_FEATURES), np.float32)
    for feature, tokens, values in cache.features():
        inside = (tokens >= first) & (tokens < last)
        dense[tokens[inside].astype(int) - first, feature] = values[inside]
    return dense


def test_the_strongest_features_and_their_tracks(run: Run, planted: Path) -> None:
    found, dense = sequence(run, "5"), dense_of(planted, 5)
    largest = ActivationCache.open(planted.parent / "cache").statistics["max"]
    share = np.divide(dense.max(0), largest, where=largest > 0, out=np.zeros(N_FEATURES, np.float32))
    shown = [f["feature"] for f in found["features"]]
    fires = int((dense.max(0) > 0).sum())
    assert len(shown) == min(page.N_FEATURES, fires)
    assert share[shown].tolist() == sorted(share[share > 0], reverse=True)[: len(shown)]
    for one in found["features"]:
        expected = dense[:, one["feature"]]
        assert one["at"].tolist() == np.flatnonzero(expected).tolist()
        assert one["v"] == pytest.approx(expected[expected > 0], rel=1e-3)
        assert one["top"] == pytest.approx(largest[one["feature"]])
    assert found["n"] == len(dense) == len(found["text"])


def test_annotations_metadata_and_accession(run: Run) -> None:
    found = sequence(run, "0")
    assert found["annotations"] == [[3, 12, "Domain", NASTY], [20, 25, "Region", "b"]]
    assert found["metadata"]["protein_names"] == NASTY
    assert (found["accession"], sequence(run, "1")["accession"]) == (None, "P69905")


def test_a_feature_without_an_explanation_is_called_by_its_concept(
    tabled: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tabled, "explanation", lambda feature: "said" if feature == 1 else "")
    found = tracks(tabled, "5", "0-10", "1,4,2")["features"]
    assert [f["label"] for f in found] == ["said", "Domain: SH2 (F1 0.50)", ""]


def test_a_stretch_of_some_features(run: Run, planted: Path) -> None:
    dense = dense_of(planted, 5)
    busy = int(dense.sum(0).argmax())
    found = tracks(run, "5", "10-30", f"{busy},0,9999")["features"]
    assert [f["feature"] for f in found] == [busy, 0]
    assert found[0]["at"].tolist() == (np.flatnonzero(dense[10:30, busy]) + 10).tolist()


def test_a_sequence_by_its_id(run: Run) -> None:
    name = sequence(run, "5")["id"]
    assert not name.isdecimal()
    assert sequence(run, name)["row"] == 5


@pytest.mark.parametrize("row", ["24", "-1", "x", ""])
def test_a_sequence_that_is_not_there(run: Run, row: str) -> None:
    with pytest.raises(UsageError, match="0 … 23"):
        sequence(run, row)


@pytest.mark.parametrize(("stretch", "features"), [("9-3", "1"), ("a-b", "1"), ("0-5", ""), ("0-5", "1,x"), ("5", "1")])
def test_a_stretch_that_is_none(run: Run, stretch: str, features: str) -> None:
    with pytest.raises(UsageError, match="FIRST-LAST"):
        tracks(run, "5", stretch, features)


def test_a_sequence_is_found_by_id_and_name(run: Run) -> None:
    assert [one["row"] for one in find(run, "PROTEIN 7")["found"]] == [7]
    assert [one["row"] for one in find(run, "s12")["found"]] == [12]
    assert len(find(run, "*")["found"]) == 24
    assert find(run, "%_.*")["found"] == []


@pytest.mark.parametrize(
    ("name", "metadata", "expected"),
    [("P69905", {}, "P69905"), ("sp|Q8WZ42|TITIN_HUMAN", {}, "Q8WZ42"), ("A0A024R1R8-2", {}, "A0A024R1R8"),
     ("s1", {}, None), ("ABC", {"accession": "P04637"}, "P04637"), ("x", {"accession": 5}, None)],
)  # fmt: skip
def test_accessions(name: str, metadata: dict[str, Any], expected: str | None) -> None:
    assert accession(name, metadata) == expected


def test_structures_of_a_folder(run: Run, tmp_path: Path) -> None:
    assert "--structures" in structure(run, "0")["command"]
    folder = tmp_path / "structures"
    folder.mkdir()
    (folder / "s0.pdb").write_text("ATOM")
    (folder / "AF-P69905-F1-model_v6.cif.gz").write_bytes(gzip.compress(b"data_x"))
    (folder / "readme.txt").write_text("no structure")
    (tmp_path / "s2.pdb").write_text("outside")
    run.options = replace(run.options, structures=folder)
    assert structure(run, "0") == {"format": "pdb", "name": "s0.pdb", "text": "ATOM"}
    assert structure(run, "1") == {"format": "cif", "name": "AF-P69905-F1-model_v6.cif.gz", "text": "data_x"}
    assert "no structure of s2" in structure(run, "2")["missing"]


def test_without_a_cache_it_is_said_what_makes_one(planted: Path, tmp_path: Path) -> None:
    import shutil

    from autointerp.dashboard.run import open_runs

    shutil.copytree(planted, tmp_path / "run")
    (tmp_path / "run" / "run.toml").write_text("[run]\n")
    (one,) = open_runs({"bare": tmp_path / "run"})
    for found in (sequence(one, "0"), tracks(one, "0", "0-5", "1"), find(one, "s"), structure(one, "0")):
        assert found["command"]
    one.close()


@pytest.fixture
def giant(run: Run, tmp_path: Path) -> Run:
    """A run on one sequence of 100,000 residues, at each of which something fires."""
    rng = np.random.default_rng(0)
    n = 100_000
    text = "".join(rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), n))
    dense = np.zeros((n, 30), np.float32)
    dense[np.arange(n), rng.integers(0, 29, n)] = rng.random(n) + 0.1
    dense[::2, 29] = 1.0  # more than are sent one by one
    dense[77_777, 29] = 9.0
    notes = [(0, 500 * i, 500 * i + 300, f"type {i % 14}", f"label {i}", i) for i in range(200)]
    corpus = make_corpus(tmp_path / "corpus", [text], annotations=notes)
    cache = write_cache(tmp_path / "cache", dense, corpus)
    run.__dict__["_opened"] = (cache, corpus, None)
    return run


def test_a_giant_sequence_is_sent_in_few_numbers(giant: Run) -> None:
    from autointerp.dashboard.site import as_bytes

    found = sequence(giant, "0")
    assert len(as_bytes(found)) < 1_500_000
    track = {f["feature"]: f for f in found["features"]}[29]
    assert track["v"].argmax() == 77_777 // track["bin"]
    fine = tracks(giant, "0", "77000-78000", "29")["features"][0]
    assert "bin" not in fine
    assert dict(zip(fine["at"].tolist(), fine["v"].tolist(), strict=True))[77_777] == 9.0


@pytest.mark.full
def test_a_giant_sequence_does_not_hang_the_browser(giant: Run, browser: Browser) -> None:
    shown = browser.open("protein/0")
    shown.get_by_text("1–100,000 of 100,000").wait_for()
    took = shown.evaluate("""() => {
        const begun = performance.now();
        document.querySelector('[aria-label="zoom in"]').click();
        return performance.now() - begun;
    }""")
    assert took < 1500  # a fortieth of this on an idle machine
    shown.get_by_text("25,001–75,000 of 100,000").wait_for()
    assert "start=25001" in shown.url


def test_tracks_in_the_browser(browser: Browser) -> None:
    shown = browser.open("protein/0")
    assert NASTY[:20] in shown.get_by_role("heading", level=1).inner_text()
    text = "".join(shown.locator(".reading [data-at]").all_inner_texts())
    assert text == shown.evaluate("async () => (await (await fetch('data/demo/sequence/0')).json()).text")
    radios = shown.get_by_role("radio")
    radios.nth(2).click()
    feature = radios.nth(2).get_attribute("aria-label").rpartition(" ")[2]  # type: ignore[union-attr]
    assert f"pick={feature}" in shown.url
    shown.get_by_role("link", name=f"feature {feature}", exact=True).wait_for()
    plot = shown.locator(".row-track .track-plot").first.bounding_box()
    assert plot is not None
    y = plot["y"] + 10
    shown.mouse.move(plot["x"] + plot["width"] * 0.25, y)
    shown.mouse.down()
    shown.mouse.move(plot["x"] + plot["width"] * 0.75, y, steps=4)
    shown.mouse.up()
    until(shown, "() => location.hash.includes('start=')")
    zoomed = shown.url
    stack = shown.get_by_role("group", name="tracks")
    stack.focus()
    stack.press("0")
    until(shown, "() => !location.hash.includes('start=')")
    shown.goto(zoomed)
    shown.reload()
    until(shown, "() => document.querySelector('.tracks .range')?.textContent.startsWith('1–') === false")
    shown.keyboard.press("j")
    until(shown, f"() => !location.hash.includes('pick={feature}')")


@pytest.mark.full
def test_a_sequence_is_found_in_the_browser(browser: Browser) -> None:
    shown = browser.open("protein")
    shown.get_by_label("find a sequence").fill("protein 7")
    shown.get_by_role("link", name="protein 7").click()
    shown.get_by_role("heading", name="protein 7").wait_for()
    shown.go_back()
    shown.get_by_label("find a sequence").wait_for()
    assert shown.get_by_label("find a sequence").input_value() == "protein 7"


@pytest.mark.skipif(not VIEWER.exists(), reason="3Dmol.js is not here: make assets")
def test_a_local_structure_is_drawn_and_coloured(browser: Browser, run: Run, tmp_path: Path) -> None:
    assert run.corpus is not None
    text = run.corpus.text(0)
    (tmp_path / "own.pdb").write_text(pdb_of(text, first=101))  # numbered otherwise: found by its letters
    shown = browser.open("protein/0")
    shown.get_by_label("structure file").set_input_files(tmp_path / "own.pdb")
    shown.get_by_text("own.pdb. Drag to turn").wait_for()
    orange = """() => {
        const source = document.querySelector('.stage canvas');
        const copy = document.createElement('canvas');
        copy.width = source.width; copy.height = source.height;
        const pen = copy.getContext('2d');
        pen.drawImage(source, 0, 0);
        const data = pen.getImageData(0, 0, copy.width, copy.height).data;
        let drawn = 0, hot = 0;
        for (let i = 0; i < data.length; i += 4) if (data[i + 3] > 0) {
            drawn++;
            if (data[i] > 1.35 * data[i + 2]) hot++;
        }
        return [drawn, hot];
    }"""
    pixels = shown.evaluate(orange)
    assert pixels[0] > 800
    assert pixels[1] > 20
    other = tmp_path / "other.pdb"
    other.write_text(pdb_of("W" * 30))
    shown.get_by_label("structure file").set_input_files(other)
    shown.get_by_text("not those of this sequence").wait_for()
    (tmp_path / "broken.pdb").write_text("nothing of the kind")
    shown.get_by_label("structure file").set_input_files(tmp_path / "broken.pdb")
    shown.get_by_text("cannot be drawn").wait_for()


@pytest.mark.full
@pytest.mark.skipif(not VIEWER.exists(), reason="3Dmol.js is not here: make assets")
def test_alphafold_is_asked_for_its_current_version(browser: Browser, run: Run) -> None:
    assert run.corpus is not None
    model = pdb_of(run.corpus.text(1))
    asked: list[str] = []
    home = "https://alphafold.ebi.ac.uk"

    def reply(route: Any) -> None:
        asked.append(route.request.url)
        headers = {"Access-Control-Allow-Origin": "*"}
        if "/api/" in route.request.url:
            about = [
                {"entryId": "AF-P69905-F1", "latestVersion": 6, "pdbUrl": f"{home}/files/AF-P69905-F1-model_v6.pdb"}
            ]
            route.fulfill(json=about, headers=headers)
        else:
            route.fulfill(body=model, headers=headers)

    browser.page.route(f"{home}/**", reply)
    shown = browser.open("protein/1")
    shown.get_by_role("button", name="AlphaFold DB").click()
    shown.get_by_text("AlphaFold DB AF-P69905-F1, version 6").wait_for()
    assert asked == [f"{home}/api/prediction/P69905", f"{home}/files/AF-P69905-F1-model_v6.pdb"]


@pytest.mark.full
def test_without_network_a_quiet_message(browser: Browser) -> None:
    browser.allowed = re.compile("ERR_|Failed to load resource")
    browser.page.route("https://alphafold.ebi.ac.uk/**", lambda route: route.abort())
    shown = browser.open("protein/1")
    shown.get_by_role("button", name="AlphaFold DB").click()
    shown.get_by_text("cannot be reached from here").wait_for()
    assert not shown.locator(".stage canvas").count()


@pytest.mark.full
def test_without_the_viewer_it_is_said_what_fetches_it(browser: Browser, tmp_path: Path, run: Run) -> None:
    browser.allowed = re.compile("404|ERR_|Failed to load resource")
    browser.page.route("**/3Dmol-min.js", lambda route: route.fulfill(status=404))
    (tmp_path / "own.pdb").write_text(pdb_of("ACDE"))
    shown = browser.open("protein/0")
    shown.get_by_label("structure file").set_input_files(tmp_path / "own.pdb")
    shown.get_by_text("make assets").wait_for()
    assert not shown.locator(".stage canvas").count()


def test_one_activation_for_a_whole_sequence(run: Run, tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "corpus", ["ACDEF", "GHIKL"])
    dense = np.array([[0, 2.0, 1.0], [3.0, 4.0, 0]], np.float32)
    cache = write_cache(tmp_path / "cache", dense, corpus, level="sequence")
    run.__dict__["_opened"] = (cache, Corpus.open(tmp_path / "corpus"), None)
    found = sequence(run, "0")
    assert [(f["feature"], f["max"], f["top"]) for f in found["features"]] == [(2, 1.0, 1.0), (1, 2.0, 4.0)]
    assert found["level"] == "sequence"
