"""Taking results in beside the work that makes the next ones, where the device is not the processor itself."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import numpy as np
    import torch

T = TypeVar("T")

BATCHES = 2
"""Batches whose states wait on the device to be encoded and fetched."""


class Aside:
    """Two places beside the thread that queues forward passes, so that it never waits for the device.

    :meth:`encode` runs jobs in order in one thread; on a CUDA device on a stream of its own, which waits for what was
    queued before. :meth:`finish` runs jobs in any order in ``threads`` threads. With no threads, as on a CPU, whose
    cores have enough to do, both run a job at once. What a job raises is raised by its future, or at the next call.

    Parameters
    ----------
    device : where the states are made. threads : by default none on a CPU, else half the cores, eight at most.
    """

    def __init__(self, device: Any, threads: int | None = None) -> None:
        self.device = str(device)
        self.threads = finishers(self.device) if threads is None else threads
        self._stream: Any = None
        if self.threads:
            self._encoder, self._finishers = ThreadPoolExecutor(1, "encode"), ThreadPoolExecutor(self.threads, "finish")
        if self.threads and self.device.startswith("cuda"):
            import torch

            self._stream = torch.cuda.Stream(self.device)
        self._queued: deque[Future[None]] = deque()

    def __enter__(self) -> Aside:
        return self

    def __exit__(self, *error: object) -> None:
        if self.threads:  # what is under way ends; what has not begun is dropped
            self._encoder.shutdown(cancel_futures=True)
            self._finishers.shutdown(cancel_futures=True)

    def encode(self, job: Callable[[], None]) -> Future[None]:
        """Run ``job`` after those before it; waits while :data:`BATCHES` jobs are not done."""
        if not self.threads:
            return _done(job)
        while len(self._queued) >= BATCHES:
            self._queued.popleft().result()
        ready = None
        if self._stream is not None:
            import torch

            ready = torch.cuda.current_stream(self.device).record_event()
        self._queued.append(self._encoder.submit(self._on_stream, job, ready))
        return self._queued[-1]

    def finish(self, job: Callable[[], T]) -> Future[T]:
        """Run ``job``, beside others."""
        return self._finishers.submit(job) if self.threads else _done(job)

    def _on_stream(self, job: Callable[[], None], ready: Any) -> None:
        if ready is None:
            return job()
        import torch

        with torch.cuda.stream(self._stream):
            self._stream.wait_event(ready)
            job()
            # what the job read may be freed, and used again by the other stream, once this returns
            self._stream.synchronize()


def finishers(device: Any) -> int:
    """How many blocks are finished beside the one that is encoded, where states are made on ``device``."""
    return 0 if str(device).startswith("cpu") else max(1, min(8, (os.cpu_count() or 2) // 2))


def _done(job: Callable[[], T]) -> Future[T]:
    future: Future[T] = Future()
    future.set_result(job())
    return future


def fetch(*tensors: torch.Tensor) -> list[np.ndarray]:
    """The tensors in the host's memory; from a CUDA device through pinned memory, waiting once for all of them."""
    if not tensors[0].is_cuda:
        return [tensor.cpu().numpy() for tensor in tensors]
    import torch

    held = [torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True) for tensor in tensors]
    for host, tensor in zip(held, tensors, strict=True):
        host.copy_(tensor, non_blocking=True)
    torch.cuda.current_stream(tensors[0].device).synchronize()
    return [host.numpy() for host in held]
