"""What is compared: coders and controls on a trained subject and on the same subject untrained, one corpus."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from autointerp import ActivationCache, Corpus
from autointerp.commands import cache as cache_command
from autointerp.commands import train as train_command
from autointerp.errors import UsageError
from experiments.common.materials import imported, planted
from experiments.common.options import DATA

SUBJECTS = {"trained": "", "random": "?random=0"}
"""Weights of the subject, and what stands behind its name for them."""


@dataclass(frozen=True)
class Size:
    """How large the comparison is."""

    sample: int
    """Proteins."""
    n_features: int
    """Features of each coder that is trained or random."""
    tokens: int
    """Residues that each coder is trained on."""
    ks: tuple[int, ...]
    """Active features a residue."""
    min_instances: int
    """Instances that a concept needs on valid and on test."""


FULL = Size(2600, 1024, 1_000_000, (8, 32), 10)
QUICK = Size(300, 192, 40_000, (8,), 5)


@dataclass(frozen=True)
class Config:
    """Train and cache what is missing, measure, write tables and figures; the same command continues."""

    quick: bool = False
    """A size of a minute or two on a CPU."""
    material: Literal["planted", "yeast"] | None = None
    """The planted proteome with the tiny ESM-2 of the package, or Swiss-Prot's yeast with a tiny ESM-2 in --data."""
    data: Path = DATA
    """Folder of models and proteins; the variable AUTOINTERP_DATA names it too."""
    subject: str | None = None
    """Another subject, e.g. esm2_t6_8M_UR50D."""
    proteins: Path | None = None
    """Another UniProt table than yeast's."""
    hook: str = "layer:3"
    """Place in the subject."""
    sample: int | None = None
    """Proteins drawn from the table."""
    n_features: int | None = None
    """Features of each coder."""
    tokens: int | None = None
    """Residues that each coder is trained on."""
    work: Path = Path("work")
    """Folder of corpora, coders and caches."""
    results: Path | None = None
    """Folder of tables and figures; by default results/MATERIAL[-quick] beside the script."""
    seed: int = 0
    """Of the parts and nulls."""

    @property
    def size(self) -> Size:
        """How large the comparison is."""
        base = QUICK if self.quick else FULL
        given = {name: getattr(self, name) for name in ("sample", "n_features", "tokens")}
        return Size(**{**vars(base), **{name: value for name, value in given.items() if value is not None}})


@dataclass(frozen=True)
class Case:
    """A cache of one coder on one subject; ``k`` is 0 where every feature may be active."""

    weights: str
    coder: str
    k: int
    cache: ActivationCache

    @property
    def name(self) -> str:
        """As the tables and figures have it."""
        k, weights = f", k {self.k}" if self.k else "", ", random subject" if self.weights == "random" else ""
        return f"{self.coder}{k}{weights}"


def name_of(config: Config, default: str) -> str:
    """Name of the material and the size."""
    return (config.material or default) + ("-quick" if config.quick else "")


def cases(config: Config, default: str) -> tuple[Corpus, Iterator[Case]]:
    """The corpus, and every case of it, those of one subject made together, where they are missing.

    Raises
    ------
    UsageError : the data are not there.
    """
    folder = config.work / f"concepts-{name_of(config, default)}"
    if (config.material or default) == "planted":
        corpus, subject = planted(folder / "corpus", config.size.sample), "planted-esm"
    else:
        source = config.proteins or config.data / "proteins" / "yeast_swissprot.tsv.gz"
        if not source.exists():
            raise UsageError(f"no proteins at {source}: give --data or --proteins (CONTRIBUTING.md says what)")
        corpus = imported(folder / "corpus", source, max_length=1022, sample=config.size.sample)
        subject = str(config.data / "models" / "esm_tiny")
    return corpus, _cases(folder, corpus, config.subject or subject, config)


def _cases(folder: Path, corpus: Corpus, subject: str, config: Config) -> Iterator[Case]:
    size = config.size
    for weights, suffix in SUBJECTS.items():
        work, shared = folder / weights, {"subject": subject + suffix, "hook": config.hook, "corpus": corpus.path}
        settings = {"n_features": size.n_features, "tokens": size.tokens, "held_out_tokens": 4096}
        settings = train_command.Config.preset(settings) | settings
        sweep = "k=" + ",".join(map(str, size.ks))
        train_command.run(train_command.Config(**shared, out=work, sweep=sweep, **settings))
        coders = {("SAE", k): str(work / f"k={k}") for k in size.ks}
        coders |= {("random coder", k): f"random?n_features={size.n_features}&k={k}" for k in size.ks}
        coders |= {("neurons", 0): "neurons"}
        listed, out = ",".join(coders.values()), work / "caches"
        cache_command.run(cache_command.Config(**shared, coder=listed, out=out))
        places = cache_command.pairs(config.hook, listed, out)
        for (coder, k), (_, _, place) in zip(coders, places, strict=True):
            yield Case(weights, coder, k, ActivationCache.open(place))


def about(config: Config, corpus: Corpus, cache: ActivationCache) -> dict[str, Any]:
    """Conditions of what was measured."""
    return {
        "autointerp": version("autointerp"),
        "quick": config.quick,
        "seed": config.seed,
        "subject": Path(str(cache.manifest["subject"]["name"])).name.partition("?")[0],
        "hook": config.hook,
        "n_sequences": cache.n_sequences,
        "n_tokens": cache.n_tokens,
        "groups": corpus.manifest["grouping"]["by"],
        "size": vars(config.size),
    }
