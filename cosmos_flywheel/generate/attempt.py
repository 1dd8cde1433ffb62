# SPDX-License-Identifier: Apache-2.0
"""One attempt at a job: done here or elsewhere, its end is a value, and is booked by a queue's."""

from __future__ import annotations

import logging
import resource
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosmos_flywheel.core.errors import (
    FlywheelError,
    NotHereError,
    NotNowError,
    PermanentError,
    gpu_s_of,
)
from cosmos_flywheel.core.job import Job, Outcome, Price
from cosmos_flywheel.generate.claims import Claims
from cosmos_flywheel.store.files import DISK_FULL

Work = Callable[[Job, Path], Outcome]
"""Makes a job's candidate below the output folder. FlywheelError is a failed attempt,
PermanentError the last one, NotNowError no attempt at all, NotHereError one that others may make;
a full disk counts as NotNowError. An error may tell what it cost, see `costing`."""
DONE, FAILED, POSTPONED, GIVEN_BACK, LEFT = 'done', 'failed', 'postponed', 'given_back', 'left'


class GivenUpError(BaseException):
    """Raised into the work: its process is to end, or nobody wants the job any more."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How an attempt ended, one of the five words above; goes between processes."""

    how: str
    price: Price
    reason: str = ''
    outcome: Outcome | None = None
    """Where it is done."""
    trace: str = ''
    """Of a fault of the program: where it lies."""
    for_good: bool = False
    """Whether no other seed can mend it."""


def attempt(work: Work, job: Job, out: Path) -> Ended:
    """Do a job; whatever the work raises becomes how it ended."""
    began_s, cpu_s = time.monotonic(), _cpu_s()

    def ended(how: str, error: BaseException, reason: str = '', **more: Any) -> Ended:
        """Costs what the error tells; else its time, if a GPU was to be used and not put off."""
        gpu_s = gpu_s_of(error)
        if gpu_s is None:
            on_gpu = job.order.estimate.gpu_s > 0 and how != POSTPONED
            gpu_s = time.monotonic() - began_s if on_gpu else 0.0
        price = Price(gpu_s=gpu_s, cpu_s=_cpu_s() - cpu_s)
        return Ended(how, price, reason or str(error), **more)

    try:
        outcome = work(job, out)
    except GivenUpError as error:
        return ended(GIVEN_BACK, error)
    except FlywheelError as error:
        if isinstance(error, NotNowError) or _is_disk_full(error):
            return ended(POSTPONED, error)
        if isinstance(error, NotHereError):
            return ended(LEFT, error)
        return ended(FAILED, error, for_good=isinstance(error, PermanentError))
    except OSError as error:
        if _is_disk_full(error):
            return ended(POSTPONED, error, f'{out}: the disk is full; free space on it')
        return ended(FAILED, error, _words(error))
    except Exception as error:
        return ended(FAILED, error, _words(error), trace=traceback.format_exc())
    return Ended(DONE, outcome.price, outcome=outcome)


def book(claims: Claims, job: Job, ended: Ended) -> bool:
    """Write it into the queue; False if the claim was lost meanwhile, or nothing came of it."""
    if ended.trace:
        logging.getLogger(__name__).error(
            'job %s: a fault of the program\n%s', job.id, ended.trace
        )
    if ended.outcome is not None:
        return claims.finish(job, ended.outcome)
    if ended.how == GIVEN_BACK:
        return claims.give_back(job, ended.price)
    if ended.how == POSTPONED:
        return claims.postpone(job, ended.reason, ended.price)
    if ended.how == LEFT:
        return claims.leave(job, ended.reason, ended.price)
    return claims.fail(job, ended.reason, ended.price, for_good=ended.for_good)


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
