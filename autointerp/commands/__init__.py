"""The command line: one file per subcommand, thin: parse, call the library, print."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Sequence

from autointerp.errors import AutointerpError, UsageError, nearest

COMMANDS = {
    "demo": "the whole road on an embedded proteome and model, offline, in minutes",
    "corpus import": "make a corpus from UniProt TSV, FASTA, JSONL, text or a Hugging Face dataset",
    "corpus annotate": "add labels of residues or words from a table to a corpus",
    "activations": "run a subject over a corpus once and keep its states in shards to train from",
    "train": "train a sparse coder on a subject's layer",
    "evaluate": "measure coders: reconstruction, sparsity, loss recovered, duplicates; compare several",
    "cache": "encode a corpus and cache every feature's activations",
    "convert": "write a cache for delphi or a coder for its peers, or read a cache of delphi or the protein seed",
    "normalize": "write a coder whose features reach 1 on a corpus, with the same reconstruction",
    "run": "explain features with an LLM and score the explanations",
    "runs": "list the runs below a folder: features done, scores, spend",
    "spend": "what a run has cost: confirmed, maybe billed, in flight, by model",
    "retry-failed": "have a run's failed results made again",
    "reparse": "read a run's stored replies again, after a parser was mended; costs nothing",
    "report": "tables and figures of one run: HTML, CSV, Parquet",
    "dashboard": "look at runs in a browser: features, scores, contexts, proteins; or write them as a static site",
    "go": "Gene Ontology terms that the proteins of each feature have more often than others",
    "bench train": "time a training step at a shape, beside the least time the device allows",
    "analyze": "statistics, shapes, logos, effects on the logits, neighbours and a map of all features",
    "concepts": "which features find which annotated concepts: concept F1, missing annotations",
    "families": "which features fire in one protein family alone: InterProt's F1, and with homologues kept apart",
    "probes": "linear probes for annotated concepts on one feature, all features, and the subject's states",
    "annotate": "which features fire where on given sequences, with what a run knows of them",
    "export": "write a run for Neuronpedia, delphi or SAEDashboard, as tables, or as residue features of proteins",
    "import": "read a Neuronpedia export or a delphi run, so that it can be looked at like a run",
    "inspect": "say what a corpus, cache, coder or run folder holds",
}
"""Subcommands and what each does; ``autointerp.commands.FIRST_WORD`` holds the code (- as _)."""
HOMES = {"corpus annotate": "corpus_annotate", "import": "import_"}
"""Modules of commands that are called otherwise."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``autointerp ARGV…``; return the exit code: 0, 1 for a failure, 2 for wrong usage, 130 after Ctrl-C."""
    args = list(sys.argv[1:] if argv is None else argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    try:
        return _dispatch(args)
    except AutointerpError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted; what was finished is kept, the same command continues", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output left: not an error of ours
        return 0
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _dispatch(args: list[str]) -> int:
    if not args or args[0] in ("-h", "--help", "help"):
        print(_help())
        return 0
    if args[0] == "--version":
        from importlib.metadata import version

        print(f"autointerp {version('autointerp')}")
        return 0
    name = next((c for c in COMMANDS if args[: len(c.split())] == c.split()), None)
    if name is None:
        given = " ".join(args[:2]) if any(c.startswith(f"{args[0]} ") for c in COMMANDS) else args[0]
        raise UsageError(f"unknown command {given!r}; {nearest(given, COMMANDS)}")
    from autointerp.commands.settings import parse

    home = HOMES.get(name) or name.split()[0].replace("-", "_")
    module = importlib.import_module(f"autointerp.commands.{home}")
    config = parse(module.Config, name, args[len(name.split()) :])
    return 0 if config is None else int(module.run(config) or 0)


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {what}" for name, what in COMMANDS.items()]
    return "\n".join(
        [
            "usage: autointerp COMMAND [OPTIONS]",
            "",
            "Explain and score the features of sparse coders on protein and text language models.",
            "",
            *lines,
            "",
            "`autointerp COMMAND --help` lists a command's options. "
            "Every command takes `--config STUDY.toml` and reads its",
            "own section of it, [corpus], [train], [cache], [run] or [report]; flags override the file.",
        ]
    )
