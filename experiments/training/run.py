"""Sparse coders compared: architectures, wirings, residues or proteins, neurons, random coders, an untrained subject.

``python -m experiments.training.run --quick`` from a checkout; README.md has the published numbers.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

from autointerp import Corpus, load_coder
from autointerp.coders import SparseCoder
from autointerp.files import write_json
from autointerp.progress import Bars
from autointerp.subjects import Subject, tokenize_rows
from experiments.common.options import DATA
from experiments.common.tables import write
from experiments.training import figures, material
from experiments.training.concepts import match
from experiments.training.material import Material, held_out
from experiments.training.plan import FULL, HOOK, QUICK, Case, K, Size, cases
from training import load_session, open_stream, train_many
from training.evaluation import Evaluation, Settings, evaluate
from training.evaluation.run import compare

MEASURES = ("n", "l0", "fvu", "cosine", "norm_ratio", "dead_share", "silent_share")
LOSSES = ("clean", "spliced", "zero", "mean", "recovered", "recovered_from_mean", "kl_recovered")


@dataclass(frozen=True)
class Config:
    """Train all coders, measure them on held-out groups, write tables and figures; the same command continues."""

    quick: bool = False
    """About a minute on a CPU, on the planted proteome and the tiny ESM-2 of the package; needs no data."""
    data: Path = DATA
    """Folder of models and proteins; the variable AUTOINTERP_DATA names it too."""
    subject: str | None = None
    """Model under study; by default the tiny ESM-2 in --data."""
    proteins: Path | None = None
    """UniProt table or FASTA; by default Swiss-Prot's yeast in --data."""
    foreign: Path | None = None
    """Proteins of another organism for the experiment with --exclude; by default the human ones in --data."""
    sample: int = 3000
    """Proteins drawn from --proteins; a fifth as many from --foreign."""
    tokens: int | None = None
    """Tokens that each coder of residues is trained on."""
    n_features: int | None = None
    """Features of each coder."""
    seeds: int | None = None
    """Initial weights of each wiring, and of one sparsity of each architecture."""
    subjects: int | None = None
    """Untrained subjects."""
    work: Path = Path("build/training")
    """Folder of corpora and coders."""
    results: Path | None = None
    """Folder of tables and figures; by default results/full or results/quick beside this script."""

    @property
    def size(self) -> Size:
        """How large the experiment is."""
        size = asdict(QUICK if self.quick else FULL)
        chosen = {
            name: value
            for name in ("tokens", "n_features", "seeds", "subjects")
            if (value := getattr(self, name)) is not None
        }
        return Size(**(size | chosen))


def main(config: Config) -> None:
    """Train, measure, write, draw."""
    began, size = time.process_time(), config.size
    work = config.work / ("quick" if config.quick else "full")
    folder = config.results or Path(__file__).parent / "results" / work.name
    used = material_of(config, work)
    wanted = cases(size)
    train_all(wanted, used, work)
    rows = [row for part in parts(wanted) for row in measured(part, used.corpus, work / "coders", size)]
    write(folder, "coders", rows)
    write(folder, "concepts", match(wanted, used, work, size.min_instances))
    write(folder, "exclusion", exclusion(wanted, used, work / "coders", size))
    about = {"subject": Path(used.subjects["trained"].name).name, "groups": used.corpus.manifest["grouping"]["by"]}
    about |= {"n_sequences": len(used.corpus), "n_tokens": int(used.corpus.lengths.sum())}
    about |= {"held_out_sequences": len(held_out(used.corpus)), "foreign_sequences": len(used.foreign)}
    about |= {
        "residue_means_fvu": {name: residue_means(subject, used.corpus) for name, subject in used.subjects.items()}
    }
    about |= {"size": asdict(size), "autointerp": version("autointerp")}
    write_json(folder / "conditions.json", about | {"cpu_seconds": round(time.process_time() - began)})
    figures.draw(folder)
    print(f"{len(rows)} coders in {time.process_time() - began:.0f} CPU-s: {folder}")


def material_of(config: Config, work: Path) -> Material:
    """What ``config`` asks for."""
    if config.quick:
        return material.quick(work, config.size.subjects)
    folder = config.data / "proteins"
    source = config.proteins or folder / "yeast_swissprot.tsv.gz"
    other = config.foreign or folder / "human_swissprot_partial.tsv.gz"
    subject = config.subject or str(config.data / "models" / "esm_tiny")
    return material.full(work, subject, (source, other), config.sample, config.size.subjects)


def train_all(wanted: Sequence[Case], used: Material, work: Path) -> None:
    """Train every case that has settings; those that read the same states learn from one stream."""
    trained = sorted((case for case in wanted if case.config), key=lambda case: str(case.stream))
    for stream, some in groupby(trained, key=lambda case: case.stream):
        subject, level, hook = stream[:3]
        configs = {work / "coders" / case.name: case.config for case in some if case.config}
        began = time.process_time()
        if level == "sequence":
            shards = material.means(used, subject, work / "means" / subject.replace(" ", "-"))
            train_many(None, shards, hook, configs, Bars())
        else:
            train_many(used.subjects[subject], used.corpus, hook, configs, Bars())
        print(f"{len(configs)} coders of {stream}: {time.process_time() - began:.0f} CPU-s", flush=True)


def parts(wanted: Sequence[Case]) -> Iterator[list[Case]]:
    """Cases that are measured together: of one subject and level."""
    for key in dict.fromkeys((case.subject, case.level) for case in wanted):
        yield [case for case in wanted if (case.subject, case.level) == key]


def measured(some: Sequence[Case], corpus: Corpus, coders: Path, size: Size) -> Iterator[dict[str, Any]]:
    """A row for each case: sparsity, reconstruction, what the subject loses, on groups that none was trained on."""
    level = some[0].level
    known = None if level == "token" else corpus  # what was trained on shards does not say where its corpus lies
    session = load_session(next(coders / case.name for case in some if case.config), corpus=known)
    subject = session.subject
    settings = Settings(tokens=size.measured, loss_tokens=size.spliced, batch_tokens=4096)
    if level == "sequence":  # a protein is one state: take all that are held out
        settings = Settings(tokens=10**9, loss_tokens=0, batch_tokens=4096)
    loaded = {case.name: coder_of(case, coders, subject) for case in some}
    wirings = {case.name: case.place for case in some}
    rows = held_out(corpus)
    found = compare(loaded, subject, session.corpus, rows=rows, wirings=wirings, settings=settings, observer=Bars())
    for case, one in zip(some, found, strict=True):
        yield {**row_of(case), **numbers(one)}


def coder_of(case: Case, coders: Path, subject: Subject) -> SparseCoder:
    """The trained coder, or the control."""
    return load_coder(case.control, d_in=subject.hook(case.hook).d) if case.control else load_coder(coders / case.name)


def row_of(case: Case) -> dict[str, Any]:
    """What a case is."""
    names = ("subject", "level", "wiring", "hook", "architecture", "setting", "seed")
    tokens = case.config.tokens if case.config else None
    return {name: getattr(case, name) for name in names} | {"trained_on": tokens}


def numbers(found: Evaluation) -> dict[str, Any]:
    """The measures of a case that are kept."""
    results, loss = found.results, found.results["loss"] or {}
    low, high = loss.get("recovered_ci") or (None, None)
    facts = {name: results[name] for name in MEASURES} | {"n_masked": loss.get("n")}
    facts |= {name: loss.get(name) for name in LOSSES} | {"recovered_low": low, "recovered_high": high}
    facts["kl"] = loss["kl"]["spliced"] if loss else None
    return facts | {"duplicates": results["weights"]["duplicates"]["n_features"]}


def residue_means(subject: Subject, corpus: Corpus) -> float:
    """FVU of the best prediction that knows nothing but the amino acid: the mean state of each."""
    rows = held_out(corpus)[:100].tolist()
    with open_stream(subject, corpus, HOOK, batch_size=1) as stream:
        x = stream.read(rows).x.double()
    ids = torch.from_numpy(np.concatenate([tokens.ids for tokens in tokenize_rows(subject, corpus, rows)]).astype(int))
    within = sum(float((x[ids == i] - x[ids == i].mean(0)).square().sum()) for i in ids.unique())
    return within / float((x - x.mean(0)).square().sum())


def exclusion(wanted: Sequence[Case], used: Material, coders: Path, size: Size) -> Iterator[dict[str, Any]]:
    """The same training with and without the homologues of foreign proteins, measured on these."""
    case = next(case for case in wanted if (case.architecture, case.setting) == ("topk", f"k {K}"))
    assert case.config is not None
    for name, excluded in (("all", None), ("without homologues", used.foreign)):
        out = coders / f"{case.name}{'_excluding' if excluded else ''}"
        (coder,) = train_many(used.subjects["trained"], used.corpus, HOOK, {out: case.config}, Bars(), exclude=excluded)
        settings = Settings(tokens=size.measured, loss_tokens=size.spliced, batch_tokens=4096)
        found = evaluate(coder, used.subjects["trained"], used.foreign, settings=settings, observer=Bars())
        facts = coder.metadata["excluded"] or {}
        left_out = {name: facts.get(name, 0) for name in ("same_text", "same_group", "homologues")}
        yield {"trained on": name, **left_out, "left": facts.get("left", len(used.corpus)), **numbers(found)}


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(tyro.cli(Config, description=__doc__))
