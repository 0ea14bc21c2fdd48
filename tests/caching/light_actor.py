"""A worker of a pool without a model, in a module that imports next to nothing, so that it starts fast."""

from __future__ import annotations

import os

from autointerp.errors import FormatError


class Actor:
    """Greets, and does what is asked."""

    def greet(self) -> int:
        return os.getpid()

    def double(self, n: int) -> int:
        return 2 * n

    def die(self, n: int) -> None:
        os._exit(1)

    def fail(self, n: int) -> None:
        raise FormatError("a file", "this", "that")
