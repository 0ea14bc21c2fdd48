from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from autointerp.corpus.groups import identity_groups
from autointerp.corpus.mmseqs import mmseqs_groups
from autointerp.errors import AutointerpError, FormatError

FAKE = f"""#!{sys.executable}
import pathlib, sys
if sys.argv[1] == "version":
    sys.exit(print("fake-1"))
pathlib.Path(__file__).with_name("asked").write_text("\\n".join(sys.argv[1:]))
lines = open(sys.argv[2]).read().split()
first = {{}}
with open(sys.argv[3] + "_cluster.tsv", "w") as out:
    for name, text in zip(lines[::2], lines[1::2]):
        out.write(first.setdefault(text[:4], name[1:]) + "\\t" + name[1:] + "\\n")
"""


def install(folder: Path, script: str) -> None:
    (folder / "mmseqs").write_text(script)
    (folder / "mmseqs").chmod(0o755)


@pytest.mark.parametrize(
    "which", ["fake", *([pytest.param("real", marks=pytest.mark.full)] if shutil.which("mmseqs") else [])]
)
def test_groups(which: str, request: pytest.FixtureRequest) -> None:
    if which == "fake":
        install(request.getfixturevalue("no_mmseqs"), FAKE)
    rng = np.random.default_rng(0)
    ancestors = ["".join(rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), 200)) for _ in range(6)]
    homologues = [a[:4] + "".join(c if rng.random() < 0.7 else "A" for c in a[4:]) for a in ancestors[::2]]
    labels, about = identity_groups([*ancestors, *homologues])
    assert labels.tolist() == [0, 1, 2, 3, 4, 5, 0, 2, 4]
    assert about["tool"].startswith("MMseqs2 ")
    assert "30% identity" in about["claim"]


def test_what_is_asked_of_it(no_mmseqs: Path) -> None:
    install(no_mmseqs, FAKE)
    mmseqs_groups(["MKVLA", "MKVLC", "WWWWW"])
    asked = (no_mmseqs / "asked").read_text().split("\n")
    options = dict(zip(asked[4::2], asked[5::2], strict=True))
    assert asked[0] == "easy-cluster"
    assert {k: options[k] for k in ("--min-seq-id", "-c", "--cov-mode", "--cluster-mode")} == {
        "--min-seq-id": "0.3", "-c": "0.8", "--cov-mode": "0", "--cluster-mode": "1",
    }  # fmt: skip
    assert not Path(asked[1]).exists()  # its files are gone


def test_its_failure_is_told(no_mmseqs: Path) -> None:
    install(no_mmseqs, "#!/bin/sh\necho started >&2; echo 'out of memory' >&2; exit 3\n")
    with pytest.raises(AutointerpError, match="exit code 3: out of memory"):
        mmseqs_groups(["MKV"])
    install(no_mmseqs, "#!/bin/sh\nexit 0\n")
    with pytest.raises(FormatError, match=r"out_cluster\.tsv"):
        mmseqs_groups(["MKV"])


def test_without_it_the_claim_is_smaller(no_mmseqs: Path, caplog: pytest.LogCaptureFixture) -> None:
    labels, about = identity_groups(["MKVLAWYTRE" * 5, "MKVLAWYTRE" * 5 + "A", "GGHHPPNNQQ" * 5])
    assert labels.tolist() == [0, 0, 1]
    assert "60% identity" in about["claim"]
    assert "claim only at least 60% identity" in caplog.text
