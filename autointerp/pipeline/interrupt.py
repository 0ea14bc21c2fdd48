"""Ctrl-C: the first lets a run finish what is in flight, the second stops it at once."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from autointerp.pipeline.stream import Stream

log = logging.getLogger(__name__)


@contextmanager
def interruptible(stream: Stream) -> Iterator[None]:
    """Inside, the first SIGINT lets the run drain; further ones go to who handled them before.

    Under ``asyncio.run`` that is a handler which cancels the main task, so that what is in flight is written down.
    Nothing is caught where signals cannot be handled.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop, before = asyncio.get_running_loop(), signal.getsignal(signal.SIGINT)

    def restore() -> None:
        if loop.remove_signal_handler(signal.SIGINT) and before is not None:
            signal.signal(signal.SIGINT, before)

    def interrupt() -> None:
        stream.interrupted = "Ctrl-C"
        restore()
        log.warning("stopping: finishing what is in flight (Ctrl-C again stops at once)")

    loop.add_signal_handler(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        restore()
