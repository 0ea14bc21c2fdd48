"""Progress as an observer: the library reports, the command line shows."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Protocol


class Observer(Protocol):
    """What a long stage tells whoever watches; every method may be called from one thread only."""

    def start(self, stage: str, total: int | None, unit: str) -> None:
        """A stage begins; ``total`` in ``unit`` s, None when unknown."""
        ...

    def advance(self, n: int, **facts: Any) -> None:
        """``n`` more units are done; ``facts`` are shown beside the bar."""
        ...

    def finish(self) -> None:
        """The stage ended, well or not."""
        ...


class Silent:
    """Shows nothing."""

    def start(self, stage: str, total: int | None, unit: str) -> None: ...

    def advance(self, n: int, **facts: Any) -> None: ...

    def finish(self) -> None: ...


class Bars:
    """One tqdm bar a stage, on standard error."""

    def __init__(self) -> None:
        self._bar: Any = None

    def start(self, stage: str, total: int | None, unit: str) -> None:
        from tqdm import tqdm

        self.finish()
        self._bar = tqdm(total=total, desc=stage, unit=unit, unit_scale=True, dynamic_ncols=True, mininterval=0.2)

    def advance(self, n: int, **facts: Any) -> None:
        if self._bar is not None:
            if facts:
                self._bar.set_postfix(facts, refresh=False)
            self._bar.update(n)

    def finish(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class Stage:
    """``with Stage(observer, "encoding", total, "token") as stage: stage.advance(n)``: finishes on any exit."""

    def __init__(self, observer: Observer | None, name: str, total: int | None, unit: str) -> None:
        self._observer: Observer = observer or Silent()
        self._begin = (name, total, unit)

    def __enter__(self) -> Observer:
        self._observer.start(*self._begin)
        return self._observer

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._observer.finish()
