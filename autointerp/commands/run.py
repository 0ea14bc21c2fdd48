"""``autointerp run``: explain features and score the explanations."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from autointerp.errors import FormatError, UsageError

if TYPE_CHECKING:
    import numpy as np

    from autointerp.features import FeatureLoader
    from autointerp.pipeline import RunReport
    from autointerp.records import Explainer, Scorer
    from autointerp.store import RunStore


@dataclass(frozen=True)
class Config:
    """Explain a cache's features with an LLM and score the explanations; the same command again continues."""

    cache: Path
    """Folder of the activation cache."""
    corpus: Path
    """Folder of the corpus that was cached."""
    out: Path
    """Folder of the run."""
    client: str = "baseline"
    """Model string: baseline, anthropic/…, openai/…, openrouter/…, openai/MODEL@http://host/v1."""
    score_client: str | None = None
    """Another model string for the judge."""
    features: str | None = None
    """Features: a range 0:1000, or a list 1,5,9; all by default."""
    n_features: int | None = None
    """Instead of --features: a seeded draw that goes on until this many eligible features are found."""
    explainer: str = "default"
    """Explainer."""
    cot: bool = False
    """Let the explainer think aloud first."""
    activations: bool = False
    """Show the explainer activations as numbers."""
    scorers: str = "detection,fuzzing"
    """Scorers, separated by commas."""
    examples_per_prompt: int = 5
    """Examples that the judge sees in one prompt."""
    nulls: bool = True
    """Judge every feature's trials with another feature's explanation as well (doubles the judging)."""
    n_explain: int = 40
    """Activating contexts for the explainer."""
    n_test: int = 50
    """Activating contexts for the scorers."""
    n_non_activating: int = 50
    """Non-activating contexts on each side."""
    context: int | None = None
    """Tokens of a context: by default 32, and the first 512 of a sequence at level sequence."""
    contexts: Literal["centred", "fixed"] = "centred"
    """Contexts centred on the peak, or fixed windows."""
    sampler: str = "quantiles"
    """How the explainer's contexts are sampled: quantiles, top, random, mix, importance, even, blocks, bins."""
    test_sampler: str = "quantiles"
    """How the scorers' contexts are sampled."""
    negatives: str = "random"
    """Kinds of non-activating contexts in equal shares, separated by commas: random, near-miss, neighbour, family."""
    neighbours: Path | None = None
    """For --negatives neighbour: a .npy of (n_features, k) near features, the nearest first."""
    family: str | None = None
    """For --negatives family: the metadata column that holds a sequence's family, instead of its group."""
    min_examples: int = 10
    """Contexts of a kind on a side below which a feature is skipped."""
    seed: int = 0
    """Decides the split, the samples and the draw of features."""
    budget: float | None = None
    """Dollars that the whole run may cost, earlier calls included."""
    in_flight: int = 64
    """Requests in flight at once, at most."""
    features_in_flight: int = 64
    """Features under way at once."""
    estimate: bool = False
    """Build the real prompts, print requests, tokens and price, and stop; spends nothing."""


def run(config: Config) -> int:
    """Run the study, print its table; 130 if it was interrupted."""
    from autointerp.clients import Limits, connect
    from autointerp.commands.settings import to_toml
    from autointerp.explainers import explainer
    from autointerp.files import write_text
    from autointerp.pipeline import Pipeline
    from autointerp.progress import Bars
    from autointerp.scorers import scorer
    from autointerp.store import RunStore

    features = parse_features(config.features)
    explain: Explainer = _with_options(explainer.get(config.explainer), cot=config.cot, activations=config.activations)
    names = [name.strip() for name in config.scorers.split(",") if name.strip()]
    judges: list[Scorer] = [
        _with_options(scorer.get(name), examples_per_prompt=config.examples_per_prompt) for name in names
    ]
    loader = make_loader(config)
    limits = Limits(max_in_flight=config.in_flight)
    with RunStore.open(config.out) as store:
        client = connect(config.client, store=store, limits=limits)
        judge = connect(config.score_client, store=store, limits=limits) if config.score_client else client
        pipeline = Pipeline(loader, explain, judges, client=client, score_client=judge, store=store, nulls=config.nulls)
        if config.estimate:
            print(pipeline.estimate(features, n_features=config.n_features, seed=config.seed))
            return 0
        write_text(config.out / "run.toml", to_toml("run", config))

        async def whole() -> RunReport:
            try:
                return await pipeline.run(
                    features,
                    n_features=config.n_features,
                    seed=config.seed,
                    budget_usd=config.budget,
                    features_in_flight=config.features_in_flight,
                    observer=Bars(),
                )
            finally:
                for one in {id(c): c for c in (client, judge)}.values():
                    await one.aclose()

        report = asyncio.run(whole())
        print(summary(report, store))
    if report.interrupted:
        print(f"interrupted; the same command continues, `autointerp report {config.out}` shows what there is")
        return 130
    return 0


def make_loader(config: Config) -> FeatureLoader:
    """The loader that ``config`` describes."""
    from autointerp.cache import ActivationCache
    from autointerp.corpus import Corpus
    from autointerp.features import FeatureLoader

    cache = ActivationCache.open(config.cache)
    if not cache.complete:
        raise UsageError(f"{config.cache} is unfinished: run the same `autointerp cache` command again first")
    return FeatureLoader(
        cache,
        Corpus.open(config.corpus),
        n_explain=config.n_explain,
        n_test=config.n_test,
        n_non_activating=config.n_non_activating,
        context=config.context,
        contexts=config.contexts,
        sampler=config.sampler,
        test_sampler=config.test_sampler,
        negatives=[name.strip() for name in config.negatives.split(",") if name.strip()],
        neighbours=None if config.neighbours is None else _read_array(config.neighbours),
        family=config.family,
        min_examples=config.min_examples,
        seed=config.seed,
    )


def _read_array(path: Path) -> np.ndarray:
    """The array in a ``.npy`` file, never unpickled."""
    import numpy as np

    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise FormatError(path, "a .npy array", str(error)) from None
    if not isinstance(array, np.ndarray):
        raise FormatError(path, "a .npy array", "an archive of arrays")
    return array


def parse_features(text: str | None) -> range | list[int] | None:
    """``"0:1000"`` to a range, ``"1,5,9"`` to a list, None to None."""
    if text is None:
        return None
    try:
        if ":" in text:
            first, last = text.split(":")
            return range(int(first), int(last))
        return list(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        raise UsageError(f"--features {text!r}: give a range such as 0:1000, or a list such as 1,5,9") from None


def summary(report: RunReport, store: RunStore) -> str:
    """The lines that are printed after a run."""
    from autointerp.report.tables import score_summary

    lines = [
        f"{report.attempted:,} features attempted: {report.explained:,} explained, "
        f"{report.skipped:,} skipped (too few examples), {report.failed:,} failed; {report.seconds:.1f} s",
        "",
        *score_summary(store),
    ]
    spend = report.spend
    maybe = f" (and up to ${spend.maybe_usd:.4f} for attempts that were cut off)" if spend.maybe_usd else ""
    unpriced = f", {spend.unpriced:,} answers of unknown price" if spend.unpriced else ""
    lines += ["", f"{spend.attempts:,} requests sent in this run folder, ${spend.confirmed_usd:.4f}{maybe}{unpriced}"]
    return "\n".join(lines)


def _with_options(cls: type, **options: object) -> Any:
    """``cls`` with those of the options that it has; one it lacks is an error only if changed from its default."""
    from dataclasses import fields

    known = {f.name: f.default for f in fields(cls)}
    for name, value in options.items():
        if name not in known and value not in (False, 5):
            raise UsageError(f"{cls.__name__} has no setting {name!r}; it has {', '.join(known) or 'none'}")
    return cls(**{name: value for name, value in options.items() if name in known})
