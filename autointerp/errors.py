"""The errors of the house: each says in one or two lines what was given, what is valid and what to do."""

from __future__ import annotations

import copyreg
import difflib
import errno
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class AutointerpError(Exception):
    """Base of every error that autointerp raises on purpose; the command line prints it without a traceback."""

    exit_code = 1

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as it is, whatever its constructor takes: an error of another process arrives as itself."""
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class UsageError(AutointerpError):
    """A wrong setting: the message names the key, what was given and what is valid."""

    exit_code = 2


class FormatError(AutointerpError):
    """A file is not what it should be.

    Parameters
    ----------
    path : path of the file or folder.
    expected, found : what a valid file holds, and what this one holds.
    """

    def __init__(self, path: str | Path, expected: str, found: str) -> None:
        super().__init__(f"{path}: expected {expected}; found {found}")
        self.path, self.expected, self.found = str(path), expected, found


class MissingDependency(AutointerpError):
    """An optional package is not installed; the message holds the line that installs it."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f'{feature} needs an extra that is not installed: pip install "autointerp[{extra}]"')
        self.feature, self.extra = feature, extra


class NotEnoughExamples(AutointerpError):
    """A feature fires too rarely (or everywhere) to be explained and judged.

    Parameters
    ----------
    feature : index of the feature.
    have, need : number of examples found and required; ``what`` names which kind.
    """

    def __init__(self, feature: int, have: int, need: int, what: str = "activating contexts") -> None:
        super().__init__(f"feature {feature}: {have} {what}, {need} are needed")
        self.feature, self.have, self.need, self.what = feature, have, need, what


class ClientError(AutointerpError):
    """An LLM backend cannot be used as asked: a missing key, an unknown model string, a missing capability."""


class BudgetExceeded(AutointerpError):
    """The next request could cost more than the budget has left; everything paid so far is stored."""


class DiskFull(AutointerpError):
    """The disk is full; what was finished before stays valid, and the same command continues after it."""


@contextmanager
def missing(feature: str, extra: str) -> Iterator[None]:
    """Turn an ``ImportError`` inside the block into :class:`MissingDependency`."""
    try:
        yield
    except ImportError as error:
        raise MissingDependency(feature, extra) from error


@contextmanager
def disk_errors(what: str, path: str | Path) -> Iterator[None]:
    """Turn "no space left" and "quota exceeded" inside the block into :class:`DiskFull`."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(
                f"disk full while {what} in {path}: what was finished is kept; "
                "free space and run the same command again"
            ) from error
        raise


@contextmanager
def device_errors(what: str) -> Iterator[None]:
    """Turn the loss of an accelerator, or of room on it, inside the block into an error that says what to do."""
    try:
        yield
    except RuntimeError as error:
        torch = sys.modules.get("torch")
        if torch is None:
            raise
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if isinstance(error, torch.OutOfMemoryError):
            advice = "give a smaller --batch-tokens"
        elif isinstance(error, getattr(torch, "AcceleratorError", ())) or "CUDA" in said:
            advice = "run the same command again when the device is back"
        else:
            raise
        raise AutointerpError(
            f"the device failed while {what} ({said}); what was finished is kept: {advice}"
        ) from error


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return ``"valid: a, b, c (did you mean a?)"`` for an unknown ``name``."""
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return "valid: " + ", ".join(names) + (f" (did you mean {close[0]!r}?)" if close else "")
