"""``autointerp demo``: the whole road on what the package itself carries, offline."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autointerp.biology import ConceptMatch
    from autointerp.corpus import Corpus
    from autointerp.store import RunStore

HOOK = "layer:3"


@dataclass(frozen=True)
class Config:
    """Generate a proteome with planted elements, train a coder on a tiny ESM-2, cache, explain, score and report."""

    out: Path = Path("demo")
    """Folder of everything that is made."""
    n_sequences: int = 2000
    """Proteins to generate."""
    n_features: int = 1024
    """Features of the coder."""
    k: int = 16
    """Features that fire at a residue."""
    tokens: int = 1_500_000
    """Residues to train the coder on."""
    explain: int = 120
    """Eligible features to explain and score, drawn at random, besides the best feature of each planted element."""
    client: str = "baseline"
    """Model string of the explainer and judge."""
    budget: float | None = None
    """Dollars that the client may cost."""
    seed: int = 0
    """Seed of every stage."""


def run(config: Config) -> int:
    """Walk the road; every stage is skipped if its folder is already finished."""
    from autointerp.biology import match_concepts
    from autointerp.commands import cache as cache_command
    from autointerp.commands import run as run_command
    from autointerp.commands import train as train_command
    from autointerp.commands.inspect import describe
    from autointerp.report import write_report
    from autointerp.report.tables import score_summary
    from autointerp.store import RunStore

    began, out = time.monotonic(), config.out
    _title(f"1. A proteome of {config.n_sequences:,} proteins with planted elements")
    corpus = _corpus(config)
    print(describe(out / "corpus"))

    _title(f"2. A TopK coder on {HOOK} of the tiny ESM-2 that comes with the package")
    train_command.run(
        train_command.Config(
            subject="planted-esm",
            hook=HOOK,
            corpus=out / "corpus",
            out=out / "coder",
            n_features=config.n_features,
            k=config.k,
            tokens=config.tokens,
            seed=config.seed,
        )
    )

    _title("3. Every feature's activations on the proteome")
    cache_command.run(
        cache_command.Config(
            subject="planted-esm", hook=HOOK, coder=str(out / "coder"), corpus=out / "corpus", out=out / "cache"
        )
    )

    _title("4. Which planted element does which feature find?")
    from autointerp.cache import ActivationCache

    matches = match_concepts(ActivationCache.open(out / "cache"), corpus, seed=config.seed)
    print(_matches(matches))

    _title(f"5. Explanations and scores by {config.client}")
    features = _features(config, matches)
    code = run_command.run(
        run_command.Config(
            cache=out / "cache",
            corpus=out / "corpus",
            out=out / "run",
            client=config.client,
            features=",".join(map(str, features)),
            budget=config.budget,
            seed=config.seed,
        )
    )
    if code:
        return code

    _title("6. Report")
    with RunStore.open(out / "run", readonly=True) as store:
        page = write_report(store, extra=[("Planted elements", _section(matches, store))])
        print("\n".join(score_summary(store)))
    found = sum(m.f1 > 0.5 for m in matches)
    print(
        f"\n{found} of {len(matches)} planted elements have a feature that finds them (F1 > 0.5 on held-out families)"
        f"\n{page}, with features.csv and features.parquet beside it; {time.monotonic() - began:.0f} s in all"
    )
    return 0


def _title(text: str) -> None:
    print(f"\n\033[1m{text}\033[0m" if _colour() else f"\n{text}", flush=True)


def _colour() -> bool:
    import os
    import sys

    return sys.stdout.isatty() and "NO_COLOR" not in os.environ


def _corpus(config: Config) -> Corpus:
    from autointerp.corpus import Corpus, planted_proteome
    from autointerp.errors import UsageError

    folder = config.out / "corpus"
    source = {"generator": "planted_proteome", "n_sequences": config.n_sequences, "seed": config.seed}
    if (folder / "corpus.json").exists():
        corpus = Corpus.open(folder)
        if corpus.manifest["source"] != source:
            raise UsageError(f"{folder} holds another proteome ({corpus.manifest['source']}); choose another --out")
        return corpus
    planted = planted_proteome(config.n_sequences, config.seed)
    grouping = {"by": "planted families"}
    return Corpus.write(
        folder, planted.sequences, planted.annotations, kind="protein", source=source, grouping=grouping
    )


def _features(config: Config, matches: Sequence[ConceptMatch]) -> list[int]:
    """The elements' best features first, then a seeded draw of eligible ones."""
    from autointerp.cache import ActivationCache
    from autointerp.corpus import Corpus
    from autointerp.features import FeatureLoader
    from autointerp.records import FeatureRecord

    cache, corpus = ActivationCache.open(config.out / "cache"), Corpus.open(config.out / "corpus")
    loader = FeatureLoader(cache, corpus, seed=config.seed)
    drawn = [r.feature for r in loader.draw(config.explain, config.seed) if isinstance(r, FeatureRecord)]
    return list(dict.fromkeys([*(m.feature for m in matches), *drawn]))


def _matches(matches: Sequence[ConceptMatch]) -> str:
    lines = [f"{'planted element':<36}{'feature':>8}{'F1':>7}{'precision':>11}{'recall':>8}{'instances':>11}"]
    for m in matches:
        lines.append(f"{m.label:<36}{m.feature:>8}{m.f1:>7.2f}{m.precision:>11.2f}{m.recall:>8.2f}{m.n_instances:>11,}")
    return "\n".join(lines)


def _section(matches: Sequence[ConceptMatch], store: RunStore) -> str:
    from autointerp.report.build import html_table

    texts = {row["feature"]: row["text"] for row in store.explanations().to_pylist()}
    rows = [(m.label, m.feature, m.f1, m.precision, m.recall, m.n_instances, texts.get(m.feature)) for m in matches]
    header = ("planted element", "feature", "F1", "precision", "recall", "instances", "explanation")
    note = "Feature and threshold are chosen on half of the families, F1 is that of the other half."
    return f"{html_table(header, rows)}<p class='quiet'>{note}</p>"
