"""Start-up: `import autointerp` and `autointerp --help`, against an empty interpreter in the same run. Prints JSON.

python benchmarks/imports.py [--turns 9]
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time

COMMANDS = {
    "empty": [sys.executable, "-c", "pass"],
    "import": [sys.executable, "-c", "import autointerp"],
    "help": [sys.executable, "-m", "autointerp.commands", "--help"],
    "run_help": [sys.executable, "-m", "autointerp.commands", "run", "--help"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--turns", type=int, default=9)
    turns = parser.parse_args().turns
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(turns):
        for name, command in COMMANDS.items():
            began = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            seconds[name].append(time.perf_counter() - began)
    loaded = "import autointerp, sys; print('torch' in sys.modules or 'numpy' in sys.modules)"
    heavy = subprocess.run([sys.executable, "-c", loaded], check=True, capture_output=True, text=True).stdout.strip()
    medians = {f"{name}_s": statistics.median(values) for name, values in seconds.items()}
    print(
        json.dumps(
            {"benchmark": "imports", "python": platform.python_version(), **medians, "heavy": heavy == "True"}, indent=1
        )
    )


if __name__ == "__main__":
    main()
