# SPDX-License-Identifier: Apache-2.0
"""Replicas as processes of this machine.

They leave Ctrl-C to the main process, end when it asks them to, and never outlive it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any

import cv2

from cosmos_flywheel.core.errors import WorkerDiedError
from cosmos_flywheel.core.processes import end_with_parent, interrupts_held
from cosmos_flywheel.executors.base import Task


class ProcessReplica:
    """A pool of one process; it ends when its task tells next how far it is."""

    def __init__(self, task: Task, told: Any) -> None:
        context = get_context('spawn')
        self._stop = context.Event()
        self._pool = ProcessPoolExecutor(1, context, _start, (task, told, self._stop))
        self.ready: Future[None] = self._submit(_ready)

    def call(self, job: Any) -> Future[Any]:
        """Begin a job."""
        return self._submit(_work, job)

    def end(self) -> None:
        """Ask it to end."""
        self._stop.set()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def join(self) -> None:
        """Wait until it has ended."""
        self._pool.shutdown()

    def _submit(self, call: Any, *args: Any) -> Future[Any]:
        mine: Future[Any] = Future()
        mine.set_running_or_notify_cancel()

        def pass_on(theirs: Future[Any]) -> None:
            error = None if theirs.cancelled() else theirs.exception()
            if theirs.cancelled() or isinstance(error, BrokenProcessPool):
                mine.set_exception(WorkerDiedError('a worker process died (out of memory?)'))
            elif error is not None:
                mine.set_exception(error)
            else:
                mine.set_result(theirs.result())

        try:
            with interrupts_held():
                self._pool.submit(call, *args).add_done_callback(pass_on)
        except BrokenProcessPool:
            mine.set_exception(WorkerDiedError('a worker process died while it had no job'))
        return mine


class ProcessExecutor:
    """Starts processes, and waits for their ends at its own."""

    def __init__(self) -> None:
        self._told = get_context('spawn').Queue()
        self._replicas: list[ProcessReplica] = []

    def __enter__(self) -> ProcessExecutor:
        return self

    def __exit__(self, *_: object) -> None:
        for replica in self._replicas:
            replica.end()
        for replica in self._replicas:
            replica.join()

    def start(self, task: Task) -> ProcessReplica:
        """Begin one."""
        replica = ProcessReplica(task, self._told)
        self._replicas.append(replica)
        return replica

    def told(self) -> Iterator[tuple[str, float]]:
        """What came since."""
        while not self._told.empty():
            yield self._told.get()


_task: Any = None
_told: Any = None
_stop: Any = None
"""In a replica: its task, its way to tell how far it is, and to learn that nobody waits for it."""


def _start(task: Task, told: Any, stop: Any) -> None:
    global _task, _told, _stop
    _task, _told, _stop = task, told, stop
    cv2.setNumThreads(1)
    threading.Thread(target=end_with_parent, daemon=True).start()


def _ready() -> None:
    """Says by its return that the process is there."""


def _work(job: Any) -> Any:
    return _task(job, _tell)


def _tell(name: str, seconds: float) -> None:
    if _stop.is_set():
        raise KeyboardInterrupt
    _told.put((name, seconds))
