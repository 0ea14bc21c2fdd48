"""Clusters of homologous proteins with MMseqs2 (Steinegger and Söding, Nature Biotechnology 2017)."""

from __future__ import annotations

import logging
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from autointerp.corpus.kmers import relabel
from autointerp.errors import AutointerpError, FormatError, disk_errors

_log = logging.getLogger(__name__)
BINARY = "mmseqs"
IDENTITY, COVERAGE = 0.3, 0.8


def available() -> bool:
    """Whether the program ``mmseqs`` is on the PATH."""
    return shutil.which(BINARY) is not None


def version() -> str:
    """What ``mmseqs version`` says."""
    return subprocess.run([BINARY, "version"], capture_output=True, text=True, check=False).stdout.strip()


def mmseqs_groups(texts: Sequence[str]) -> np.ndarray:
    """Connected components at 30 % identity over 80 % of both sequences.

    Parameters
    ----------
    texts : n protein sequences.

    Returns
    -------
    (n,) int64 labels 0, 1, … in order of first appearance.

    Raises
    ------
    AutointerpError : MMseqs2 failed; the message ends with its last words.
    """
    _log.info("clustering %s sequences with MMseqs2", f"{len(texts):,}")
    with tempfile.TemporaryDirectory(prefix="autointerp-mmseqs-") as folder, disk_errors("clustering", folder):
        fasta = Path(folder, "sequences.fasta")
        with open(fasta, "w") as handle:
            handle.writelines(f">{i}\n{text}\n" for i, text in enumerate(texts))
        # cov-mode 0: coverage of both; cluster-mode 1: connected components.
        command = [
            BINARY, "easy-cluster", str(fasta), str(Path(folder, "out")), str(Path(folder, "tmp")), "--min-seq-id",
            str(IDENTITY), "-c", str(COVERAGE), "--cov-mode", "0", "--cluster-mode", "1", "-v", "1",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            words = (done.stderr or done.stdout).strip().splitlines() or ["(it said nothing)"]
            raise AutointerpError(f"mmseqs easy-cluster failed with exit code {done.returncode}: {words[-1]}")
        return _labels(Path(folder, "out_cluster.tsv"), len(texts))


def _labels(path: Path, n: int) -> np.ndarray:
    """Labels from lines of representative and member; a sequence without a line is its own group."""
    labels = np.arange(n)
    try:
        with open(path) as handle:
            for line in handle:
                representative, member = line.split("\t")
                labels[int(member)] = int(representative)
    except (OSError, ValueError, IndexError) as error:
        raise FormatError(path.name, "a line 'representative, tab, member' per sequence", str(error)) from None
    return relabel(labels)
