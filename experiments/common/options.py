"""Options that every experiment has."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

REPOSITORY = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("AUTOINTERP_DATA", REPOSITORY.parent / "shared" / "data"))


@dataclass(frozen=True)
class Options:
    """Run the experiment; the same command again continues."""

    quick: bool = False
    """A size of a minute or two on a CPU without an LLM; by default the size of the published numbers."""
    client: str = "baseline"
    """Model string of the explainer: baseline, anthropic/…, openrouter/…, openai/MODEL@http://host/v1."""
    score_client: str | None = None
    """Another model string for the judge."""
    budget: float | None = None
    """Dollars that each run of the experiment may cost."""
    material: Literal["planted", "stories", "yeast"] | None = None
    """What is studied: the planted proteome with the tiny ESM-2 that comes with the package, TinyStories with
    stories260K, or Swiss-Prot's yeast with a tiny ESM-2; the latter two lie in --data."""
    data: Path = DATA
    """Folder of models and texts; the variable AUTOINTERP_DATA names it too."""
    cache: Path | None = None
    """Instead of --material: a cache of your own, with --corpus, and --subject and --coder where they are needed."""
    corpus: Path | None = None
    """Its corpus."""
    subject: str | None = None
    """Its subject."""
    coder: str | None = None
    """Its coder."""
    n_features: int | None = None
    """Features studied."""
    work: Path = Path("build")
    """Folder of what is made on the way: corpora, coders, caches, runs."""
    results: Path | None = None
    """Folder of the tables and figures; by default results/CLIENT in the experiment's own."""
    seed: int = 0
    """Decides the features, their examples and every draw."""

    @property
    def judge(self) -> str:
        """Who judges."""
        return self.score_client or self.client

    def runs(self, experiment: str, material: str) -> Path:
        """Folder of an experiment's runs, in which no other client's lie."""
        return self.work / f"{experiment}-{material}" / "-".join(map(plain, dict.fromkeys((self.client, self.judge))))


def plain(spec: str) -> str:
    """A model string as the name of a folder."""
    return re.sub(r"[^\w.]+", "-", spec)


T = TypeVar("T", bound=Options)


def parse(cls: type[T], doc: str | None) -> T:
    """``cls`` from the command line."""
    import tyro

    return tyro.cli(cls, description=doc)
