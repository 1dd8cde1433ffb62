# SPDX-License-Identifier: Apache-2.0
"""Which process is which, whether it still lives, and how workers live and die with another."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from multiprocessing import parent_process
from pathlib import Path

_DEAD = 'ZX'
"""States of a process that has ended, in /proc/PID/stat."""


@dataclass(frozen=True, slots=True)
class ProcessId:
    """One process among all that ever were."""

    home: str
    """One boot of one machine, and one of its worlds of process numbers."""
    pid: int
    started: int
    """Clock ticks from the boot to its start: numbers are given out again."""


def this_process() -> ProcessId:
    """Who asks."""
    return ProcessId(_home(), os.getpid(), _started(os.getpid()) or 0)


def is_gone(process: ProcessId) -> bool:
    """Whether it has surely ended; of another boot or machine nothing is sure."""
    return process.home == _home() and _started(process.pid) != process.started


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Processes started within never see Ctrl-C; here it comes a moment later."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_parent() -> None:
    """For a thread: without it, workers of a killed process would wait for work for ever."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@cache
def _home() -> str:
    boot = Path('/proc/sys/kernel/random/boot_id').read_text('ascii').strip()
    return f'{boot}/{os.stat("/proc/self/ns/pid").st_ino}'


def _started(pid: int) -> int | None:
    """None for a process that is not there, or only to be buried."""
    try:
        text = Path(f'/proc/{pid}/stat').read_text('utf-8', 'replace')
    except OSError:
        return None
    fields = text.rpartition(')')[2].split()
    return None if fields[0] in _DEAD else int(fields[19])
