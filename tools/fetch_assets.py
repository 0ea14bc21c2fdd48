"""Fetch the structure viewer that the dashboard shows proteins with into the package: run by `make assets`.

3Dmol.js (BSD-3-Clause) is third-party code: it is shipped in the wheel, with its licence, and never committed. The
archive comes from the npm registry through npm, and is refused unless it is byte for byte the one that is pinned here.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGE = "3dmol@2.5.5"
SHA512 = (
    "92a347a2e1aaab761f5b9f35ef8b5d111be6d1761398fd2d6af40a3aa230d68b"
    "9cd8e27b7a9917105aed1245575747250594f665edb11d10bfab15f4bb4a8277"
)
FILES = {"package/build/3Dmol-min.js": "3Dmol-min.js", "package/LICENSE": "3Dmol-LICENSE.txt"}
"""Members of the archive, and what they are called in the package."""
FOLDER = Path(__file__).resolve().parent.parent / "autointerp" / "dashboard" / "assets" / "vendor"


def main() -> None:
    """Fetch, check and unpack."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        patience = ["--fetch-timeout=20000", "--fetch-retries=1"]  # where there is no network, npm waits for minutes
        command = ["npm", "pack", PACKAGE, "--silent", *patience, "--pack-destination", folder]
        try:
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        except FileNotFoundError:
            sys.exit("make assets: npm is not installed; it comes with Node.js")
        except subprocess.CalledProcessError as error:
            sys.exit(f"make assets: npm pack {PACKAGE} failed with status {error.returncode}")
        (archive,) = Path(folder).glob("*.tgz")
        unpack(archive, FOLDER)


def unpack(archive: Path, folder: Path) -> None:
    """Put the files of ``archive`` into ``folder``, each whole or not at all; exits when it is another archive."""
    found = hashlib.sha512(archive.read_bytes()).hexdigest()
    if found != SHA512:
        sys.exit(f"make assets: {PACKAGE} has SHA-512 {found[:16]}…, expected {SHA512[:16]}…; nothing was unpacked")
    with tarfile.open(archive) as members:
        for member, name in FILES.items():
            handle = members.extractfile(member)
            assert handle is not None
            temporary = folder / f".{name}"
            temporary.write_bytes(handle.read())
            temporary.replace(folder / name)
            print(folder / name)


if __name__ == "__main__":
    main()
