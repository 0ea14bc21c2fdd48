"""From the settings of a study to its parts: explainer, scorers, local models, loader."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autointerp.errors import FormatError, UsageError

if TYPE_CHECKING:
    import numpy as np

    from autointerp.cache import ActivationCache
    from autointerp.clients.local import LocalModels
    from autointerp.commands.run import Config
    from autointerp.corpus import Corpus
    from autointerp.features import FeatureLoader
    from autointerp.records import Explainer, Scorer

AUTO = "auto"
OPTIONS, FORM = ("examples_per_prompt", "metadata_at_test"), ("answers", "order")
"""The command's settings for scorers; the form of answers only of those that judge example by example."""
VALIDATION = 20
"""Contexts on the validation side of an explainer that needs one, where the command does not say."""
NEIGHBOURS = 16
"""Near features of each that are looked up for negatives."""


def decided(config: Config) -> Config:
    """``config`` with an explainer and scorers that suit the corpus and the level, where it leaves them open."""
    from autointerp.cache import ActivationCache
    from autointerp.corpus import Corpus
    from autointerp.prompts import METADATA

    if AUTO not in (config.explainer, config.scorers):
        return config
    whole, corpus = ActivationCache.open(config.cache).level == "sequence", Corpus.open(config.corpus)
    known = corpus.kind == "protein" and not METADATA.keys().isdisjoint(corpus.metadata_columns)
    explain, judges = config.explainer, config.scorers
    if explain == AUTO:
        explain = "default"
        if not config.activations:  # which only that one has
            if whole and known:
                explain = "protein-metadata"
            elif not whole and (known or (corpus.kind == "protein" and corpus.annotations.num_rows)):
                explain = "residue"
    if judges == AUTO:
        judges = "detection,prediction" if whole else "detection,fuzzing"
    return replace(config, explainer=explain, scorers=judges)


def stood_in(config: Config) -> Config:
    """``config`` with plans instead of ``auto`` that together take every setting."""
    explain = "default" if config.explainer == AUTO else config.explainer
    judges = "detection,fuzzing,prediction" if config.scorers == AUTO else config.scorers
    return replace(config, explainer=explain, scorers=judges)


def make_plans(config: Config) -> tuple[Explainer, list[Scorer]]:
    """The explainer and the scorers that ``config`` describes."""
    from autointerp.explainers import explainer
    from autointerp.scorers import scorer
    from autointerp.scorers.classification import Judging

    config = decided(config)
    names = [name.strip() for name in config.scorers.split(",") if name.strip()]
    judges = []
    for name in names:
        kind = scorer.get(name.partition("?")[0])
        options = (*OPTIONS, *FORM) if issubclass(kind, Judging) else OPTIONS
        judges.append(scorer.make(name, **_options(kind, config, options)))
    for option in (*OPTIONS, *FORM):
        _wanted(option, config, [judge for judge in judges if option in OPTIONS or isinstance(judge, Judging)])
    explain = explainer.get(config.explainer.partition("?")[0])
    chosen = explainer.make(config.explainer, **_options(explain, config, ("cot", "activations")))
    for option in ("cot", "activations"):
        _wanted(option, config, [chosen])
    return chosen, judges


def make_local(config: Config) -> LocalModels:
    """The models in this process that ``config`` names; they are loaded when they are first asked."""
    from autointerp.cache import ActivationCache
    from autointerp.clients.local import LocalModels

    hook = level = None
    if config.subject and config.coder:
        manifest = ActivationCache.open(config.cache).manifest
        hook, level = manifest["subject"]["hook"], manifest["level"]
    return LocalModels(
        embedder=config.embedder,
        loss_model=config.loss_model,
        subject=config.subject,
        coder=config.coder,
        hook=hook,
        level=level,
        device=config.device,
    )


def make_loader(config: Config) -> FeatureLoader:
    """The loader that ``config`` describes."""
    from autointerp.cache import ActivationCache
    from autointerp.corpus import Corpus
    from autointerp.explainers import explainer
    from autointerp.features import FeatureLoader

    cache = ActivationCache.open(config.cache)
    if not cache.complete:
        raise UsageError(f"{config.cache} is unfinished: run the same `autointerp cache` command again first")
    corpus = Corpus.open(config.corpus)
    n_validation, config = config.n_validation, decided(config)
    if not n_validation and getattr(explainer.get(config.explainer.partition("?")[0]), "needs_validation", False):
        n_validation = VALIDATION
    return FeatureLoader(
        cache,
        corpus,
        n_explain=config.n_explain,
        n_test=config.n_test,
        n_validation=n_validation,
        split=(0.4, 0.2, 0.4) if n_validation else (0.5, 0.0, 0.5),
        split_by=config.split_by,
        n_non_activating=config.n_non_activating,
        context=config.context,
        contexts=config.contexts,
        sampler=config.sampler,
        test_sampler=config.test_sampler,
        negatives=[name.strip() for name in config.negatives.split(",") if name.strip()],
        neighbours=None if config.neighbours is None else _neighbours(config.neighbours, cache),
        embeddings=None if config.embeddings is None else _embeddings(config, cache, corpus),
        family=config.family,
        min_examples=config.min_examples,
        seed=config.seed,
    )


def _embeddings(config: Config, cache: ActivationCache, corpus: Corpus) -> np.ndarray:
    from autointerp.features import embed_windows
    from autointerp.progress import Bars

    assert config.embeddings is not None
    return embed_windows(
        cache, corpus, config.embeddings, context=config.context, model=config.embedder, device="auto", observer=Bars()
    )


def _neighbours(how: str, cache: ActivationCache) -> np.ndarray:
    """Near features of every feature, (n_features, k)."""
    from autointerp.coders import load_coder
    from autointerp.features import co_occurring, nearest_features

    k = min(NEIGHBOURS, len(cache) - 1)
    if how == "co-occurrence":
        return co_occurring(cache, k)
    kind, _, folder = how.partition(":")
    if kind in ("decoder", "encoder") and folder:
        coder = load_coder(folder)
        if coder.digest != cache.manifest["coder"].get("digest"):
            raise UsageError(f"{folder} is not the coder of {cache.path}: give the one that was cached")
        return nearest_features(getattr(coder, kind).numpy(), k)
    return _read_array(Path(how))


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


def _options(cls: type, config: Config, names: tuple[str, ...]) -> dict[str, Any]:
    """Those of the command's settings that differ from their defaults and that ``cls`` has."""
    known, defaults = {f.name for f in fields(cls)}, {f.name: f.default for f in fields(config)}
    given = {name: getattr(config, name) for name in names}
    return {name: value for name, value in given.items() if name in known and value != defaults[name]}


def _wanted(name: str, config: Config, made: Sequence[object]) -> None:
    """Refuse a setting that is given although none of what was made has it."""
    default = next(f.default for f in fields(config) if f.name == name)
    if getattr(config, name) != default and not any(hasattr(one, name) for one in made):
        kinds = ", ".join(type(one).__name__ for one in made) or "nothing"
        raise UsageError(f"--{name.replace('_', '-')} is given, but {kinds} has no such setting")
