# SPDX-License-Identifier: Apache-2.0
"""Several workers on one queue, each in a process of its own; or one in this process.

A worker that dies is replaced: its job goes back, and is dead itself if that happens again and
again. Workers leave Ctrl-C to this process and never outlive it. Those of an executor, such as
Ray, leave the queue to this process too: `dispatch.py`.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from multiprocessing import connection, get_context
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import cv2

from cosmos_flywheel.core.errors import StoreError
from cosmos_flywheel.core.processes import end_with_parent, interrupts_held
from cosmos_flywheel.executors.base import Executor
from cosmos_flywheel.generate.attempt import Work
from cosmos_flywheel.generate.dispatch import dispatch
from cosmos_flywheel.generate.queue import Queue
from cosmos_flywheel.generate.worker import Worker

TELL_S = 0.5
PATIENCE_S = 30.0
"""A worker that is told to end may take so long to give its job back."""


def work_queue(
    out: Path,
    work: Work,
    workers: int = 1,
    *,
    executor: Executor | None = None,
    progress: Callable[[Queue], object] | None = None,
    **options: Any,
) -> None:
    """Work until the queue is empty or a budget is used up; `Queue.jobs` says what came of it.

    Args:
        out: folder of the queue.
        work: does one job; goes to other processes, so a function of a module or a plain object.
        workers: processes; 0 works in this one.
        executor: where they are, one at least; None for this machine.
        progress: told twice a second, to look for itself.
        options: `stay`, `beat_s`, `lease_s` and `only` of `Worker`.

    Raises:
        StoreError: a worker ended by an error, or died without a job in its hands.
        KeyboardInterrupt: Ctrl-C came; all jobs were given back.

    """
    if executor is not None:
        dispatch(out, work, executor, max(workers, 1), progress=progress, **options)
        return
    if not workers:
        _work_here(out, work, progress, options)
        return
    with Queue.open(out) as queue:
        processes = [_start(out, work, options) for _ in range(workers)]
        try:
            while processes:
                connection.wait([p.sentinel for p in processes], TELL_S)
                if progress is not None:
                    progress(queue)
                for process in [p for p in processes if p.exitcode is not None]:
                    processes.remove(process)
                    if process.exitcode:
                        _require_a_job(queue, process)
                        processes.append(_start(out, work, options))
        finally:
            _end(processes)


def _work_here(
    out: Path, work: Work, progress: Callable[[Queue], object] | None, options: dict[str, Any]
) -> None:
    over = threading.Event()

    def tell() -> None:
        with Queue.open(out) as queue:
            while progress is not None and not over.wait(TELL_S):
                progress(queue)

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        shift = Worker(out, work, **options).run()
    finally:
        over.set()
        thread.join()
    if shift.idle is None:
        raise KeyboardInterrupt


def _start(out: Path, work: Work, options: dict[str, Any]) -> SpawnProcess:
    process = get_context('spawn').Process(target=_run, args=(out, work, options))
    with interrupts_held():
        process.start()
    return process


def _run(out: Path, work: Work, options: dict[str, Any]) -> None:
    threading.Thread(target=end_with_parent, daemon=True).start()
    cv2.setNumThreads(1)  # workers share the cores themselves
    Worker(out, work, **options).run()


def _require_a_job(queue: Queue, process: SpawnProcess) -> None:
    """A worker without a job that died would die again, and for ever."""
    query = """SELECT 1 FROM attempts WHERE pid = ? AND
        outcome IN ('running', 'lost')"""
    if process.exitcode == 1 or not queue.database.ask(query, (process.pid,)):
        code = process.exitcode or 0
        how = f'signal {signal.Signals(-code).name}' if code < 0 else f'code {code}'
        raise StoreError(
            f'{queue.database.path}: a worker ended by {how}; what it said stands above; '
            'run the same command again: nothing is made twice'
        )


def _end(processes: list[SpawnProcess]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(PATIENCE_S)
        if process.exitcode is None:
            process.kill()
            process.join()
