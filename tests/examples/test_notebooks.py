"""The tutorials: what is committed was run from top to bottom and shows no path of a machine; each runs again."""

from __future__ import annotations

import base64
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest

from tools import notebooks

ALL = sorted(notebooks.FOLDER.glob("*.ipynb"))
ALONE = "4_load_any_coder"
"""Needs no demo, and so runs with the quick tests."""
SMALL = ["--n-sequences", "600", "--n-features", "256", "--k", "8", "--tokens", "120000", "--explain", "8"]
MOST_BYTES = 60_000


def figures(notebook: nbformat.NotebookNode) -> Iterator[bytes]:
    """The pictures among the outputs."""
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if picture := output.get("data", {}).get("image/png"):
                yield base64.b64decode(picture)


def test_there_is_one_for_each_task() -> None:
    assert [path.stem[0] for path in ALL] == list("123456")


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_committed(path: Path) -> None:
    notebook = notebooks.read(path)
    nbformat.validate(notebook)
    assert not notebooks.own_paths(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not [o for cell in code for o in cell.outputs if o.output_type == "error" or o.get("name") == "stderr"]
    assert 8 <= len(notebook.cells) <= 20
    assert not [cell.metadata for cell in notebook.cells if cell.metadata]
    pictures = list(figures(notebook))
    assert len(pictures) >= 2
    assert max(map(len, pictures)) <= MOST_BYTES


def test_paths_of_a_machine_are_found() -> None:
    output = nbformat.v4.new_output("stream", text="wrote demo/run, https://x.org/home/y and /home/someone/demo\n")
    cell = nbformat.v4.new_code_cell("Path('demo')", outputs=[output])
    notebook = nbformat.v4.new_notebook(cells=[cell])
    assert notebooks.own_paths(notebook) == ["/home/someone"]
    output.text = f"in {Path(sys.prefix) / 'lib'}"
    assert sys.prefix in notebooks.own_paths(notebook)


def test_what_changes_between_runs_is_taken_out() -> None:
    parts = [nbformat.v4.new_output("stream", text=text) for text in ("one\n", "two\n")]
    cell = nbformat.v4.new_code_cell("", outputs=parts, metadata={"execution": {"iopub.execute_input": "2026"}})
    found = notebooks.cleaned(
        nbformat.v4.new_notebook(cells=[cell], metadata={"language_info": {"name": "python", "version": "3.11.7"}})
    )
    assert [output.text for output in found.cells[0].outputs] == ["one\ntwo\n"]
    assert not re.search(r"2026|3\.11", nbformat.writes(found))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small demo, as the first cell makes it at full size."""
    folder = tmp_path_factory.mktemp("notebooks")
    subprocess.run(
        [sys.executable, "-m", "autointerp.commands", "demo", "--out", "demo", *SMALL], cwd=folder, check=True
    )
    return folder


def assert_runs(path: Path, folder: Path) -> None:
    """The notebook runs in ``folder``, draws as many figures as the committed one, and shows no path."""
    ran = notebooks.execute(path, folder)
    assert len(list(figures(ran))) == len(list(figures(notebooks.read(path))))
    assert not notebooks.own_paths(ran)


def test_runs_alone(tmp_path: Path) -> None:
    assert_runs(notebooks.FOLDER / f"{ALONE}.ipynb", tmp_path)


@pytest.mark.full
@pytest.mark.parametrize("path", [path for path in ALL if path.stem != ALONE], ids=lambda path: path.stem)
def test_runs(path: Path, place: Path) -> None:
    assert_runs(path, place)
