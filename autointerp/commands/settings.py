"""A command's settings: a dataclass filled from a section of a TOML study file and from flags, which come first."""

from __future__ import annotations

import contextlib
import io
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from itertools import zip_longest
from pathlib import Path
from typing import Any, TypeVar

from autointerp.errors import FormatError, UsageError, nearest

T = TypeVar("T")
SECTIONS = ("corpus", "activations", "train", "evaluate", "cache", "run", "report", "concepts", "go", "families",
            "probes", "analyze", "demo", "annotate", "export", "import", "dashboard")  # fmt: skip


def parse(cls: type[T], command: str, args: Sequence[str]) -> T | None:
    """Build ``cls`` for ``command`` from ``args``; None when help was asked for (and printed).

    A class with a function ``preset`` has it say what holds where neither file nor flags do, given what they say.

    Raises
    ------
    UsageError : an unknown or missing option or key (with the nearest valid one), or a value of the wrong kind.
    """
    args, study = _take_config(list(args))
    args = _with_values(args, getattr(cls, "BARE", {}))
    names = {f.name.replace("_", "-"): f.name for f in fields(cls)}  # type: ignore[arg-type]
    given = _check_flags(args, names)
    section = _section(study, command.split()[0], cls) if study else {}
    if preset := getattr(cls, "preset", None):
        section = preset({**section, **_values(args, names)}) | section
    first = next(iter(names.values()))
    positional: list[str] = []
    if getattr(cls, "POSITIONAL", False) and first in section:
        value = section.pop(first)
        if not args or args[0].startswith("-"):
            positional = [str(item) for item in (value if isinstance(value, list) else [value])]
    flags = [word for name, value in section.items() if name not in given for word in _as_flag(name, value)]
    return _tyro(cls, f"autointerp {command}", [*positional, *args, *flags])


def to_toml(section: str, config: Any) -> str:
    """``config``, every field, as a section of a study file; fields that are None are written as comments."""
    lines = [f"[{section}]"]
    for field in fields(config):
        value = getattr(config, field.name)
        lines.append(f"# {field.name} is not set" if value is None else f"{field.name} = {_toml(value)}")
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(str(value), ensure_ascii=False)


def _take_config(args: list[str]) -> tuple[list[str], Path | None]:
    for i, word in enumerate(args):
        if word == "--config":
            if i + 1 == len(args):
                raise UsageError("--config needs the path of a TOML file")
            return args[:i] + args[i + 2 :], Path(args[i + 1])
        if word.startswith("--config="):
            return args[:i] + args[i + 1 :], Path(word.partition("=")[2])
    return args, None


def _with_values(args: Sequence[str], bare: Mapping[str, str]) -> list[str]:
    """``args`` with the value of every flag in ``bare`` that stands without one."""
    flags = {f"--{name}": value for name, value in bare.items()}
    followed = zip_longest(args, args[1:], fillvalue="--")
    return [f"{word}={flags[word]}" if word in flags and after.startswith("--") else word for word, after in followed]


def _check_flags(args: Sequence[str], names: dict[str, str]) -> set[str]:
    """The fields that ``args`` set."""
    given = set()
    for word in args:
        if word.startswith("--") and word != "--help":
            flag = word[2:].partition("=")[0].replace("_", "-")
            name = flag if flag in names else flag.removeprefix("no-")
            if name not in names:
                raise UsageError(f"unknown option --{flag}; {nearest(flag, [*names, 'config'])}")
            given.add(names[name])
    return given


def _values(args: Sequence[str], names: Mapping[str, str]) -> dict[str, Any]:
    """What ``args`` give each field, as text; true or false for a flag without a value."""
    found: dict[str, Any] = {}
    for word, after in zip_longest(args, args[1:], fillvalue="--"):
        flag, given, value = word[2:].partition("=")
        flag = flag.replace("_", "-")
        if word.startswith("--") and word != "--help":
            if flag not in names:
                found[names[flag.removeprefix("no-")]] = False
            else:
                found[names[flag]] = value if given else after if not after.startswith("--") else True
    return found


def _section(path: Path, section: str, cls: Any) -> dict[str, Any]:
    try:
        study = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"--config {path}: cannot be read ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FormatError(path, "a TOML file", str(error)) from None
    for name in study:
        if name not in SECTIONS:
            raise UsageError(f"{path}: unknown section [{name}]; {nearest(name, SECTIONS)}")
    values = study.get(section, {})
    if not isinstance(values, dict):
        raise UsageError(f"{path}: {section} = {values!r} stands where a section [{section}] is expected")
    defaults = {f.name: f.default for f in fields(cls)}
    for name, value in values.items():
        if name not in defaults:
            raise UsageError(f"{path}: unknown key {name!r} in [{section}]; {nearest(name, defaults)}")
        if isinstance(value, bool) != isinstance(defaults[name], bool):
            wanted = "true or false" if isinstance(defaults[name], bool) else "a value, not true or false"
            raise UsageError(f"{path}: {name} = {json.dumps(value, default=str)} in [{section}]: give {wanted}")
    return dict(values)


def _as_flag(name: str, value: Any) -> list[str]:
    flag = "--" + name.replace("_", "-")
    if isinstance(value, bool):
        return [flag if value else flag.replace("--", "--no-", 1)]
    return [f"{flag}={','.join(map(str, value)) if isinstance(value, list) else value}"]


def _tyro(cls: type[T], prog: str, args: list[str]) -> T | None:
    import tyro

    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(cls, prog=prog, args=args)
    except SystemExit as stop:
        if not stop.code:
            return None
        raise UsageError(_plain(said.getvalue()) + f" (see `{prog} --help`)") from None


def _plain(boxed: str) -> str:
    """tyro's message in a box, as one line without its repetition of the help."""
    lines = [re.sub(r"^[│╭╰]\s?|\s*[│╮╯]$", "", line).strip() for line in boxed.splitlines()]
    kept = []
    for line in lines[1:]:
        if line.startswith(("──", "Argument helptext", "For full")):
            break
        if line and not line.startswith("─"):
            kept.append(line)
    if names := [line.split()[0] for line in kept[1:] if re.match(r"(--[a-z-]+|[A-Z]+)\b", line)]:
        return "missing: " + ", ".join(names)
    return " ".join(kept) or "wrong options"
