# SPDX-License-Identifier: Apache-2.0
"""Takes jobs from a queue one after another, has them done, and books what became of them.

The work puts its candidate into its place whole, by an id that follows from the job and its seed,
and gives back the same where it lies there already. So a worker that is killed between the two,
candidate and booking, costs nothing twice.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cosmos_flywheel.core.errors import StoreError
from cosmos_flywheel.core.job import Job, Outcome
from cosmos_flywheel.generate.attempt import GivenUpError, Work, attempt, book
from cosmos_flywheel.generate.budget import Run
from cosmos_flywheel.generate.claims import LEASE_S, Claims, Idle
from cosmos_flywheel.generate.queue import Queue

BEAT_S = 5.0
POLL_S = 0.2
_UNWANTED = signal.SIGUSR1


@dataclass(slots=True)
class Shift:
    """What one worker did; the names of its counts are those of `attempt`."""

    done: int = 0
    failed: int = 0
    postponed: int = 0
    given_back: int = 0
    left: int = 0
    """For others, who may have what these jobs need."""
    worked_s: float = 0.0
    idle: Idle | None = None
    """Why it ended; None if it was told to."""


class Worker:
    """One process's loop; in the main thread it heeds SIGTERM and Ctrl-C while it runs.

    Args:
        out: folder of the queue.
        work: does one job.
        stay: wait for new jobs where there are none, until `stop`.
        beat_s: how often a sign of life is shown.
        lease_s: how long others wait for one.
        only: which jobs it takes, and what they may cost; None for all.

    """

    def __init__(
        self,
        out: Path,
        work: Work,
        *,
        stay: bool = False,
        beat_s: float = BEAT_S,
        lease_s: float = LEASE_S,
        only: Run | None = None,
    ) -> None:
        self._out = out
        self._work = work
        self._stay = stay
        self._beat_s = beat_s
        self._lease_s = lease_s
        self._only = only
        self._stop = threading.Event()
        self._is_open = False
        """Whether the work may be interrupted now: never between its end and its booking."""
        self._claim: int | None = None
        self._unwanted: int | None = None

    def stop(self) -> None:
        """End after the job that runs; from any thread."""
        self._stop.set()

    def run(self) -> Shift:
        """Work until nothing is left to do, the budget is used up, or it is told to stop."""
        shift = Shift()
        with (
            Queue.open(self._out) as queue,
            self._heeding_signals(),
            self._beating(),
        ):
            claims = Claims(queue, self._lease_s, run=self._only)
            while not self._stop.is_set():
                job = claims.claim()
                if isinstance(job, Job):
                    self._do(claims, job, shift)
                elif job.is_over and not self._stay:
                    shift.idle = job
                    break
                else:
                    self._stop.wait(POLL_S)
        return shift

    def _do(self, claims: Claims, job: Job, shift: Shift) -> None:
        began_s = time.monotonic()
        self._claim = job.claim
        try:
            ended = attempt(self._interruptible, job, self._out)
            booked = book(claims, job, ended)
            setattr(shift, ended.how, getattr(shift, ended.how) + booked)
        finally:
            self._claim = None
            shift.worked_s += time.monotonic() - began_s

    def _interruptible(self, job: Job, out: Path) -> Outcome:
        try:
            self._is_open = True
            if self._stop.is_set():
                raise GivenUpError
            return self._work(job, out)
        finally:
            self._is_open = False

    @contextmanager
    def _heeding_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        handlers = {
            signal.SIGTERM: self._on_end,
            signal.SIGINT: self._on_end,
            _UNWANTED: self._on_unwanted,
        }
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_end(self, *_: object) -> None:
        self._stop.set()
        if self._is_open:
            raise GivenUpError

    def _on_unwanted(self, *_: object) -> None:
        if self._is_open and self._unwanted == self._claim:
            raise GivenUpError

    @contextmanager
    def _beating(self) -> Iterator[None]:
        """Show signs of life from a thread, and learn there that a job is no longer wanted."""
        over = threading.Event()
        heeds = threading.current_thread() is threading.main_thread()
        thread = threading.Thread(target=self._beat, args=(over, heeds), daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _beat(self, over: threading.Event, heeds: bool) -> None:
        with Queue.open(self._out) as queue:
            claims = Claims(queue, self._lease_s)
            while not over.wait(self._beat_s):
                claim = self._claim
                try:
                    wanted = claim is None or claims.beat(claim)
                except StoreError:  # the next one may come through
                    continue
                if not wanted and heeds:
                    self._unwanted = claim
                    signal.pthread_kill(threading.main_thread().ident or 0, _UNWANTED)
