# SPDX-License-Identifier: Apache-2.0
"""Jobs → results, one after another here or several at once by an executor."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, TypeVar

from cosmos_flywheel.core.errors import StoreError, WorkerDiedError
from cosmos_flywheel.executors.base import Executor, Tell
from cosmos_flywheel.executors.crew import Crew
from cosmos_flywheel.executors.processes import ProcessExecutor

Job = TypeVar('Job')
Result = TypeVar('Result')
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
    executor: Executor | None = None,
) -> Iterator[tuple[Job, Result]]:
    """Do every job, the first ones first; gives each back with its result when it is finished.

    An error of one job ends all of them, and so does whoever stops iterating.

    Args:
        work: does one job.
        jobs: what is to be done.
        workers: so many at once.
        progress: told a bag's path as it was given, and how many of its seconds are done.
        executor: where; None for processes of this machine, and for a single one this process.

    Raises:
        StoreError: a worker died.

    """
    if executor is None and (workers <= 1 or len(jobs) <= 1):
        for job in jobs:
            yield job, work(job, progress)
        return
    opened: AbstractContextManager[Executor]
    opened = ProcessExecutor() if executor is None else nullcontext(executor)
    waiting, size = deque(jobs), min(workers, len(jobs))
    try:
        with opened as using, Crew[Job](using, work, size) as crew:
            while waiting or crew.jobs:
                while waiting and crew.is_free:
                    crew.give(waiting.popleft())
                for job, future in crew.finished(POLL_S):
                    yield job, future.result()
                for path, seconds in using.told():
                    if progress is not None:
                        progress(path, seconds)
    except WorkerDiedError as error:
        raise StoreError(
            f'{error}; run the same command again with fewer --workers: bags that are finished '
            'are kept'
        ) from error
