# SPDX-License-Identifier: Apache-2.0
"""A queue worked off by an executor: this process claims and books, its replicas only make.

The file of a queue is for the processes of one machine, so replicas on others cannot open it. All
claims belong to this process: where it is killed, they go back as any worker's do.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cosmos_flywheel.core.errors import StoreError, WorkerDiedError
from cosmos_flywheel.core.job import Job, Price
from cosmos_flywheel.executors.base import Executor, Tell
from cosmos_flywheel.executors.crew import Crew
from cosmos_flywheel.generate.attempt import Ended, Work, attempt, book
from cosmos_flywheel.generate.budget import Run
from cosmos_flywheel.generate.claims import LEASE_S, Claims
from cosmos_flywheel.generate.queue import Queue
from cosmos_flywheel.generate.worker import BEAT_S

WAIT_S = 0.5


@dataclass(frozen=True, slots=True)
class Making:
    """The task of a replica: attempts at jobs of the queue in a folder that all machines see."""

    work: Work
    out: Path

    def __call__(self, job: Job, _tell: Tell) -> Ended:
        """How it ended; nothing is booked."""
        return attempt(self.work, job, self.out)


def dispatch(
    out: Path,
    work: Work,
    executor: Executor,
    replicas: int = 1,
    *,
    progress: Callable[[Queue], object] | None = None,
    beat_s: float = BEAT_S,
    lease_s: float = LEASE_S,
    only: Run | None = None,
) -> None:
    """Work until nothing is left to do or the budget is used up.

    Args:
        out: folder of the queue.
        work: does one job.
        executor: where.
        replicas: so many at once.
        progress: told twice a second, to look for itself.
        beat_s: how often a sign of life is shown for all jobs.
        lease_s: how long others wait for one.
        only: which jobs are taken, and what they may cost; None for all.

    Raises:
        StoreError: a replica died before it had a job in its hands.
        KeyboardInterrupt: Ctrl-C came; all jobs were given back.

    """
    with Queue.open(out) as queue:
        claims = Claims(queue, lease_s, run=only)
        idle = claims.idle()
        if idle is not None and idle.is_over:
            return  # before anything is started
        with Crew[Job](executor, Making(work, out), replicas) as crew:
            _Dispatch(claims, crew, beat_s).run(lambda: progress and progress(queue))


class _Dispatch:
    """Jobs from a queue to a crew, and what becomes of them back."""

    def __init__(self, claims: Claims, crew: Crew[Job], beat_s: float) -> None:
        self._claims = claims
        self._crew = crew
        self._beat_s = beat_s
        self._beaten_s = time.monotonic()
        self._begun_s: dict[str, float] = {}
        """By job."""

    def run(self, tell: Callable[[], object]) -> None:
        try:
            while self._give() or self._crew.jobs:
                for job, future in self._crew.finished(WAIT_S):
                    self._book(job, future)
                self._beat()
                tell()
        finally:
            jobs = self._crew.jobs
            self._crew.end()
            for job in jobs:
                self._claims.give_back(job, self._price(job))

    def _give(self) -> bool:
        """Give jobs to those that are free; False if nothing more will come."""
        while self._crew.is_free:
            job = self._claims.claim()
            if not isinstance(job, Job):
                return not job.is_over
            self._begun_s[job.id] = time.monotonic()
            self._crew.give(job)
        return True

    def _book(self, job: Job, future: Future[Ended]) -> None:
        try:
            book(self._claims, job, future.result())
        except WorkerDiedError as error:
            self._claims.lose(job, str(error))

    def _beat(self) -> None:
        """Show signs of life, and learn that a job is no longer wanted."""
        if time.monotonic() - self._beaten_s < self._beat_s:
            return
        self._beaten_s = time.monotonic()
        for job in self._crew.jobs:
            with suppress(StoreError):  # the next one may come through
                if not self._claims.beat(job.claim or 0):
                    self._crew.drop(job)
                    self._claims.give_back(job, self._price(job))

    def _price(self, job: Job) -> Price:
        """Of work that nobody finished: its time, on the GPU if that was to be used."""
        worked_s = time.monotonic() - self._begun_s[job.id]
        return Price(gpu_s=worked_s) if job.order.estimate.gpu_s > 0 else Price(cpu_s=worked_s)
