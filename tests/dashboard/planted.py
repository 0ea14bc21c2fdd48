"""A small run that the pages of readers are tried on: the package's own subject, a random coder, trials by hand."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autointerp.dashboard.run import Run, open_runs
from autointerp.records import Explanation, FeatureStatistics, Score, Trial
from autointerp.store import RunStore
from tests.doubles import make_corpus, random_proteins, write_cache

HOOK = "layer:2"
N_FEATURES = 48
EXPLAINED = tuple(range(8))
NASTY = "<img src=x onerror=alert(1)>\u202e[link](javascript:alert(2))<script>alert(3)</script>"
BACKBONE = (("N", 1.55, -0.9, -0.48), ("CA", 2.29, 0.0, 0.0), ("C", 1.65, 1.05, 0.46), ("O", 1.95, 2.2, 0.35))
"""Of an α-helix: atom, distance from its axis and along it in Å, angle in radians."""
THREE = {"A": "ALA", "R": "ARG", "N": "ASN", "D": "ASP", "C": "CYS", "Q": "GLN", "E": "GLU", "G": "GLY", "H": "HIS",
         "I": "ILE", "L": "LEU", "K": "LYS", "M": "MET", "F": "PHE", "P": "PRO", "S": "SER", "T": "THR", "W": "TRP",
         "Y": "TYR", "V": "VAL"}  # fmt: skip


def make_run(folder: Path) -> Path:
    """Corpus, coder, cache and run in ``folder``; the run's folder.

    Sequence 0 is named by what must not run, sequence 1 has an accession for its id; features 0 … 7 are explained, and
    judged with nulls, their partners being one another.
    """
    import torch

    from autointerp.coders import SparseCoder, load_coder, save_coder
    from autointerp.subjects import load_subject

    texts = random_proteins(24, (40, 60), seed=3)
    texts[2] = texts[2] * 40  # longer than the subject's context
    names = [f"protein {i}" for i in range(len(texts))]
    names[0] = NASTY
    notes = [(0, 3, 12, "Domain", NASTY, 0), (0, 20, 25, "Region", "b", 1), (1, 0, 40, "Chain", "", 2)]
    corpus = make_corpus(folder / "corpus", texts, annotations=notes, protein_names=names, accession=accessions(texts))
    subject = load_subject("planted-esm")
    coder = load_coder(f"random?n_features={N_FEATURES}&k=6&seed=1", d_in=subject.hook(HOOK).d)
    ids = [t.ids for t in subject.tokenize(texts)]
    limit = subject.context_length
    states = torch.cat([subject.states([w[i : i + limit]], [HOOK])[HOOK] for w in ids for i in range(0, len(w), limit)])
    often = (coder.encode(states).dense() > 0).float().mean(0)
    order = (often - 0.06).abs().argsort()  # those that fire in some contexts and not in others come first
    rows = {name: tensor[order] for name, tensor in coder.tensors().items() if len(tensor) == N_FEATURES}
    coder = SparseCoder(**(coder.__dict__ | rows | {"digest": ""}))
    save_coder(coder, folder / "coder")
    dense = coder.encode(states).dense().numpy()
    write_cache(folder / "cache", dense, corpus, subject)
    path = folder / "cache" / "cache.json"
    manifest = json.loads(path.read_text())
    manifest["subject"]["hook"] = HOOK
    manifest["coder"]["digest"] = coder.digest
    path.write_text(json.dumps(manifest))
    run = folder / "run"
    run.mkdir()
    places = {name: str(folder / name) for name in ("cache", "corpus", "coder")} | {"subject": "planted-esm"}
    settings = "".join(f"{name} = {json.dumps(value)}\n" for name, value in places.items())
    (run / "run.toml").write_text("[run]\n" + settings)
    offsets = np.concatenate([[0], np.cumsum([len(w) for w in ids])])
    asyncio.run(_judge(run, dense, offsets))
    return run


def accessions(texts: list[str]) -> list[str | None]:
    """Of sequence 1 alone."""
    return [None, "P69905", *[None] * (len(texts) - 2)]


async def _judge(run: Path, dense: np.ndarray, offsets: np.ndarray) -> None:
    """Explanations and detection trials: windows of 16, right nine times of ten; nulls wrong half of the time."""
    rng = np.random.default_rng(0)
    with RunStore.open(run) as store:
        for f in EXPLAINED:
            text = NASTY if f == 0 else f"explanation number {f}"
            statistics = FeatureStatistics(10, 1.0, 0.5, 0.1, 5, 5)
            await store.put_explanation(Explanation(f, text, "default@1"), "c", statistics)
            for null in (False, True):
                trials = []
                for row in range(20):
                    start = int(rng.integers(0, 24))
                    fires = bool(dense[offsets[row] + start : offsets[row] + start + 16, f].any())
                    right = rng.random() < (0.5 if null else 0.9)
                    kind = "activating" if fires else "random"
                    quantile = 0 if fires else -1
                    trials.append(Trial(f"{row}:{start}:16", kind, quantile, fires, fires if right else not fires))
                value = float(np.mean([t.truth == t.predicted for t in trials]))
                low, high = value - 0.2, min(1.0, value + 0.2)
                partner = (f + 1) % len(EXPLAINED) if null else None
                score = Score(
                    f, "default@1", "detection@2", value, low, high, 20, 0, {}, tuple(trials), "m", null, partner
                )
                await store.put_score(score, "c", "judge")


@pytest.fixture(scope="session")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that must not be written."""
    pytest.importorskip("torch")
    return make_run(tmp_path_factory.mktemp("planted"))


@pytest.fixture
def run(planted: Path, tmp_path: Path) -> Iterator[Run]:
    """A run of one's own: its store may be written."""
    import shutil

    folder = tmp_path / "run"
    shutil.copytree(planted, folder)
    (one,) = open_runs({"demo": folder})
    yield one
    one.close()


def pdb_of(text: str, chain: str = "A", first: int = 1) -> str:
    """A PDB file of a helix with the residues of ``text``, numbered from ``first``."""
    lines, number = [], 1
    for i, letter in enumerate(text):
        for name, radius, rise, turn in BACKBONE:
            angle = np.radians(100 * i) + turn
            x, y, z = radius * np.cos(angle), radius * np.sin(angle), 1.5 * i + rise
            residue = f"{THREE[letter]} {chain}{i + first:4d}"
            place = f"{x:8.3f}{y:8.3f}{z:8.3f}"
            lines.append(f"ATOM  {number:5d}  {name:<3s} {residue}    {place}  1.00 50.00           {name[0]}")
            number += 1
    return "\n".join([*lines, "END", ""])


@contextmanager
def served(run: Run) -> Iterator[str]:
    """The address of a live site of ``run``, answered from a thread of its own."""
    from aiohttp import web

    from autointerp.dashboard.server import make_app

    loop, ready, address = asyncio.new_event_loop(), threading.Event(), []

    async def start() -> web.AppRunner:
        runner = web.AppRunner(make_app([run]))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        address.append(f"http://127.0.0.1:{runner.addresses[0][1]}/")
        ready.set()
        return runner

    def serve() -> None:
        asyncio.set_event_loop(loop)
        runner = loop.run_until_complete(start())
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    assert ready.wait(20)
    try:
        yield address[0]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)


async def asked(run: Run, ask: Callable[[Any], Awaitable[Any]]) -> Any:
    """What a client gets that ``ask`` is given."""
    from aiohttp.test_utils import TestClient, TestServer

    from autointerp.dashboard.server import make_app

    async with TestClient(TestServer(make_app([run]))) as client:
        return await ask(client)


def until(page: Any, condition: str, arg: Any = None) -> None:
    """Wait until ``condition``, the source of a JavaScript function, is true of ``arg``.

    Playwright's own ``wait_for_function`` evaluates text inside the page, which the site's policy forbids from the
    second look on.
    """
    look = """async arg => {
        const met = CONDITION, last = performance.now() + 30000;
        while (!(await met(arg))) {
            if (performance.now() > last) throw new Error('never came true');
            await new Promise((go) => setTimeout(go, 20));
        }
    }"""
    page.evaluate(look.replace("CONDITION", condition), arg)


class Browser:
    """Chromium without a window; fails the test on any dialog, error or refused resource."""

    def __init__(self, page: Any, address: str) -> None:
        self.page, self.address, self.troubles = page, address, []
        page.on("dialog", lambda dialog: (self.troubles.append(f"dialog {dialog.message}"), dialog.dismiss()))
        page.on("pageerror", lambda error: self.troubles.append(f"error {error}"))
        page.on("console", lambda m: self.troubles.append(m.text) if m.type == "error" else None)
        self.allowed = re.compile("$^")

    def open(self, place: str) -> Any:
        """The page at ``place``, an address behind #/demo/."""
        self.page.goto(f"{self.address}#/demo/{place}")
        return self.page

    def check(self) -> None:
        """Nothing went wrong."""
        assert [t for t in self.troubles if not self.allowed.search(t)] == []


@pytest.fixture
def browser(run: Run) -> Iterator[Browser]:
    """A browser on a live site of ``run``."""
    api = pytest.importorskip("playwright.sync_api")
    path = Path("/usr/bin/chromium")
    if not path.exists():
        pytest.skip("no Chromium: apt-get install chromium")
    flags = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    with served(run) as address, api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=flags)
        page = chromium.new_page(viewport={"width": 1300, "height": 850})
        page.set_default_timeout(20_000)
        one = Browser(page, address)
        yield one
        chromium.close()
    one.check()
