"""Memory that was freed is returned, and only when there is much of it."""

from __future__ import annotations

import subprocess
import sys

from caching.memory import Resident

SCRIPT = """
from caching import memory

resident = memory.Resident()
before = memory._resident()

def fragment(megabytes):
    # pieces below malloc's mmap threshold, and one above them all that keeps the heap from shrinking by itself
    pieces = [b"x" * 65_000 + bytes([i % 251]) for i in range(megabytes * 16)]
    return [pieces.pop()]

pin = fragment(400)
held = memory._resident() - before
resident.check()
returned = before + held - memory._resident()
pins = [fragment(40)]
little = memory._resident()
resident.check()
print(held >> 20, returned >> 20, (little - memory._resident()) >> 20)
"""


def test_freed_memory_is_returned_once_it_is_much() -> None:
    if sys.platform != "linux":
        return Resident().check()  # does nothing, without an error
    run = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    held, returned, little = map(int, run.stdout.split())
    assert held > 300, "the heap keeps what is below a piece in use"
    assert returned > 300
    assert little < 5
