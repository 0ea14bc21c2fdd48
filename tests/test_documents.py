"""Every command and code block of the README and the manual, and every example, is executed."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY
from servers import FakeServer, Received

EXAMPLES = sorted(p.stem for p in (REPOSITORY / "examples").glob("*.py") if p.stem != "study")
BLOCK = re.compile(r"(?:<!-- test: (\w+) -->\n)?```(bash|python)\n(.*?)```", re.DOTALL)
QUICK = ["--n-sequences", "400", "--n-features", "256", "--k", "8", "--tokens", "60000", "--explain", "8"]


def blocks(path: Path) -> dict[str, tuple[str, str]]:
    """Name → (language, code) of the file's blocks; unnamed ones are numbered."""
    found = BLOCK.findall(path.read_text("utf-8"))
    return {name or str(i): (language, code) for i, (name, language, code) in enumerate(found)}


SERVED = {
    "backend_anthropic": ("anthropic", "anthropic/claude-haiku-4-5"),
    "backend_openai": ("compatible", "openai/gpt-5-mini"),
    "backend_openrouter": ("openrouter", "openrouter/meta-llama/llama-3.3-70b-instruct"),
    "backend_compatible": ("compatible", "openai/Qwen/Qwen2.5-7B-Instruct"),
}
"""Examples of backends: the wire format of the local server that stands in for the provider, and the model."""
README = blocks(REPOSITORY / "README.md")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small demo in it, as after `make demo`."""
    folder = tmp_path_factory.mktemp("documents")
    ran = execute(["autointerp", "demo", "--out", "demo", *QUICK], folder)
    assert "planted elements have a feature that finds them" in ran
    return folder


def execute(command: list[str], folder: Path, **variables: str) -> str:
    """Run ``command`` in ``folder`` with this environment's programs; return what it printed."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    keys = {"ANTHROPIC_API_KEY": "not-a-key", "OPENAI_API_KEY": "not-a-key", "OPENROUTER_API_KEY": "not-a-key"}
    environment = {**os.environ, **keys, "PATH": path, "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg", **variables}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def answer(received: Received) -> str:
    """What the fake server says: an explanation, or a zero for every example."""
    if "There are" not in received.text:
        return '{"explanation": "fires on some residue"}'
    return json.dumps({"answers": [0] * len(re.findall(r"^Example \d+:", received.text, re.MULTILINE))})


def test_readme_has_the_blocks_that_are_tested() -> None:
    assert {"proteins", "text", "look", "clients", "python", "study", "scoring"} <= set(README)
    assert README["0"][1].split()[:2] == ["make", "demo"]
    assert "make test" in README["0"][1]
    assert len(README) == 8, "a new block of the README needs a test here"


def test_python_block_is_the_quickstart_example(place: Path) -> None:
    example = (REPOSITORY / "examples" / "quickstart.py").read_text("utf-8").partition('"""\n\n')[2]
    assert README["python"] == ("python", example)


@pytest.mark.parametrize("name", EXAMPLES)
async def test_example(name: str, place: Path) -> None:
    wire, model = SERVED.get(name, ("compatible", None))
    script = str(REPOSITORY / "examples" / f"{name}.py")
    async with FakeServer(wire, answer) as server:
        arguments = [f"{model}@{server.url}?price=1,1"] if model else []
        printed = await asyncio.to_thread(execute, [sys.executable, script, *arguments], place)
    assert printed.strip()
    if model:
        assert server.count > 0
    if name.startswith("backend_"):
        assert "5 explained, 5 scores" in printed


def test_study_block(place: Path) -> None:
    printed = execute(["bash", "-e", "-c", README["study"][1]], place)
    assert "detection" in printed
    assert 'features = "0:40"' in (place / "study/run/run.toml").read_text()


def test_look_block(place: Path) -> None:
    printed = execute(["bash", "-e", "-c", README["look"][1]], place)
    assert "F1 > 0.2" in printed
    assert re.search(r"^sequence-1\t\d+\t", printed, re.MULTILINE)
    assert (place / "demo/site/index.html").exists()


async def test_clients_block(place: Path) -> None:
    command = ["bash", "-e", "-c", README["clients"][1]]
    async with FakeServer("compatible", answer) as server:
        printed = await asyncio.to_thread(execute, command, place, SERVER=server.url)
    assert "$" in printed
    assert "10 explained" in printed
    assert server.count > 0


def test_scoring_block(place: Path) -> None:
    """Stands after the study in the README, but needs the demo's own run only."""
    printed = execute(["bash", "-e", "-c", README["scoring"][1].replace("--n-features 20", "--n-features 4")], place)
    assert all(name in printed for name in ("intruder", "simulation", "prediction", "embedding"))
    assert (place / "runs/many/comparison/comparison.html").exists()


def test_manual_blocks(place: Path) -> None:
    for page in sorted((REPOSITORY / "docs").glob("*.md")):
        for language, code in blocks(page).values():
            assert execute([sys.executable, "-c", code] if language == "python" else ["bash", "-e", "-c", code], place)


def test_proteins_block(tmp_path: Path, data: Path) -> None:
    import gzip

    table = tmp_path / "some_yeast.tsv.gz"
    with gzip.open(data / "proteins/yeast_swissprot.tsv.gz", "rt") as lines, gzip.open(table, "wt") as few:
        few.writelines(line for i, line in enumerate(lines) if i % 12 == 0)
    variables = {"PROTEINS": str(table), "SUBJECT": str(data / "models/esm_tiny"), "TOKENS": "30000"}
    printed = execute(["bash", "-e", "-c", README["proteins"][1]], tmp_path, **variables)
    assert "detection" in printed
    assert (tmp_path / "yeast/run/report.html").exists()


def test_text_block(tmp_path: Path, data: Path) -> None:
    text = tmp_path / "some_stories.txt"
    text.write_text((data / "text/tinystories_2MiB.txt").read_text("utf-8")[:250_000], "utf-8")
    variables = {"TEXT": str(text), "MODEL": str(data / "models/stories260K"), "TOKENS": "30000"}
    printed = execute(["bash", "-e", "-c", README["text"][1]], tmp_path, **variables)
    assert "fuzzing" in printed
    assert (tmp_path / "stories/run/features.csv").exists()


@pytest.mark.full
def test_make_demo(tmp_path: Path) -> None:
    """The README's first command at its full size, in this environment."""
    printed = execute(
        ["make", "-C", str(REPOSITORY), "demo", f"VENV={sys.prefix}", f"OUT={tmp_path / 'demo'}"], tmp_path
    )
    found = re.search(r"(\d+) of (\d+) planted elements", printed)
    assert found
    assert int(found[1]) >= int(found[2]) / 2
    assert (tmp_path / "demo/run/report.html").exists()
