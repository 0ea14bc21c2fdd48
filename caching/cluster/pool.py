"""Workers on a Ray cluster: actors that do tasks; one that is lost is replaced, and what it held is done again."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from autointerp.errors import AutointerpError, UsageError, missing

BACKLOG = 2
"""Tasks that a worker holds: one under way and one that waits, so that it is never idle."""
LOSSES = 3
"""Workers that one task may lose before it is taken for the reason."""

log = logging.getLogger(__name__)


@contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """The module ``ray``, connected; a connection that was there is used, and left as it is.

    Parameters
    ----------
    address : of a cluster, ``auto`` for the one that this machine belongs to, ``local`` for one of this machine alone,
        started here and stopped afterwards. None: what Ray takes by default, the cluster that the environment
        (``RAY_ADDRESS``) or this machine knows, else ``local``.

    Raises
    ------
    UsageError : no cluster there.
    """
    with missing("caching on a cluster", "ray"):
        import ray
    if ray.is_initialized():
        yield ray
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        _knock(address or os.environ.get("RAY_ADDRESS", ""))
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
    except (OSError, ValueError, RuntimeError) as error:
        reason = (str(error).splitlines() or ["no answer"])[0]
        raise UsageError(f"no Ray cluster at {address or 'RAY_ADDRESS'}: {reason}") from error
    # else a lost node prints forty lines of its state on standard output; we say it in one
    ray._private.worker._worker_logs_enabled = False
    try:
        yield ray
    finally:
        ray.shutdown()
        ray._private.worker._worker_logs_enabled = True


def _knock(address: str) -> None:
    """Fail at once where nobody listens: Ray would try, and complain, for minutes."""
    host, _, port = address.rpartition(":")
    if host and "://" not in address:
        socket.create_connection((host, int(port)), timeout=10).close()


def places(ray: Any, cpus: int, gpus: int) -> int:
    """How many workers of so many CPUs and GPUs each the cluster's nodes hold."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return sum(
        int(min(node.get("CPU", 0) // cpus, node.get("GPU", 0) // gpus if gpus else node.get("CPU", 0)))
        for node in nodes
    )


@dataclass(eq=False)
class _Member:
    """A worker; ``greeting`` is under way until it is ready, ``tasks`` are in its hands, oldest first."""

    actor: Any
    greeting: Any
    tasks: dict[Any, tuple[Any, ...]] = field(default_factory=dict)

    def refs(self) -> list[Any]:
        return [self.greeting] if self.greeting is not None else list(self.tasks)


class Pool:
    """``size`` workers; as a context, it ends them.

    Parameters
    ----------
    ray : the module, connected.
    make : starts an actor, whose method ``greet`` is called first.
    welcome : is given what ``greet`` returned, and may refuse it by raising.
    patience : seconds to wait while there is no worker at all.
    """

    def __init__(
        self, ray: Any, make: Callable[[], Any], size: int, welcome: Callable[[Any], None], patience: float
    ) -> None:
        self.ray, self.make, self.welcome, self.patience = ray, make, welcome, patience
        self.members: list[_Member] = []
        self._last = time.monotonic()
        for _ in range(size):
            self._hire()

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *error: object) -> None:
        for member in self.members:
            self.ray.kill(member.actor)

    def gather(self) -> None:
        """Wait until a worker is ready."""
        while all(member.greeting is not None for member in self.members):
            self._collect()

    def run(self, method: str, tasks: Iterable[tuple[Any, ...]]) -> Iterator[list[tuple[tuple[Any, ...], Any]]]:
        """Call ``method`` with each of ``tasks`` on some worker.

        Yields
        ------
        What came in since the last time, in any order: (task, result).

        Raises
        ------
        AutointerpError : no worker for as long as patience lasts, or a task that lost several.
        Exception : a task failed of itself: what it raised.
        """
        queue, losses = deque(tasks), Counter[int]()
        try:
            while queue or any(member.tasks for member in self.members):
                self._hand_out(method, queue)
                done, dropped = self._collect()
                for held in filter(None, dropped):
                    losses[id(held[0])] += 1  # the one under way, not those that waited
                    if losses[id(held[0])] == LOSSES:
                        raise AutointerpError(
                            f"{LOSSES} workers were lost at {method} {' '.join(map(str, held[0]))}: if their memory "
                            "ran out, lower --batch-tokens or --block-size. What was finished is kept"
                        )
                    queue.extendleft(reversed(held))
                if done:
                    yield done
        finally:
            for member in self.members:
                member.tasks.clear()  # if nobody waits for them any more

    def _hire(self) -> None:
        actor = self.make()
        self.members.append(_Member(actor, actor.greet.remote()))

    def _hand_out(self, method: str, queue: deque[tuple[Any, ...]]) -> None:
        for _ in range(BACKLOG):
            for member in self.members:
                if queue and member.greeting is None and len(member.tasks) < BACKLOG:
                    task = queue.popleft()
                    member.tasks[getattr(member.actor, method).remote(*task)] = task

    def _collect(self) -> tuple[list[tuple[tuple[Any, ...], Any]], list[list[tuple[Any, ...]]]]:
        """Wait for something; results with their tasks, and what each lost worker had in hand."""
        exceptions = self.ray.exceptions
        gone = (exceptions.RayActorError, exceptions.NodeDiedError, exceptions.WorkerCrashedError,
                exceptions.OutOfMemoryError, exceptions.ObjectLostError)  # fmt: skip
        holders = {ref: member for member in self.members for ref in member.refs()}
        done, lost = [], {}
        for ref in self._wait(list(holders)):
            member = holders[ref]
            try:
                result = self.ray.get(ref)
            except exceptions.RayTaskError as error:
                raise error.cause from None
            except gone as error:
                lost[member] = error
                continue
            if ref == member.greeting:
                self.welcome(result)
                member.greeting = None
            else:
                done.append((member.tasks.pop(ref), result))
        return done, [self._replace(member, error) for member, error in lost.items()]

    def _wait(self, refs: list[Any]) -> list[Any]:
        """Those of ``refs`` that are there, one at the least."""
        now, left = time.monotonic(), None
        if any(member.greeting is None for member in self.members):
            self._last = now
        else:
            left = max(0.0, self._last + self.patience - now)
        if not self.ray.wait(refs, timeout=left)[0]:
            raise AutointerpError(
                f"no worker on the Ray cluster for {self.patience:.0f} s: its nodes are lost, busy or too small. "
                "What was finished is kept; the same command continues"
            )
        return self.ray.wait(refs, num_returns=len(refs), timeout=0)[0]

    def _replace(self, member: _Member, error: Exception) -> list[tuple[Any, ...]]:
        reason = [line.strip() for line in str(error).splitlines() if "because" in line]
        log.warning("a worker is lost, its tasks are done again: %s", (reason or [type(error).__name__])[-1])
        self.members.remove(member)
        self.ray.kill(member.actor)  # it may be alive where we cannot reach it
        self._hire()
        return list(member.tasks.values())
