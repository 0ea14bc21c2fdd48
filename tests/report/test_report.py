from __future__ import annotations

import asyncio
import json
import re
import sqlite3
import warnings
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest

from autointerp.clients import Scripted, connect
from autointerp.commands import main
from autointerp.errors import UsageError
from autointerp.explainers import DefaultExplainer
from autointerp.pipeline import Pipeline
from autointerp.records import Failure, FeatureRecord, Request, Response, Usage
from autointerp.report import write_report
from autointerp.report.page import Markup, Number, html_table, score_cell
from autointerp.report.reading import column_names, read_study, short
from autointerp.report.tables import feature_table, score_summary
from autointerp.scorers import DetectionScorer, FuzzingScorer
from autointerp.store import RunStore
from autointerp.store.schema import MIGRATIONS
from tests.report.studies import fill, judged, trials
from tests.studies import MOTIFS, asker, honest, planted_loader

EVIL = '<script>alert("x")</script> & <b>bold</b> ]]> \u202e日本'


def noisy(records: list[FeatureRecord]) -> Scripted:
    """The honest judge, wrong at times; feature 2 has no explanation, feature 3's detection fails, 4's text is evil."""
    rng = np.random.default_rng(0)
    about = asker(records)

    def trouble(request: Request) -> str | Failure | None:
        task = request.task
        assert task is not None
        if task.kind == "explain":
            feature = about(request)
            text = json.dumps({"explanation": f"{EVIL} feature 4"})
            return Failure("timeout", "late") if feature == 2 else text if feature == 4 else None
        if task.kind == "detection" and task.explanation == "feature 3":
            return Failure("server", "down")
        return None

    return honest(records, judge=lambda t: bool(t) ^ bool(rng.random() < 0.2), on_call=trouble)


@pytest.fixture(scope="module")
def run(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "a <run> & more"
    loader = planted_loader(study)
    records = [r for r in loader.iterate(range(len(MOTIFS))) if isinstance(r, FeatureRecord)]
    with RunStore.open(folder) as store:
        pipeline = Pipeline(
            loader,
            DefaultExplainer(),
            [DetectionScorer(), FuzzingScorer()],
            client=connect(noisy(records), store=store),
            store=store,
        )
        asyncio.run(pipeline.run(features=[*range(len(MOTIFS)), len(loader) - 1]))
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # matplotlib warns of what it cannot draw
            write_report(store, extra=[("More & more", "<p id='extra'>the whole story</p>")])
    return folder


class Page(HTMLParser):
    """Tags and text of a page; every tag that opens must close."""

    VOID = ("meta", "br", "link", "img")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.tags: list[str] = []
        self.headings: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        if tag not in self.VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.stack and self.stack[-1] in ("h1", "h2"):
            self.headings.append(data)


# --------------------------------------------------------------------------------------------------------------- tables


def test_the_table_has_a_row_a_feature_with_the_numbers_of_the_store(run: Path) -> None:
    with RunStore.open(run, readonly=True) as store:
        table, scores = feature_table(read_study(store, trials=True)), store.scores().to_pylist()
    rows = {r["feature"]: r for r in table.to_pylist()}
    assert list(rows) == list(range(len(MOTIFS)))
    for s in scores:
        row, name = rows[s["feature"]], s["scorer"].split("@")[0]
        if s["is_null"]:
            assert (row[f"{name}_null"], row[f"{name}_null_partner"]) == (s["value"], s["partner"])
        else:
            for key in ("value", "ci_low", "ci_high", "n", "n_failed"):
                assert row[f"{name}_{key}"] == s[key]
            assert row[f"{name}_tpr"] == json.loads(s["metrics"]).get("tpr")
    assert (rows[2]["failure"], rows[2]["detection_value"]) == ("timeout: late", None)
    assert (rows[3]["detection_value"], rows[3]["detection_n_failed"]) == (None, 20)
    assert EVIL in rows[4]["explanation"]
    assert rows[0]["n_groups"] > 5


def test_values_are_balanced_accuracies_of_the_stored_trials(run: Path) -> None:
    with RunStore.open(run, readonly=True) as store:
        for row in feature_table(read_study(store, trials=True)).to_pylist():
            for name in ("detection", "fuzzing"):
                score = store.get_score(row["feature"], "default@2", "scripted", f"{name}@2", "scripted")
                if score is None or row[f"{name}_value"] is None:
                    continue
                truth = np.array([t.truth for t in score.trials])
                right = np.array([t.predicted == t.truth for t in score.trials])
                assert row[f"{name}_value"] == pytest.approx((right[truth].mean() + right[~truth].mean()) / 2)
                assert row[f"{name}_ci_low"] <= row[f"{name}_value"] <= row[f"{name}_ci_high"]


def test_csv_and_parquet_hold_the_same_table(run: Path) -> None:
    parquet = pyarrow.parquet.read_table(run / "explanations.parquet")
    csv = pyarrow.csv.read_csv(
        run / "explanations.csv",
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(strings_can_be_null=True),
    )
    assert csv.column_names == parquet.column_names
    for one, two in zip(csv.to_pylist(), parquet.to_pylist(), strict=True):
        for name, value in two.items():
            assert (one[name] or None) == (value or None), name


def test_the_summary_equals_numpy(run: Path) -> None:
    with RunStore.open(run, readonly=True) as store:
        lines = score_summary(store)
        scores = store.scores().to_pylist()
    assert len(lines) == 3
    for line, name in zip(lines[1:], ("detection", "fuzzing"), strict=True):
        own = {s["feature"]: s for s in scores if s["scorer"] == f"{name}@2" and not s["is_null"]}
        null = {s["feature"]: s["value"] for s in scores if s["scorer"] == f"{name}@2" and s["is_null"]}
        null = {f: v for f, v in null.items() if v is not None}
        known = {f: s["value"] for f, s in own.items() if s["value"] is not None}
        lift = [known[f] - null[f] for f in known if f in null]
        failed = sum(s["n_failed"] for s in own.values()) / sum(s["n"] for s in own.values())
        told = re.split(r"\s{1,}(?!–)(?<!–\s)", line.strip())
        assert told[:3] == [name, str(len(known)), f"{np.median(list(known.values())):.3f}"]
        low, high = (float(x) for x in told[3].split(" – "))
        assert low <= np.median(list(known.values())) <= high
        assert told[4] == " – ".join(f"{q:.2f}" for q in np.percentile(list(known.values()), [25, 75]))
        assert told[5:] == [f"{np.median(list(null.values())):.2f}", f"{np.median(lift):+.2f}", f"{failed:.1%}"]


def test_columns_are_short_where_they_can_be() -> None:
    graded = "detection@2?answers=graded"
    pairs = [("detection@2", "a"), ("detection@2", "b"), (graded, "a"), ("fuzzing@2", "a"), ("intruder@1", "a")]
    names = ("detection@2|a", "detection@2|b", graded, "fuzzing", "intruder")
    assert column_names(pairs) == dict(zip(pairs, names, strict=True))
    assert column_names([("fuzzing@2", "a"), ("fuzzing@2", "b")])["fuzzing@2", "b"] == "fuzzing|b"
    assert short("detection@2?examples_per_prompt=10") == "detection"


# ----------------------------------------------------------------------------------------------------------------- page


def test_the_page_is_well_formed_and_nothing_in_it_runs(run: Path) -> None:
    source = (run / "report.html").read_text("utf-8")
    page = Page(source)
    assert page.stack == []
    assert "script" not in page.tags
    assert "b" not in page.tags  # the explanation's own markup
    assert f"{EVIL} feature 4" in page.text
    assert page.headings == [
        f"10 features of {run.parent.name}/a <run> & more", "Scores", "Figures", "More & more", "Features", "Conditions"
    ]  # fmt: skip
    assert "<p id='extra'>the whole story</p>" in source
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", source)  # a page of its own: nothing is fetched


def test_the_page_says_what_was_attempted_skipped_and_failed(run: Path) -> None:
    text = Page((run / "report.html").read_text("utf-8")).text
    assert "11 features attempted, 1 skipped (too few activating contexts: 1), 1 explanations failed" in text
    with RunStore.open(run, readonly=True) as store:
        spend = store.spend()
    assert f"{spend.attempts:,} requests" in text
    assert "failed attempts: " in text
    assert "server " in text
    assert "(timeout: late)" in text
    for condition in ("default@2", "scripted", "detection@2, fuzzing@2", "n_test", "Wilson"):
        assert condition in text


def test_figures_are_xml_with_the_data_in_them_and_in_the_ink_of_the_page(run: Path) -> None:
    source = (run / "report.html").read_text("utf-8")
    drawn = re.findall(r"<figure.*?</figure>", source, re.DOTALL)
    figures = {re.search("<strong>(.*?)</strong>", f)[1]: f for f in drawn}  # type: ignore[index]
    texts = {
        name: "".join(ElementTree.fromstring(f[f.index("<svg") : f.rindex("</figure>")]).itertext())
        for name, f in figures.items()
    }
    assert list(figures) == ["Scores", "Hits", "Scorers against each other", "Frequency and score", "Cost of a feature",
                             "Failures"]  # fmt: skip
    assert len(drawn) == 7  # the matrix and the points share a heading
    with RunStore.open(run, readonly=True) as store:
        values = read_study(store).columns["fuzzing"].value
    assert f"explanation, median {np.nanmedian(values):.2f}" in texts["Scores"]
    assert "requests a feature" in texts["Cost of a feature"]
    assert "server" in texts["Failures"]
    assert "activating" in texts["Hits"]
    assert "random" in texts["Hits"]
    for figure in drawn:
        assert "#000000" not in figure
        assert "currentColor" in figure
    files = {path.name for path in (run / "figures").iterdir()}
    assert files == {f"{n}.svg" for n in ("scores", "hits", "correlations", "pairs", "frequency", "costs", "failures")}
    for path in (run / "figures").iterdir():
        assert ElementTree.parse(path).getroot().tag.endswith("svg")
        assert "prefers-color-scheme" in path.read_text("utf-8")


def test_the_same_run_gives_the_same_bytes(run: Path) -> None:
    names = ("report.html", "explanations.csv", "explanations.parquet")
    with RunStore.open(run, readonly=True) as store:
        extra = [("More & more", "<p id='extra'>the whole story</p>")]
        before = [(run / n).read_bytes() for n in names]
        assert write_report(store, extra=extra) == run / "report.html"
    assert [(run / n).read_bytes() for n in names] == before


def test_cells() -> None:
    html = html_table(["a<", "b"], [[1234567, 0.123456], [float("nan"), None], ["x & y", True], [np.int64(5), "–"]])
    assert "<th>a&lt;</th>" in html
    assert '<td class="n">1,234,567</td><td class="n">0.123</td>' in html
    assert '<td class="n">–</td><td>–</td>' in html
    assert "<td>x &amp; y</td><td>True</td>" in html
    assert '<td class="n">5</td>' in html
    assert "<th class=n>c</th>" in html_table(["c"], [[Number("1 – 2")], [None]])
    assert html_table(["c"], [[Markup("<td><b>x</b></td>")]]).count("<b>x</b>") == 1


def test_a_score_is_drawn_where_it_lies() -> None:
    cell = score_cell([0.75, 0.5, 1.0, 0.25], (0.0, 1.0))
    assert 'cx="48.0"' in cell  # of 64
    assert "M32.0 7H64.0" in cell
    assert "M16.0 1" in cell
    assert 'title="0.750 [0.500, 1.000], null 0.250"' in cell
    assert 'cx="32.0"' in score_cell([0.0, -0.1, 0.1, np.nan], (-1.0, 1.0))
    assert score_cell([np.nan, np.nan, np.nan, np.nan], (0.0, 1.0)) == '<td class="s">–</td>'


# ----------------------------------------------------------------------------------------------------------- odd runs


@pytest.mark.parametrize("which", ["no scores", "every judgement failed", "one scorer", "two judges", "one feature"])
def test_a_run_with_little_in_it_has_a_report_too(study: Path, tmp_path: Path, which: str) -> None:
    loader = planted_loader(study)
    records = [r for r in loader.iterate(range(4)) if isinstance(r, FeatureRecord)]
    failing = which == "every judgement failed"
    client = honest(records, on_call=lambda r: Failure("server", "") if failing and r.tag != "explain" else None)
    scorers = [] if which == "no scores" else [DetectionScorer()]
    features = [0] if which == "one feature" else [0, 1, 2]
    with RunStore.open(tmp_path) as store:
        for judge in (None, "baseline") if which == "two judges" else (None,):
            pipeline = Pipeline(
                loader,
                DefaultExplainer(),
                scorers,
                client=connect(client, store=store),
                score_client=judge,
                store=store,
            )
            asyncio.run(pipeline.run(features=features))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            page = Page(write_report(store).read_text("utf-8"))
        assert page.stack == []
        assert len(score_summary(store)) == {"no scores": 1, "two judges": 3}.get(which, 2)
    assert len(pyarrow.parquet.read_table(tmp_path / "explanations.parquet")) == len(features)


def report_of(folder: Path) -> tuple[Page, str]:
    with RunStore.open(folder, readonly=True) as store, warnings.catch_warnings():
        warnings.simplefilter("error")
        source = write_report(store).read_text("utf-8")
    page = Page(source)
    assert page.stack == []
    return page, source


def test_a_run_without_nulls_has_no_column_of_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    page, _ = report_of(fill(tmp_path, [judged(f, "detection@2", trials(rng, 0.8)) for f in range(5)]))
    assert "null, median" not in page.text
    names = pyarrow.parquet.read_schema(tmp_path / "explanations.parquet").names
    assert not {"detection_null", "detection_q", "detection_lift"} & set(names)
    assert "detection_natural_precision" in names


def test_a_run_in_which_nothing_was_explained(tmp_path: Path) -> None:
    page, _ = report_of(fill(tmp_path, [], failed=range(4)))
    assert "4 features attempted, 0 skipped, 4 explanations failed" in page.text
    assert "nothing is scored yet" in page.text
    assert page.text.count("(timeout: late)") == 4
    assert "Figures" not in page.headings
    assert pyarrow.parquet.read_table(tmp_path / "explanations.parquet")["explanation"].to_pylist() == [""] * 4


def test_names_of_scorers_may_be_long_and_odd(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names = [f"detection@2?examples_per_prompt={n}&answers=graded&order=examples-first&$_^<i>" for n in (1, 2)]
    scores = [judged(f, name, trials(rng, 0.8, failing=0.1)) for name in names for f in range(6)]
    page, source = report_of(fill(tmp_path, scores, text=EVIL))
    assert "i" not in page.tags
    assert "script" not in page.tags
    assert page.text.count(EVIL) == 6
    for name in names:
        assert name in page.text
    for svg in re.findall(r"<svg.*?</svg>", source, re.DOTALL):
        ElementTree.fromstring(svg)
    assert "examples_per_prompt" in "".join(re.findall(r"<text.*?</text>", source, re.DOTALL))


def test_a_run_under_way_is_reported_as_far_as_it_is(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    fill(tmp_path, [judged(0, "detection@2", trials(rng, 0.8))])

    async def go_on(store: RunStore) -> None:
        # a score whose explanation is not there yet, a null whose score is not, a request that is under way
        await store.put_score(judged(5, "detection@2", trials(rng, 0.8)), "c", "j")
        await store.put_score(judged(0, "fuzzing@2", trials(rng, 0.8), null=True), "c", "j")
        await store.begin("key", spec="m", tag="detection", reserved_usd=None)

    with RunStore.open(tmp_path) as store:
        asyncio.run(go_on(store))
        page, _ = report_of(tmp_path)
    assert "1 requests in flight: the run is under way, this is how far it is" in page.text
    table = pyarrow.parquet.read_table(tmp_path / "explanations.parquet")
    assert table["feature"].to_pylist() == [0]
    assert not [name for name in table.column_names if name.startswith("fuzzing")]


def test_costs_are_those_of_this_study(tmp_path: Path) -> None:
    from autointerp.report.build import _costs

    async def ask(store: RunStore, n: int, usd: float) -> None:
        for i in range(n):
            number = await store.begin(f"{n}{i}", spec="m", tag="detection", reserved_usd=None)
            await store.finish(number, Response("", Usage(100, 20), usd))

    for name, n, usd in (("one", 4, 0.5), ("two", 10, 3.0)):
        with RunStore.open(tmp_path, study=name) as store:
            asyncio.run(ask(store, n, usd))
    with RunStore.open(tmp_path, study="one", readonly=True) as store:
        assert _costs(store, 2) == ({"detection": 1.0}, "dollars a feature")


def test_a_run_of_a_newer_version_is_said_to_be_newer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path, [], failed=[1])
    db = sqlite3.connect(tmp_path / "run.db")
    db.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    db.close()
    assert main(["report", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "newer" in said
    assert said.count("\n") == 1


def test_runs_are_reported_and_compared_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    for name, rate in (("a/run", 0.7), ("b/run", 0.9)):
        scores = [judged(f, "detection@2", trials(rng, rate)) for f in range(8)]
        fill(tmp_path / name, scores, settings={"coder": "c"})
    monkeypatch.chdir(tmp_path)
    assert main(["report", "a/run", "b/run"]) == 0
    said = capsys.readouterr().out
    assert "a/run:" in said
    assert "b/run:" in said
    assert "wrote b/run/comparison/comparison.html; comparison.csv and comparison.parquet lie beside it" in said
    assert main(["report", "a/run", "b/run", "--names", "weak, strong", "--out", "both"]) == 0
    table = pyarrow.parquet.read_table("both/comparison.parquet")
    assert table["run"].to_pylist() == ["weak", "strong"]
    assert table["how"].to_pylist() == [None, "paired"]
    assert Path("a/run/report.html").exists()


def test_several_explanations_of_a_feature_have_rows_of_their_own(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    first = [judged(f, "detection@2", trials(rng, 0.8)) for f in range(3)]
    fill(tmp_path, first)
    fill(tmp_path, [replace(s, explainer="residue@1") for s in first[:2]], explainer="residue@1")
    page, _ = report_of(tmp_path)
    assert page.text.startswith("3 features of ")
    assert "5 / 5 / 5 / 5" in page.text
    assert page.text.count("residue@1, c") == 2
    rows = pyarrow.parquet.read_table(tmp_path / "explanations.parquet").to_pylist()
    assert [(r["feature"], r["explainer"]) for r in rows] == [
        (0, "default@2"), (0, "residue@1"), (1, "default@2"), (1, "residue@1"), (2, "default@2")
    ]  # fmt: skip


def test_an_empty_run_is_said_to_be_empty(tmp_path: Path) -> None:
    with RunStore.open(tmp_path) as store, pytest.raises(UsageError, match="no explanations yet"):
        write_report(store)
    assert not (tmp_path / "report.html").exists()
