"""The static site: the same payloads as the live one, as scripts."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from autointerp.commands import main
from autointerp.dashboard import export_site
from autointerp.dashboard.feature import feature
from autointerp.dashboard.overview import table
from autointerp.dashboard.run import Run
from autointerp.dashboard.site import as_bytes, scripts_and_styles
from autointerp.errors import UsageError
from tests.dashboard.planted import N_FEATURES, NASTY, planted, run
from tests.dashboard.tabled import tabled

__all__ = ["planted", "run", "tabled"]


def received(path: Path) -> tuple[str, bytes]:
    """Name and payload that a script hands over."""
    text = path.read_bytes()
    head, tail = b'Dashboard.receive("', b");\n"
    assert text.startswith(head)
    assert text.endswith(tail)
    name, payload = text[len(head) : -len(tail)].split(b'",', 1)
    return name.decode(), payload


def test_every_payload_is_a_script_that_hands_over_what_the_server_sends(tabled: Run, tmp_path: Path) -> None:
    out = tmp_path / "site"
    n = export_site([tabled], out, processes=1)
    scripts = [p for p in out.rglob("*.js") if "data" in p.relative_to(out).parts[:1]]
    assert len(scripts) == n
    for path in scripts:
        name, payload = received(path)
        assert path == out / "data" / f"{name}.js"
        orjson.loads(payload)
    assert received(out / "data/demo/feature/3.js")[1] == as_bytes(feature(tabled, "3"))
    assert received(out / "data/demo/table.js")[1] == table(tabled)
    assert {f"{i}.js" for i in range(N_FEATURES)} == {p.name for p in (out / "data/demo/feature").iterdir()}
    assert (out / "data/demo/texts/0.js").exists()
    page = (out / "index.html").read_text()
    for name in [part for parts in scripts_and_styles() for part in parts]:
        assert (out / "assets" / name).exists()
        assert f"assets/{name}" in page
    assert 'data-mode="static"' in page
    assert NASTY not in page


def test_only_some_features(run: Run, tmp_path: Path) -> None:
    export_site([run], tmp_path / "site", features=[1, 5], processes=1)
    assert {p.name for p in (tmp_path / "site/data/demo/feature").iterdir()} == {"1.js", "5.js"}


def test_processes_write_the_same(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autointerp.dashboard.export.AT_ONCE", 30)
    export_site([run], tmp_path / "one", processes=1)
    export_site([run], tmp_path / "two", processes=2)
    one, two = (
        {p.relative_to(d): p.read_bytes() for p in d.rglob("*.js")} for d in (tmp_path / "one", tmp_path / "two")
    )
    status = Path("data/demo/status.js")  # has the time in it
    assert one.keys() == two.keys()
    assert {k for k in one if one[k] != two[k]} <= {status}


def test_a_folder_of_something_else_is_left_alone(run: Run, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(UsageError, match="not empty"):
        export_site([run], tmp_path)
    assert [p.name for p in tmp_path.iterdir() if p.name != "run"] == ["thesis.tex"]


def test_the_command_writes_a_site_and_writes_it_again(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        assert main(["dashboard", str(run.folder), "--export", str(tmp_path / "site")]) == 0
        assert "index.html" in capsys.readouterr().out
