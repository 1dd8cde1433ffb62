# SPDX-License-Identifier: Apache-2.0
"""Jobs → results, several at once in processes of their own.

Workers leave Ctrl-C to the main process, stop when it asks them to, and never outlive it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any, Protocol, TypeVar

import cv2

from cosmos_flywheel.core.errors import StoreError
from cosmos_flywheel.core.processes import end_with_parent, interrupts_held

Job = TypeVar('Job')
Result = TypeVar('Result')
Tell = Callable[[str, float], None]
"""Told a bag's path as it was given, and how many of its seconds are done."""
POLL_S = 0.2


class Progress(Protocol):
    """Somebody who wants to know how far the work is."""

    def expect(self, seconds: Mapping[str, float]) -> None:
        """All bags by path, and how long each is; said once, before the work."""

    def __call__(self, path: str, done_s: float, /) -> None:
        """So many seconds of a bag are done."""


def work_all(
    work: Callable[[Job, Tell | None], Result],
    jobs: Sequence[Job],
    workers: int,
    progress: Tell | None = None,
) -> Iterator[tuple[Job, Result]]:
    """Do every job, the first ones first; gives each back with its result when it is finished.

    An error of one job ends all of them. Whoever stops iterating stops the workers, at the next
    time that they tell of their progress.

    Raises:
        StoreError: a worker died.

    """
    if workers <= 1 or len(jobs) <= 1:
        for job in jobs:
            yield job, work(job, progress)
        return
    context = get_context('spawn')
    told, stop = context.Queue(), context.Event()
    with ProcessPoolExecutor(min(workers, len(jobs)), context, _start, (told, stop)) as pool:
        try:
            with interrupts_held():
                futures = {pool.submit(_work, work, job): job for job in jobs}
            for future in _as_finished(set(futures), told, progress):
                yield futures[future], future.result()
        except BrokenProcessPool as error:
            raise StoreError(
                'a worker process died (out of memory?); run the same command again with fewer '
                '--workers: bags that are finished are kept'
            ) from error
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)


def _as_finished(
    pending: set[Future[Any]], told: Any, progress: Tell | None
) -> Iterator[Future[Any]]:
    """Futures as they finish, passing on meanwhile what the workers tell."""
    while pending:
        finished, pending = wait(pending, timeout=POLL_S, return_when=FIRST_COMPLETED)
        while not told.empty():
            path, seconds = told.get()
            if progress is not None:
                progress(path, seconds)
        yield from finished


_told: Any = None
_stop: Any = None
"""A worker's ways to tell how far it is, and to learn that nobody waits for it."""


def _start(told: Any, stop: Any) -> None:
    global _told, _stop
    _told, _stop = told, stop
    cv2.setNumThreads(1)
    threading.Thread(target=end_with_parent, daemon=True).start()


def _work(work: Callable[[Job, Tell | None], Result], job: Job) -> Result:
    return work(job, _tell)


def _tell(path: str, seconds: float) -> None:
    if _stop.is_set():
        raise KeyboardInterrupt
    _told.put((path, seconds))
