# SPDX-License-Identifier: Apache-2.0
"""Takes jobs from a queue one after another, has them done, and books what became of them.

The work puts its candidate into its place whole, by an id that follows from the job and its seed,
and gives back the same where it lies there already. So a worker that is killed between the two,
candidate and booking, costs nothing twice.
"""

from __future__ import annotations

import logging
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cosmos_flywheel.core.errors import FlywheelError, NotNowError, PermanentError, StoreError
from cosmos_flywheel.core.job import Job, Outcome, Price
from cosmos_flywheel.generate.budget import Run
from cosmos_flywheel.generate.claims import LEASE_S, Claims, Idle
from cosmos_flywheel.generate.queue import Queue
from cosmos_flywheel.store.files import DISK_FULL

Work = Callable[[Job, Path], Outcome]
"""Makes a job's candidate below the output folder. FlywheelError is a failed attempt,
PermanentError the last one, NotNowError no attempt at all; a full disk counts as NotNowError."""
BEAT_S = 5.0
POLL_S = 0.2
_UNWANTED = signal.SIGUSR1


class _GivenUpError(BaseException):
    """Raised into the work: this process is to end, or nobody wants the job any more."""


@dataclass(slots=True)
class Shift:
    """What one worker did."""

    done: int = 0
    failed: int = 0
    postponed: int = 0
    given_back: int = 0
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
        began_s, cpu_s = time.monotonic(), _cpu_s()
        self._claim = job.claim

        def price() -> Price:
            worked_s = time.monotonic() - began_s
            on_gpu = job.order.estimate.gpu_s > 0
            return Price(gpu_s=worked_s if on_gpu else 0.0, cpu_s=_cpu_s() - cpu_s)

        try:
            outcome = self._interruptible(job)
        except _GivenUpError:
            shift.given_back += claims.give_back(job, price())
        except FlywheelError as error:
            if isinstance(error, NotNowError) or _is_disk_full(error):
                shift.postponed += claims.postpone(job, str(error), _without_gpu(price()))
            else:
                for_good = isinstance(error, PermanentError)
                shift.failed += claims.fail(job, str(error), price(), for_good=for_good)
        except OSError as error:
            if _is_disk_full(error):
                words = f'{self._out}: the disk is full; free space on it'
                shift.postponed += claims.postpone(job, words, _without_gpu(price()))
            else:
                shift.failed += claims.fail(job, _words(error), price())
        except Exception as error:
            logging.getLogger(__name__).exception('job %s: a fault of the program', job.id)
            shift.failed += claims.fail(job, _words(error), price())
        else:
            shift.done += claims.finish(job, outcome)
        finally:
            self._claim = None
            shift.worked_s += time.monotonic() - began_s

    def _interruptible(self, job: Job) -> Outcome:
        try:
            self._is_open = True
            if self._stop.is_set():
                raise _GivenUpError
            return self._work(job, self._out)
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
            raise _GivenUpError

    def _on_unwanted(self, *_: object) -> None:
        if self._is_open and self._unwanted == self._claim:
            raise _GivenUpError

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


def _without_gpu(price: Price) -> Price:
    """What is not there was not used."""
    return Price(cpu_s=price.cpu_s)


def _cpu_s() -> float:
    """Of this process and those that it waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _is_disk_full(error: BaseException | None) -> bool:
    """Also where an error of ours was made of it."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            return True
        error = error.__cause__
    return False


def _words(error: Exception) -> str:
    return f'{type(error).__name__}: {error}'
