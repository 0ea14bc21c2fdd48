"""Run the notebooks of examples/notebooks in place: ``python tools/notebooks.py [NAME…]`` (``make notebooks``).

What differs from run to run or from machine to machine is taken out, and a notebook that shows a path of this machine
is refused. They share one folder ``demo`` beside them, which the first of them makes; what else they make lies in
``made``, and is made anew.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nbformat import NotebookNode

FOLDER = Path(__file__).resolve().parent.parent / "examples" / "notebooks"
TIMEOUT_S = 1800
"""Of one cell; the first may have to make the demo."""
PATH = re.compile(r"(?<![\w.:/~-])/(?:home|root|tmp|Users|usr|opt|work|mnt|var)/[\w.-]+")
"""An absolute path, and no part of an address or of a relative one."""
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def read(path: Path) -> NotebookNode:
    """The notebook in a file."""
    import nbformat

    return nbformat.read(path, as_version=4)


def execute(path: Path, folder: Path) -> NotebookNode:
    """Run all cells in a fresh kernel whose working folder is ``folder``; returns the notebook, cleaned.

    Raises
    ------
    CellExecutionError : a cell failed; the message is its traceback.
    """
    from nbclient import NotebookClient

    notebook = read(path)
    client = NotebookClient(
        notebook, timeout=TIMEOUT_S, kernel_name="python3", resources={"metadata": {"path": folder}}
    )
    client.execute()
    return cleaned(notebook)


def cleaned(notebook: NotebookNode) -> NotebookNode:
    """Without execution times and the interpreter's version; texts that a cell printed bit by bit are one."""
    notebook.metadata = METADATA
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.outputs = _joined(cell.outputs)
    return notebook


def _joined(outputs: list[Any]) -> list[Any]:
    """How a stream is cut into outputs depends on the scheduler."""
    found: list[Any] = []
    for output in outputs:
        last = found[-1] if found else {}
        if output.output_type == "stream" and last.get("output_type") == "stream" and last["name"] == output["name"]:
            last["text"] += output["text"]
        else:
            found.append(output)
    return found


def texts(notebook: NotebookNode) -> Iterator[str]:
    """All texts among the sources and the outputs of a notebook."""
    for cell in notebook.cells:
        yield cell.source
        for output in cell.get("outputs", ()):
            yield from output.get("traceback", ())
            yield output.get("text", "")
            yield from (data for kind, data in output.get("data", {}).items() if not kind.startswith("image/"))


def own_paths(notebook: NotebookNode) -> list[str]:
    """Absolute paths that a notebook shows."""
    here = [str(p) for p in (FOLDER.parent.parent, Path.home(), tempfile.gettempdir(), sys.prefix) if str(p) != "/"]
    return [path for text in texts(notebook) for path in [*PATH.findall(text), *(p for p in here if p in text)]]


def main(names: list[str]) -> int:
    """Run the notebooks of these names, or all; the exit code."""
    import nbformat

    shutil.rmtree(FOLDER / "made", ignore_errors=True)
    for path in [FOLDER / f"{Path(name).stem}.ipynb" for name in names] or sorted(FOLDER.glob("*.ipynb")):
        print(path.name, flush=True)
        notebook = execute(path, FOLDER)
        if found := own_paths(notebook):
            print(f"error: {path.name} shows {found[0]}: give relative paths", file=sys.stderr)
            return 1
        nbformat.write(notebook, path)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
