# SPDX-License-Identifier: Apache-2.0
"""So many replicas of one task, each with a job in its hands or none."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any, Generic, TypeVar

from cosmos_flywheel.core.errors import WorkerDiedError
from cosmos_flywheel.executors.base import Executor, Replica, Task

Job = TypeVar('Job')


class Crew(Generic[Job]):
    """Whoever holds it gives jobs to those that are free; a context, which ends all.

    A replica that dies over a job is replaced. One that dies before it had one would die again,
    and for ever: that is an error.
    """

    def __init__(self, executor: Executor, task: Task, size: int) -> None:
        self._executor = executor
        self._task = task
        self._size = size
        self._free: list[Replica] = []
        self._starting: dict[Future[None], Replica] = {}
        self._working: dict[Future[Any], tuple[Replica, Job]] = {}

    def __enter__(self) -> Crew[Job]:
        try:
            for _ in range(self._size):
                self._hire()
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @property
    def is_free(self) -> bool:
        """Whether one can take a job now."""
        return bool(self._free)

    @property
    def jobs(self) -> list[Job]:
        """Those that are being done."""
        return [job for _, job in self._working.values()]

    def give(self, job: Job) -> None:
        """Let one that is free do it."""
        replica = self._free.pop()
        self._working[replica.call(job)] = replica, job

    def finished(self, timeout_s: float) -> Iterator[tuple[Job, Future[Any]]]:
        """Jobs that are done, waiting for one so long at most, or until one is free.

        Raises:
            WorkerDiedError: a replica died before it had a job. Over a job, it is in the future.

        """
        pending = [*self._starting, *self._working]
        if not pending:
            time.sleep(timeout_s)
        for future in wait(pending, timeout_s, FIRST_COMPLETED).done:
            if future in self._starting:
                future.result()
                self._free.append(self._starting.pop(future))
                continue
            replica, job = self._working.pop(future)
            is_dead = isinstance(future.exception(), WorkerDiedError)
            if not is_dead:
                self._free.append(replica)
            yield job, future
            if is_dead:
                replica.end()
                self._hire()

    def drop(self, job: Job) -> None:
        """Let nobody do it any more: its replica ends, and another one begins."""
        for future, (replica, theirs) in list(self._working.items()):
            if theirs is job:
                del self._working[future]
                replica.end()
                self._hire()

    def end(self) -> None:
        """End all; what they were doing is nobody's then."""
        for replica in (
            *self._free,
            *self._starting.values(),
            *(replica for replica, _ in self._working.values()),
        ):
            replica.end()
        self._free.clear()
        self._starting.clear()
        self._working.clear()

    def _hire(self) -> None:
        replica = self._executor.start(self._task)
        self._starting[replica.ready] = replica
